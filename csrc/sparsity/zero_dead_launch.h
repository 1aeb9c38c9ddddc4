// Setting to zero what masks leave out, on a device: the kernel as a plain function.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace lsh {

// Zeroes the numbers of 2, 4 or 8 bytes whose mask is false.
cudaError_t zero_dead_on_device(void* values, int64_t bytes, const uint8_t* mask, int64_t size, cudaStream_t stream);

}  // namespace lsh
