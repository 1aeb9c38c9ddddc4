// Small kernels, right and wrong ones, to see what the executor says of them.
#include <cuda_runtime.h>

#include <cstdint>

namespace {

struct Numbers {
  int of[64];
};

// Sums 64 numbers by halves; without a barrier between halves where `faulty`.
void sum_by_halves(int64_t* out, bool faulty) {
  LSH_SHARED(Numbers, numbers);
  const int thread = threadIdx.x;
  numbers.of[thread] = thread + 1;
  __syncthreads();
  for (int by = 32; by > 0; by /= 2) {
    if (thread < by) numbers.of[thread] += numbers.of[thread + by];
    if (!faulty) __syncthreads();
  }
  if (thread == 0) out[blockIdx.x] = numbers.of[0];
}

void barrier_for_half() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncwarp(0x3);  // lanes 2 … never come
  }
}

void write_beside_shared() {
  LSH_SHARED(Numbers, numbers);
  numbers.of[threadIdx.x + 1] = 1;
}

void shuffle_from_a_missing_lane(int64_t* out) {
  if (threadIdx.x < 16) out[0] = __shfl_sync(0xffffu, int(threadIdx.x), 20);
}

void read_unwritten_shared(int64_t* out) {
  LSH_SHARED(float, number);
  out[0] = number != number;
}

// What every lane can know of its warp.
void warp_operations(int64_t* out) {
  const int lane = threadIdx.x % 32;
  int64_t sum = lane;
  for (int by = 1; by < 32; by *= 2) sum += __shfl_xor_sync(0xffffffffu, sum, by);
  const unsigned odd = __ballot_sync(0xffffffffu, lane & 1);
  const int above = __shfl_down_sync(0xffffffffu, lane, 1), below = __shfl_up_sync(0xffffffffu, lane, 1);
  if (sum == 496 && odd == 0xaaaaaaaau && above == (lane < 31 ? lane + 1 : 31) && below == (lane > 0 ? lane - 1 : 0)) {
    atomicAdd(out, int64_t(1));
  }
}

void barrier_of_some_lanes() {
  if (threadIdx.x < 40) {
    __syncthreads();
  } else {
    __syncwarp(0xffffffffu);
  }
}

cudaError_t launch(unsigned blocks, void (*kernel)(int64_t*), int64_t* out) {
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = 64;
  return cudaLaunchKernelEx(&config, kernel, out);
}

}  // namespace

// Runs probe number `which`; returns what went wrong, empty if nothing.
extern "C" const char* simt_probe(int which, int64_t* out) {
  static void (*const kernels[])(int64_t*) = {
      [](int64_t* out) { sum_by_halves(out, false); },
      [](int64_t* out) { sum_by_halves(out, true); },
      [](int64_t*) { barrier_for_half(); },
      [](int64_t*) { write_beside_shared(); },
      [](int64_t* out) { shuffle_from_a_missing_lane(out); },
      [](int64_t* out) { read_unwritten_shared(out); },
      [](int64_t* out) { warp_operations(out); },
      [](int64_t*) { barrier_of_some_lanes(); },
  };
  launch(2, kernels[which], out);
  return cudaGetErrorString(cudaSuccess);
}
