// lsh::zero_dead_: sets to zero every entry of tensors that a mask leaves out, NaN and infinities too.
#include "sparsity/zero_dead.h"

#include <torch/csrc/stable/library.h>

#include <vector>

#include "common/check.h"
#include "common/simd_level.h"
#include "common/team.h"

namespace lsh {

LSH_DISPATCH(ZeroDeadTable, zero_dead)

namespace {

int64_t element_bytes(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Half:
    case ScalarType::BFloat16:
      return 2;
    case ScalarType::Float:
      return 4;
    case ScalarType::Double:
      return 8;
    default:
      STD_TORCH_CHECK(false, "tensors must be floating point, got ", dtype_name(tensor.scalar_type()));
  }
}

void zero_dead_(std::vector<Tensor> tensors, const Tensor& mask) {
  STD_TORCH_CHECK(mask.scalar_type() == ScalarType::Bool, "mask must be bool, got ", dtype_name(mask.scalar_type()));
  STD_TORCH_CHECK(mask.is_contiguous(), "mask must be contiguous");
  const int64_t size = mask.numel();
  const auto* live = static_cast<const uint8_t*>(mask.const_data_ptr());
  const auto kernel = zero_dead_table().zero;
  for (Tensor& tensor : tensors) {
    const int64_t bytes = element_bytes(tensor);
    STD_TORCH_CHECK(tensor.numel() == size, "tensors must have the size of the mask, ", size, ", got ", tensor.numel());
    STD_TORCH_CHECK(tensor.is_contiguous() && tensor.is_cpu(), "tensors must be contiguous and on the CPU");
    void* values = tensor.mutable_data_ptr();
    run_team(1 + size / 262144, [&](const Worker& worker) {
      const Range range = share(worker, size);
      kernel(values, bytes, live, range.begin, range.end);
    });
  }
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) { m.def("zero_dead_(Tensor(a!)[] tensors, Tensor mask) -> ()"); }
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { m.impl("zero_dead_", TORCH_BOX(&zero_dead_)); }

}  // namespace lsh
