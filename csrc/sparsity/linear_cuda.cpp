// lsh::sparse_linear and lsh::sparse_linear_backward on CUDA.
#include "sparsity/cuda_patterns.h"
#include "sparsity/linear_launch.h"
#include "sparsity/linear_op.h"

namespace lsh {
namespace {

struct CudaLinear : CudaPatterns {
  template <class T>
  static void run(const LinearForward<T>& pass, const Tensor& like) {
    launch_on(like, [&](cudaStream_t stream) { return linear_forward_on_device(pass, stream); });
  }
  template <class T>
  static void run(const LinearBackward<T>& pass, const Tensor& like) {
    launch_on(like, [&](cudaStream_t stream) { return linear_backward_on_device(pass, stream); });
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(lsh, CUDA, m) {
  m.impl("sparse_linear", TORCH_BOX(&LinearOp<CudaLinear>::forward));
  m.impl("sparse_linear_backward", TORCH_BOX(&LinearOp<CudaLinear>::backward));
}

}  // namespace lsh
