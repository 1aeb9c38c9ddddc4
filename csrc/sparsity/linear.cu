// The sparse linear layer on a device: the plain version, one thread per result, bound by gathers.
#include "common/launch.cuh"
#include "sparsity/linear_launch.h"
#include "sparsity/product.cuh"

namespace lsh {
namespace {

template <class T>
__global__ void multiply_inputs(LinearForward<T> pass) {
  const int64_t item = this_item();
  const int64_t R = pass.weight.pattern.rows, C = pass.weight.pattern.columns;
  if (item >= pass.tiling.steps * R) return;
  const int64_t row = item % R;
  const T* x = pass.input + item / R * C;
  const T sum = multiply_row(pass.weight, row, [&](int64_t column) { return x[column]; });
  pass.output[item] = sum + (pass.bias ? pass.bias[row] : T(0));
}

template <class T>
__global__ void multiply_gradients(LinearBackward<T> pass) {
  const int64_t item = this_item();
  const int64_t R = pass.weight.pattern.rows, C = pass.weight.pattern.columns;
  if (item >= pass.tiling.steps * C) return;
  const T* g = pass.grad_output + item / C * R;
  pass.grad_input[item] = multiply_column(pass.weight, item % C, [&](int64_t row) { return g[row]; });
}

template <class T>
__global__ void sample_gradients(LinearBackward<T> pass, int64_t items) {
  const int64_t item = this_item();
  if (item >= items) return;
  const GradientEntry entry = gradient_entry(pass.weight, item, pass.dense_gradient);
  if (!entry.inside) return;
  const int64_t R = pass.weight.pattern.rows, C = pass.weight.pattern.columns;
  T sum = 0;
  for (int64_t n = 0; n < pass.tiling.steps; ++n) {
    sum += pass.grad_output[n * R + entry.row] * pass.input[n * C + entry.column];
  }
  pass.grad_weight[entry.out] = sum;
}

template <class T>
__global__ void sum_gradients(LinearBackward<T> pass) {
  const int64_t row = this_item(), R = pass.weight.pattern.rows;
  if (row >= R) return;
  T sum = 0;
  for (int64_t n = 0; n < pass.tiling.steps; ++n) sum += pass.grad_output[n * R + row];
  pass.grad_bias[row] = sum;
}

}  // namespace

template <class T>
cudaError_t linear_forward_on_device(const LinearForward<T>& pass, cudaStream_t stream) {
  Launches on(stream);
  on.items(pass.tiling.steps * pass.weight.pattern.rows, multiply_inputs<T>, pass);
  return on.error();
}

template <class T>
cudaError_t linear_backward_on_device(const LinearBackward<T>& pass, cudaStream_t stream) {
  const PatternView& p = pass.weight.pattern;
  Launches on(stream);
  if (pass.grad_input) on.items(pass.tiling.steps * p.columns, multiply_gradients<T>, pass);
  if (pass.grad_bias) on.items(p.rows, sum_gradients<T>, pass);
  const int64_t size = p.rows * p.columns;
  if (pass.dense_gradient || !pass.weight.packed) on.items(size, zero<T>, pass.grad_weight, size);
  const int64_t items = size > 0 ? gradient_items(pass.weight, pass.dense_gradient) : 0;
  on.items(items, sample_gradients<T>, pass, items);
  return on.error();
}

template cudaError_t linear_forward_on_device(const LinearForward<float>&, cudaStream_t);
template cudaError_t linear_forward_on_device(const LinearForward<double>&, cudaStream_t);
template cudaError_t linear_backward_on_device(const LinearBackward<float>&, cudaStream_t);
template cudaError_t linear_backward_on_device(const LinearBackward<double>&, cudaStream_t);

}  // namespace lsh
