// A pattern: the connections of one matrix, made ready for kernels.
//
// One int32 tensor holds all of it, so that a mask can change in place while shapes stay as they are:
//
//   header          8 numbers: mark, version, rows R, columns C, non-zeros N, capacity, 0, 0
//   row_offsets     R + 1     the non-zeros of row r are row_offsets[r] … row_offsets[r + 1] - 1
//   columns         capacity  their columns, ascending within a row
//
// and on devices, as the CPU turns the matrix itself, the same by columns:
//
//   column_offsets  C + 1
//   rows            capacity  ascending within a column
//   sources         capacity  where the k-th non-zero in column order stands in row order
//
// The two kinds are told apart by their length: one by rows has a place more than it was asked for where it would
// else be as long as one by both. Values are kept in row order. Entries beyond N are unspecified.
#pragma once

#include <cstdint>

namespace lsh {

constexpr int32_t kPatternMark = 0x4c534850;
constexpr int32_t kPatternVersion = 2;
constexpr int64_t kPatternHeader = 8;

enum PatternField { kMark, kVersion, kRows, kColumns, kNonZeros, kCapacity };

// Views into a pattern tensor; host or device pointers.
struct PatternView {
  int64_t rows;
  int64_t columns;
  int64_t non_zeros;  // 0 where the header was not read (on a device); row_offsets[rows] holds it
  int64_t capacity;
  const int32_t* row_offsets;
  const int32_t* column_of;
  const int32_t* column_offsets;  // null where there is no part by columns, as are the next two
  const int32_t* row_of;
  const int32_t* source;
};

}  // namespace lsh
