// Orthonormalisation with log growth on a device: what the op fills in, the order of its tiles, and the kernels.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>

#include "common/host_device.h"
#include "lyapunov/qr_growth.h"

namespace lsh {

// (K, K) triangles are worked on in tiles of kTile rows and columns.
constexpr int kTile = 32;
constexpr int64_t kMostPartBlocks = 512;  // about as many blocks as fill a device

constexpr int64_t tiles_of(int64_t size) { return (size + kTile - 1) / kTile; }

// The tiles (row <= column) of an upper triangle, counted column by column.
struct TilePair {
  int64_t row, column;
};
LSH_ON_BOTH constexpr TilePair tile_pair(int64_t index) {
  int64_t column = 0;
  for (; (column + 1) * (column + 2) / 2 <= index; ++column) {
  }
  return {index - column * (column + 1) / 2, column};
}
constexpr int64_t tile_pairs(int64_t tiles) { return tiles * (tiles + 1) / 2; }

// A sum over all rows is made in parts, so that there are blocks enough; how many depends on the sizes alone.
inline int64_t gram_parts(int64_t batch, int64_t rows, int64_t columns) {
  const int64_t blocks = std::max<int64_t>(1, batch) * tile_pairs(tiles_of(columns));
  return std::clamp<int64_t>(kMostPartBlocks / blocks, 1, std::max<int64_t>(1, rows / 128));
}

// What is to be done with a matrix: a device's own account, which the host never waits for.
enum class QRState : int32_t { done, first_pass, second_pass, reflect };

template <class T>
struct QRGrowthDevicePass {
  int64_t batch, rows, columns, parts;
  const T* tangent;    // (B, n, K)
  T* basis;            // (B, n, K)
  double* log_growth;  // (B, K)
  bool* lost;          // (B, K)
  double* condition;   // (B)
  int32_t* method;     // (B)
  QRState* state;      // workspace (B)
  int32_t* broken;     // workspace (B): whether a pivot could not be told from rounding
  double* partial;     // workspace (B, parts, K, K)
  double* gram;        // workspace (B, K, K): AᵀA with columns of unit length, then its factor; C in reflections
  double* inverse;     // workspace (B, K, K)
  double* length;      // workspace (B, K)
  double* largest;     // workspace (B, K)
  T* matrix;           // workspace (B, n, K)
};

template <class T>
cudaError_t qr_growth_on_device(const QRGrowthDevicePass<T>& pass, cudaStream_t stream);

}  // namespace lsh
