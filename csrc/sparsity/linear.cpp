// lsh::sparse_linear and lsh::sparse_linear_backward on the CPU.
#include "common/simd_level.h"
#include "common/team.h"
#include "sparsity/cpu_patterns.h"
#include "sparsity/linear_op.h"

namespace lsh {

LSH_DISPATCH(LinearTable, linear)

namespace {

struct CpuLinear : CpuPatterns {
  static const LinearKernels<float>& kernels(float) { return linear_table().float32; }
  static const LinearKernels<double>& kernels(double) { return linear_table().float64; }

  template <class Pass>
  static int64_t most_workers(const Pass& pass) {
    return 1 + pass.weight.pattern.non_zeros * pass.tiling.lanes * pass.tiling.tiles / 65536;
  }

  template <class T>
  static void run(const LinearForward<T>& pass, const Tensor&) {
    const auto kernel = kernels(T()).forward;
    run_team(most_workers(pass), [&](const Worker& worker) { kernel(pass, worker); });
  }

  template <class T>
  static void run(const LinearBackward<T>& pass, const Tensor&) {
    const auto kernel = kernels(T()).backward;
    run_team(most_workers(pass), [&](const Worker& worker) { kernel(pass, worker); });
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  m.def(
      "sparse_linear(Tensor input, Tensor weight, Tensor pattern, Tensor? bias, int rows, bool dense_gradient) -> "
      "Tensor");
  m.def(
      "sparse_linear_backward(Tensor grad_output, Tensor input, Tensor weight, Tensor pattern, bool input_gradient, "
      "bool bias_gradient, bool dense_gradient) -> (Tensor, Tensor, Tensor)");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) {
  m.impl("sparse_linear", TORCH_BOX(&LinearOp<CpuLinear>::forward));
  m.impl("sparse_linear_backward", TORCH_BOX(&LinearOp<CpuLinear>::backward));
}

}  // namespace lsh
