// lsh::pack_pattern_: writes the pattern of a mask into a tensor of its capacity, in two passes over the mask.
#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "common/check.h"
#include "common/team.h"
#include "sparsity/check_pattern.h"

namespace lsh {
namespace {

void pack_pattern_(Tensor pattern, const Tensor& mask) {
  check_dimensions(mask, 2, "mask");
  STD_TORCH_CHECK(mask.scalar_type() == ScalarType::Bool, "mask must be bool, got ", dtype_name(mask.scalar_type()));
  STD_TORCH_CHECK(mask.is_contiguous(), "mask must be contiguous");
  const int64_t rows = mask.size(0), columns = mask.size(1);
  const int64_t capacity = pattern_capacity(pattern, rows, columns, "pattern");
  const auto* connected = static_cast<const uint8_t*>(mask.const_data_ptr());

  std::vector<int64_t> row_count(rows);
  run_team(1 + rows * columns / 262144, [&](const Worker& worker) {
    const Range r = share(worker, rows);
    for (int64_t row = r.begin; row < r.end; ++row) {
      const uint8_t* entry = connected + row * columns;
      int64_t count = 0;
      for (int64_t column = 0; column < columns; ++column) count += entry[column] != 0;
      row_count[row] = count;
    }
  });
  int64_t non_zeros = 0;
  for (const int64_t count : row_count) non_zeros += count;
  STD_TORCH_CHECK(non_zeros <= capacity, "mask must keep at most ", capacity,
                  " connections, the capacity of the pattern, got ", non_zeros);
  STD_TORCH_CHECK(capacity <= std::numeric_limits<int32_t>::max(),
                  "pattern must hold fewer than 2**31 connections, got ", capacity);

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
  int32_t* column_offsets = column_of + capacity;
  int32_t* row_of = column_offsets + columns + 1;
  int32_t* source = row_of + capacity;

  row_offsets[0] = 0;
  for (int64_t row = 0; row < rows; ++row) row_offsets[row + 1] = row_offsets[row] + int32_t(row_count[row]);

  // Each worker counts the columns of its own rows; a prefix sum over (column, worker) then gives each worker its own
  // place in every column, so that the rows of a column come out ascending whoever wrote them.
  const int64_t most = 1 + non_zeros / 65536;
  std::vector<std::vector<int32_t>> places;
  run_team(most, [&](const Worker& worker) {
    if (worker.index == 0) places.assign(worker.count, std::vector<int32_t>(columns, 0));
    wait_for_team(worker);
    const Range r = share(worker, rows);
    int32_t* const place = places[worker.index].data();
    std::vector<int32_t> line(columns + 1);  // a row's columns are listed without branches, one write beyond the last
    for (int64_t row = r.begin; row < r.end; ++row) {
      const uint8_t* entry = connected + row * columns;
      int64_t listed = 0;
      for (int64_t column = 0; column < columns; ++column) {
        line[listed] = int32_t(column);
        listed += entry[column] != 0;
      }
      std::copy_n(line.data(), listed, column_of + row_offsets[row]);
      for (int64_t column = 0; column < columns; ++column) place[column] += entry[column] != 0;
    }
    wait_for_team(worker);
    if (worker.index == 0) {
      int32_t next = 0;
      for (int64_t column = 0; column < columns; ++column) {
        column_offsets[column] = next;
        for (int w = 0; w < worker.count; ++w) {
          const int32_t count = places[w][column];
          places[w][column] = next;
          next += count;
        }
      }
      column_offsets[columns] = next;
    }
    wait_for_team(worker);
    for (int64_t row = r.begin; row < r.end; ++row) {
      for (int32_t k = row_offsets[row]; k < row_offsets[row + 1]; ++k) {
        const int32_t at = place[column_of[k]]++;
        row_of[at] = int32_t(row);
        source[at] = k;
      }
    }
  });
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) { m.def("pack_pattern_(Tensor(a!) pattern, Tensor mask) -> ()"); }
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { m.impl("pack_pattern_", TORCH_BOX(&pack_pattern_)); }

}  // namespace lsh
