// lsh::zero_dead_: sets to zero every entry of tensors that a mask leaves out, NaN and infinities too; lsh::zero_dead:
// a copy of a tensor in which they are.
#include "sparsity/zero_dead.h"

#include "common/large_pages.h"
#include "common/simd_level.h"
#include "common/team.h"
#include "sparsity/zero_dead_op.h"

namespace lsh {

LSH_DISPATCH(ZeroDeadTable, zero_dead)

namespace {

void zero_dead_(std::vector<Tensor> tensors, const Tensor& mask) {
  const auto kernel = zero_dead_table().zero;
  zero_dead_with(tensors, mask, [&](void* values, int64_t bytes, const uint8_t* live, int64_t size, const Tensor&) {
    run_team(1 + size / 262144, [&](const Worker& worker) {
      const Range range = share(worker, size);
      kernel(values, bytes, live, range.begin, range.end);
    });
  });
}

Tensor zero_dead(Tensor tensor, Tensor mask) {
  const auto kernel = zero_dead_table().copy;
  Tensor result = in_large_pages(torch::stable::empty_like(tensor));
  std::vector<Tensor> results = {result};
  const void* from = tensor.const_data_ptr();
  STD_TORCH_CHECK(tensor.is_contiguous(), "tensor must be contiguous");
  zero_dead_with(results, mask, [&](void* out, int64_t bytes, const uint8_t* live, int64_t size, const Tensor&) {
    run_team(1 + size / 262144, [&](const Worker& worker) {
      const Range range = share(worker, size);
      kernel(from, bytes, live, range.begin, range.end, out);
    });
  });
  return result;
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  m.def("zero_dead_(Tensor(a!)[] tensors, Tensor mask) -> ()");
  m.def("zero_dead(Tensor tensor, Tensor mask) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) {
  m.impl("zero_dead_", TORCH_BOX(&zero_dead_));
  m.impl("zero_dead", TORCH_BOX(&zero_dead));
}

}  // namespace lsh
