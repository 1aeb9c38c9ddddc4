// The sparse linear layer's kernels on a device, as plain functions.
#pragma once

#include <cuda_runtime.h>

#include "sparsity/linear.h"

namespace lsh {

template <class T>
cudaError_t linear_forward_on_device(const LinearForward<T>& pass, cudaStream_t stream);

template <class T>
cudaError_t linear_backward_on_device(const LinearBackward<T>& pass, cudaStream_t stream);

}  // namespace lsh
