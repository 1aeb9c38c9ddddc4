// A barrier for all blocks of a cooperative launch.
#pragma once

#include "common/launch.cuh"

namespace lsh {

__device__ inline unsigned load_acquire(const unsigned* at) {
#if defined(__CUDA_ARCH__)
  unsigned value;
  asm volatile("ld.acquire.gpu.u32 %0, [%1];" : "=r"(value) : "l"(at) : "memory");
  return value;
#else
  return __atomic_load_n(at, __ATOMIC_ACQUIRE);
#endif
}

// Returns when every thread of every block has called it `turn + 1` times; turns count from 0, `arrived` is zero at
// first. What blocks wrote before is seen by all behind it, unless a first-level cache still holds what was there: read
// it with __ldcg.
__device__ inline void wait_for_grid(unsigned* arrived, unsigned turn) {
  __syncthreads();
  if (threadIdx.x == 0) {
    __threadfence();
    atomicAdd(arrived, 1u);
    const unsigned all = (turn + 1) * unsigned(gridDim.x);
    while (load_acquire(arrived) < all) __nanosleep(20);
    __threadfence();
  }
  __syncthreads();
}

}  // namespace lsh
