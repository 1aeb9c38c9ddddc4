// Choosing exactly k entries by score on a device: what the op fills in, and the kernels as a plain function.
#pragma once

#include <cuda_runtime.h>

#include "common/host_device.h"
#include "sparsity/selection.h"

namespace lsh {

constexpr int kDigitBits = 11, kDigits = 1 << kDigitBits;
constexpr int64_t kChunk = 4096;  // entries whose ties one block counts, and then toggles

// A key is read in digits from its high end; the lowest digit may be shorter.
LSH_ON_BOTH constexpr int key_bits(ScoreType type) { return type == ScoreType::float64 ? 64 : 32; }
LSH_ON_BOTH constexpr int digit_count(int bits) { return (bits + kDigitBits - 1) / kDigitBits; }
struct Digit {
  int shift, bits;
};
LSH_ON_BOTH constexpr Digit digit_at(int place, int bits) {
  const int high = bits - place * kDigitBits;
  return high > kDigitBits ? Digit{high - kDigitBits, kDigitBits} : Digit{0, high};
}

// What is known of the key of rank k, on the device.
struct Known {
  uint64_t prefix;   // its digits so far
  int64_t rank;      // its rank among the keys that begin so
  int64_t nans;      // scores that are not a number
  int32_t possible;  // whether there are enough entries and none of them is NaN
};

struct SelectionPass {
  Ranking ranking;
  int64_t count;          // k
  const Scored* tensors;  // in host memory
  int64_t tensor_count;
  Known* known;         // workspace, zero at first
  uint64_t* histogram;  // workspace (kDigits), zero at first
  int32_t* ties;        // workspace (chunks of all tensors): entries with the last key, then how many are chosen
  int64_t* facts;       // (2): entries there are to choose from, and how many of their scores are NaN
};

inline int64_t chunks_of(int64_t size) { return (size + kChunk - 1) / kChunk; }

cudaError_t select_on_device(const SelectionPass& pass, cudaStream_t stream);

}  // namespace lsh
