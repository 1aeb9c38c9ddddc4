// The gradient of a sparse weight, block by block: what is summed at once, and the room for it.
//
// A block of rows meets a panel of columns. Its entries, four of a row at a time, stand in a list: their columns within
// the panel, and the row of each four within the block. A four that a row does not fill repeats its first column. As
// many fours as give a register of sums make a group; what is left of the last group is of the list's first row. Sums
// of neither are read.
#pragma once

#include <cstdint>

#include "sparsity/matrix.h"

namespace lsh {

constexpr int64_t kSampledEntries = 32768;  // of a list: their sums and columns stay in the second-level cache
constexpr int64_t kSampledRows = 512;       // of a block, at most

// One worker's workspaces.
template <class T>
struct SampleRoom {
  T* sums;            // (kSampledEntries): a register of them for each group, see gradient.simd.cpp
  uint16_t* columns;  // (kSampledEntries)
  uint16_t* rows;     // (kSampledEntries / 2): of each four, or two where a register holds no more
  int32_t* next;      // (kSampledRows): how far each row of the block has come
  uint16_t* counts;   // (kSampledRows): how many of its entries are listed
};

// Those of all workers, one after the other.
template <class T>
struct SampleRooms {
  char* memory;

  static constexpr int64_t bytes() {
    return kSampledEntries * int64_t(sizeof(T)) + 3 * kSampledEntries + 6 * kSampledRows;
  }

  SampleRoom<T> of(int64_t worker) const {
    T* sums = reinterpret_cast<T*>(memory + worker * bytes());
    uint16_t* columns = reinterpret_cast<uint16_t*>(sums + kSampledEntries);
    uint16_t* rows = columns + kSampledEntries;
    int32_t* next = reinterpret_cast<int32_t*>(rows + kSampledEntries / 2);
    return {sums, columns, rows, next, reinterpret_cast<uint16_t*>(next + kSampledRows)};
  }
};

// Columns of a panel, as even as can be. `lane_bytes`: what the lanes of one column take that are summed at once.
int64_t sampled_panel_columns(int64_t columns, int64_t lane_bytes, double density);

// Rows whose g, `lane_bytes` a row, stays in the second-level cache from panel to panel.
int64_t sampled_block_rows(int64_t lane_bytes);

}  // namespace lsh
