#include "sparsity/bundles.h"

#include <algorithm>

namespace lsh {
namespace {

bool share_columns(const PatternView& p, int64_t a, int64_t b) {
  const int32_t from = p.row_offsets[a], to = p.row_offsets[b], count = p.row_offsets[a + 1] - from;
  return p.row_offsets[b + 1] - to == count &&
         std::equal(p.column_of + from, p.column_of + from + count, p.column_of + to);
}

bool bundles_of_units(const PatternView& p, int64_t gates, int64_t height) {
  if (p.rows / gates % height != 0) return false;
  for (int64_t row = 0; row < p.rows; ++row) {
    if (row % height != 0 && !share_columns(p, row - 1, row)) return false;
  }
  return true;
}

bool bundles_of_gates(const PatternView& p, int64_t gates) {
  const int64_t units = p.rows / gates;
  for (int64_t row = units; row < p.rows; ++row) {
    if (!share_columns(p, row - units, row)) return false;
  }
  return true;
}

}  // namespace

bool can_bundle(Bundles bundles, int64_t gates, int64_t units, int64_t most) {
  if (bundles.rows == 1) return !bundles.of_gates;
  if (bundles.of_gates) return bundles.rows == gates && gates >= 2 && gates <= std::min<int64_t>(most, 4);
  return (bundles.rows == 4 || bundles.rows == 8) && bundles.rows <= most && units % bundles.rows == 0;
}

Bundles find_bundles(const PatternView& pattern, int64_t gates, int64_t most) {
  const auto units = [&](int64_t height) { return height <= most && bundles_of_units(pattern, gates, height); };
  if (pattern.non_zeros == 0) return {};
  if (units(8)) return {8, false};
  if (units(4)) return {4, false};
  if (gates >= 2 && gates <= std::min<int64_t>(most, 4) && bundles_of_gates(pattern, gates)) return {gates, true};
  return {};
}

}  // namespace lsh
