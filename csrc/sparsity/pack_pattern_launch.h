// Packing a mask into its pattern on a device: what the op fills in, and the kernels as a plain function.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace lsh {

// A mask of R rows and C columns is looked at in words of 32 columns and in strips of kStripRows rows.
constexpr int64_t kWordColumns = 32, kStripRows = 64;

inline int64_t mask_words(int64_t columns) { return (columns + kWordColumns - 1) / kWordColumns; }
inline int64_t mask_strips(int64_t rows) { return (rows + kStripRows - 1) / kStripRows; }

struct PackPass {
  int64_t rows, columns, capacity;
  const uint8_t* mask;  // (R, C)
  int32_t* pattern;     // as in pattern.h
  uint32_t* bits;       // workspace (R, words)
  int32_t* before;      // workspace (R, words): connections of the row before the word
  int32_t* above;       // workspace (strips, C): connections of the column in the strip; then, above it
};

cudaError_t pack_pattern_on_device(const PackPass& pass, cudaStream_t stream);

}  // namespace lsh
