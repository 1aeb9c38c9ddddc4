// lsh::pack_pattern_: writes the pattern of a mask into a tensor of its capacity, from the mask's bits and, for the
// part by columns, their transpose.
#include <algorithm>
#include <vector>

#include "common/bits.h"
#include "common/team.h"
#include "sparsity/pack_pattern_op.h"

namespace lsh {
namespace {

void add_up(const std::vector<int64_t>& counts, int32_t* offsets) {
  offsets[0] = 0;
  for (size_t i = 0; i < counts.size(); ++i) offsets[i + 1] = offsets[i] + int32_t(counts[i]);
}

// The part by columns, of `most` workers at most; that by rows is there.
void pack_columns(const BitMatrix& by_row, int64_t rows, int64_t columns, int64_t most, const int32_t* row_offsets,
                  int32_t* column_offsets, int32_t* row_of, int32_t* source) {
  BitMatrix by_column(columns, rows);
  std::vector<int64_t> column_count(columns);
  run_team(most, [&](const Worker& worker) {
    const Range words = share(worker, by_row.words());
    transpose_words(by_row, words.begin, words.end, by_column);
    for (int64_t column = words.begin * 64; column < std::min(columns, words.end * 64); ++column) {
      column_count[column] = count_bits(by_column.row(column), by_column.words());
    }
  });
  add_up(column_count, column_offsets);
  run_team(most, [&](const Worker& worker) {
    const Range words = share(worker, by_row.words());
    // Where the next connection of each row stands in row order, as columns go by.
    std::vector<int32_t> place(rows);
    for (int64_t row = 0; row < rows; ++row) {
      place[row] = row_offsets[row] + int32_t(count_bits(by_row.row(row), words.begin));
    }
    for (int64_t column = words.begin * 64; column < std::min(columns, words.end * 64); ++column) {
      int32_t k = column_offsets[column];
      for_each_bit(by_column.row(column), by_column.words(), [&](int64_t row) {
        row_of[k] = int32_t(row);
        source[k++] = place[row]++;
      });
    }
  });
}

void pack_pattern_(Tensor pattern, const Tensor& mask) {
  const PatternRoom room = checked_packing(pattern, mask);
  const int64_t rows = mask.size(0), columns = mask.size(1), capacity = room.capacity;
  const auto* connected = static_cast<const uint8_t*>(mask.const_data_ptr());

  BitMatrix by_row(rows, columns);
  std::vector<int64_t> row_count(rows);
  const int64_t most = 1 + rows * columns / 262144;
  run_team(most, [&](const Worker& worker) {
    const Range r = share(worker, rows);
    for (int64_t row = r.begin; row < r.end; ++row) {
      pack_row(connected + row * columns, columns, by_row.row(row));
      row_count[row] = count_bits(by_row.row(row), by_row.words());
    }
  });
  int64_t non_zeros = 0;
  for (const int64_t count : row_count) non_zeros += count;
  STD_TORCH_CHECK(non_zeros <= capacity, "mask must keep at most ", capacity,
                  " connections, the capacity of the pattern, got ", non_zeros);

  int32_t* header = pattern.mutable_data_ptr<int32_t>();
  header[kMark] = kPatternMark;
  header[kVersion] = kPatternVersion;
  header[kRows] = int32_t(rows);
  header[kColumns] = int32_t(columns);
  header[kNonZeros] = int32_t(non_zeros);
  header[kCapacity] = int32_t(capacity);
  header[6] = header[7] = 0;
  int32_t* row_offsets = header + kPatternHeader;
  int32_t* column_of = row_offsets + rows + 1;
  add_up(row_count, row_offsets);
  run_team(most, [&](const Worker& worker) {
    const Range r = share(worker, rows);
    for (int64_t row = r.begin; row < r.end; ++row) {
      int32_t* next = column_of + row_offsets[row];
      for_each_bit(by_row.row(row), by_row.words(), [&](int64_t column) { *next++ = int32_t(column); });
    }
  });
  if (!room.by_columns) return;
  int32_t* column_offsets = column_of + capacity;
  int32_t* row_of = column_offsets + columns + 1;
  pack_columns(by_row, rows, columns, most, row_offsets, column_offsets, row_of, row_of + capacity);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) { m.def("pack_pattern_(Tensor(a!) pattern, Tensor mask) -> ()"); }
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { m.impl("pack_pattern_", TORCH_BOX(&pack_pattern_)); }

}  // namespace lsh
