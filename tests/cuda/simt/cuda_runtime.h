// CUDA for the host: what the kernels of csrc/ use of it, in C++ that g++ compiles. For tests only.
//
// A block's threads are fibers that one system thread runs, one at a time: a thread runs until it waits for others.
// Blocks run one after another, those of a cooperative launch at the same time, each in a system thread of its own. So
//
//   - a barrier that not all threads reach, and a warp operation some named lane never joins, end as errors;
//   - shared memory is filled with NaN before a block starts, and has guard bytes that are looked at when it ends;
//   - the order of threads and of blocks is the test's choice (`simt_order`): where one thread reads what another
//     writes without a barrier between them, results change with it;
//   - float atomics do not exist.
#pragma once

#include <math.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <tuple>
#include <type_traits>
#include <utility>

#define LSH_SIMT

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

// ------------------------------------------------------------------------------------------- the runtime's functions

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidConfiguration = 9, cudaErrorLaunchFailure = 719 };
using cudaStream_t = void*;

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) double2 {
  double x, y;
};

enum cudaLaunchAttributeID { cudaLaunchAttributeCooperative = 2 };
struct cudaLaunchAttribute {
  cudaLaunchAttributeID id;
  union {
    int cooperative;
  } val;
};
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
  cudaLaunchAttribute* attrs;
  unsigned numAttrs;
};

enum cudaDeviceAttr {
  cudaDevAttrMultiProcessorCount,
  cudaDevAttrMaxSharedMemoryPerBlockOptin,
  cudaDevAttrCooperativeLaunch
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize };

namespace simt {

cudaError_t run(const cudaLaunchConfig_t& config, const std::function<void()>& thread);
const char* error_text();

unsigned thread_index(int axis);
unsigned block_index(int axis);
unsigned block_size(int axis);
unsigned grid_size(int axis);
unsigned lane();

void barrier();
void warp_barrier(unsigned mask);
void yield();
[[noreturn]] void fail(const char* what);

// This block's object of `bytes` bytes that `key` stands for.
void* shared(const void* key, size_t bytes, size_t alignment);
unsigned char* dynamic_shared();
// This warp's slot of a lane, to hand values over between two barriers.
unsigned char* slot(unsigned lane);

template <class T>
T exchange(unsigned mask, T value, unsigned from) {
  static_assert(sizeof(T) <= 16);
  std::memcpy(slot(lane()), &value, sizeof(T));
  warp_barrier(mask);
  if (!(mask >> (from & 31) & 1)) fail("a shuffle must read a lane that takes part");
  std::memcpy(&value, slot(from & 31), sizeof(T));
  warp_barrier(mask);
  return value;
}

}  // namespace simt

namespace simt {

// threadIdx and its like: each axis asks who runs now.
template <unsigned (*value)(int), int axis>
struct Axis {
  operator unsigned() const { return value(axis); }
};
template <unsigned (*value)(int)>
struct Axes {
  Axis<value, 0> x;
  Axis<value, 1> y;
  Axis<value, 2> z;
};

}  // namespace simt

inline constexpr simt::Axes<simt::thread_index> threadIdx;
inline constexpr simt::Axes<simt::block_index> blockIdx;
inline constexpr simt::Axes<simt::block_size> blockDim;
inline constexpr simt::Axes<simt::grid_size> gridDim;

#define LSH_SHARED(Type, name)      \
  static const char name##_key = 0; \
  Type& name = *static_cast<std::remove_reference_t<Type>*>(::simt::shared(&name##_key, sizeof(Type), alignof(Type)))
#define LSH_DYNAMIC_SHARED(name) unsigned char* const name = ::simt::dynamic_shared()

template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const std::tuple<std::remove_cv_t<Parameters>...> held(std::forward<Arguments>(arguments)...);
  return simt::run(*config, [&] { std::apply(kernel, held); });
}

inline const char* cudaGetErrorString(cudaError_t) { return simt::error_text(); }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }

// A small device (`simt_device`), whose multiprocessors hold one block each.
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int device);
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel*, cudaFuncAttribute, int) {
  return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel*, int, size_t) {
  return *blocks = 1, cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t) {
  std::memset(memory, value, bytes);
  return cudaSuccess;
}

// ----------------------------------------------------------------------------------------- what kernels call

inline void __syncthreads() { simt::barrier(); }
inline void __syncwarp(unsigned mask = ~0u) { simt::warp_barrier(mask); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __nanosleep(unsigned) { simt::yield(); }

template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
  return simt::exchange(mask, value, unsigned(from));
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int with) {
  return simt::exchange(mask, value, simt::lane() ^ unsigned(with));
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by) {
  const unsigned from = simt::lane() + by;
  return simt::exchange(mask, value, from < 32 ? from : simt::lane());
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by) {
  const unsigned lane = simt::lane();
  return simt::exchange(mask, value, lane >= by ? lane - by : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  unsigned votes = 0;
  std::memcpy(simt::slot(simt::lane()), &predicate, sizeof predicate);
  simt::warp_barrier(mask);
  for (unsigned lane = 0; lane < 32; ++lane) {
    int vote;
    std::memcpy(&vote, simt::slot(lane), sizeof vote);
    if (mask >> lane & 1 && vote) votes |= 1u << lane;
  }
  simt::warp_barrier(mask);
  return votes;
}

template <class T>
T atomicAdd(T* at, T by) {
  static_assert(std::is_integral_v<T>, "sums of floating-point numbers must not depend on an order");
  return __atomic_fetch_add(at, by, __ATOMIC_RELAXED);
}
template <class T>
T atomicOr(T* at, T bits) {
  return __atomic_fetch_or(at, bits, __ATOMIC_RELAXED);
}
template <class T>
T atomicMax(T* at, T value) {
  static_assert(std::is_integral_v<T>);
  T before = __atomic_load_n(at, __ATOMIC_RELAXED);
  while (before < value && !__atomic_compare_exchange_n(at, &before, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
  }
  return before;
}

template <class T>
T __ldcg(const T* at) {
  return *at;
}
template <class T>
T __ldg(const T* at) {
  return *at;
}
inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __ffs(int bits) { return __builtin_ffs(bits); }
