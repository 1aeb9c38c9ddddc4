// lsh::zero_dead_ on CUDA.
#include "common/stream.h"
#include "sparsity/zero_dead_launch.h"
#include "sparsity/zero_dead_op.h"

namespace lsh {
namespace {

void zero_dead_on_cuda_(std::vector<Tensor> tensors, const Tensor& mask) {
  zero_dead_with(
      tensors, mask, [&](void* values, int64_t bytes, const uint8_t* live, int64_t size, const Tensor& tensor) {
        launch_on(tensor, [&](cudaStream_t stream) { return zero_dead_on_device(values, bytes, live, size, stream); });
      });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(lsh, CUDA, m) { m.impl("zero_dead_", TORCH_BOX(&zero_dead_on_cuda_)); }

}  // namespace lsh
