#include "sparsity/check_pattern.h"

#include <atomic>

#include "common/check.h"
#include "common/team.h"

namespace lsh {

PatternRoom pattern_room(const Tensor& pattern, int64_t rows, int64_t columns, const char* name) {
  check_dimensions(pattern, 1, name);
  STD_TORCH_CHECK(pattern.scalar_type() == ScalarType::Int, name, " must be int32, got ",
                  dtype_name(pattern.scalar_type()));
  STD_TORCH_CHECK(pattern.is_contiguous(), name, " must be contiguous");
  constexpr int64_t kMost = (int64_t(1) << 31) - 1;
  STD_TORCH_CHECK(rows >= 0 && columns >= 0 && rows <= kMost && columns <= kMost,
                  "rows and columns must be in [0, 2**31), got ", rows, " and ", columns);
  const int64_t by_rows = pattern.size(0) - (kPatternHeader + rows + 1), by_both = by_rows - (columns + 1);
  STD_TORCH_CHECK(by_rows >= 0, name, " must hold ", kPatternHeader + rows + 1, " + capacity numbers for a ", rows,
                  " x ", columns, " matrix, got ", pattern.size(0));
  if (by_both >= 0 && by_both % 3 == 0) return {by_both / 3, true};
  return {by_rows, false};
}

namespace {

PatternView view(const int32_t* data, int64_t rows, int64_t columns, const PatternRoom& room) {
  PatternView pattern{};
  pattern.rows = rows;
  pattern.columns = columns;
  pattern.non_zeros = 0;
  pattern.capacity = room.capacity;
  pattern.row_offsets = data + kPatternHeader;
  pattern.column_of = pattern.row_offsets + rows + 1;
  if (room.by_columns) {
    pattern.column_offsets = pattern.column_of + room.capacity;
    pattern.row_of = pattern.column_offsets + columns + 1;
    pattern.source = pattern.row_of + room.capacity;
  }
  return pattern;
}

bool offsets_hold(const int32_t* offsets, int64_t count, int64_t non_zeros) {
  bool good = offsets[0] == 0 && offsets[count] == non_zeros;
  for (int64_t i = 0; i < count; ++i) good &= offsets[i] <= offsets[i + 1];
  return good;
}

// Within each of `count` lists, indices ascend strictly and stay below `bound`.
bool indices_hold(const int32_t* offsets, const int32_t* indices, int64_t begin, int64_t end, int64_t bound) {
  bool good = true;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t first = offsets[i], stop = offsets[i + 1];
    int32_t falls = 0;
    for (int64_t k = first + 1; k < stop; ++k) falls |= indices[k] <= indices[k - 1];
    good &= first == stop || (!falls && indices[first] >= 0 && indices[stop - 1] < bound);
  }
  return good;
}

int64_t workers_for(const PatternView& pattern) { return 1 + pattern.non_zeros / 65536; }

}  // namespace

PatternView checked_rows(const Tensor& pattern, int64_t rows, int64_t columns, const char* name) {
  const PatternRoom room = pattern_room(pattern, rows, columns, name);
  const int32_t* header = pattern.const_data_ptr<int32_t>();
  STD_TORCH_CHECK(header[kMark] == kPatternMark && header[kVersion] == kPatternVersion, name,
                  " must be a packed pattern of version ", kPatternVersion, ", got other content");
  STD_TORCH_CHECK(header[kRows] == rows && header[kColumns] == columns, name, " must describe a ", rows, " x ", columns,
                  " matrix, got one for ", header[kRows], " x ", header[kColumns]);
  STD_TORCH_CHECK(header[kCapacity] == room.capacity && header[kNonZeros] >= 0 && header[kNonZeros] <= room.capacity,
                  name, " must hold at most ", room.capacity, " non-zeros, got ", header[kNonZeros]);
  PatternView found = view(header, rows, columns, room);
  found.non_zeros = header[kNonZeros];

  STD_TORCH_CHECK(offsets_hold(found.row_offsets, rows, found.non_zeros), name,
                  " must have row offsets that ascend from 0 to ", found.non_zeros);
  return found;
}

PatternView checked_pattern(const Tensor& pattern, int64_t rows, int64_t columns, const char* name) {
  const PatternView found = checked_rows(pattern, rows, columns, name);
  std::atomic<bool> good{true};
  run_team(workers_for(found), [&](const Worker& worker) {
    const Range r = share(worker, rows);
    if (!indices_hold(found.row_offsets, found.column_of, r.begin, r.end, columns)) good = false;
  });
  STD_TORCH_CHECK(good, name, " must have columns that ascend without repeats within each row, all in [0, ", columns,
                  ")");
  return found;
}

PatternView device_pattern(const Tensor& pattern, int64_t rows, int64_t columns, const char* name) {
  const PatternRoom room = pattern_room(pattern, rows, columns, name);
  STD_TORCH_CHECK(room.by_columns, name, " must be packed on the device that it is read on, got one packed on the CPU");
  return view(pattern.const_data_ptr<int32_t>(), rows, columns, room);
}

}  // namespace lsh
