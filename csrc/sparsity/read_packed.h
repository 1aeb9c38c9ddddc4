// Reads what lsh::pack_weight made, and trusts none of it: every number that leads to memory is checked.
#pragma once

#include <algorithm>
#include <cstring>

#include "common/simd_level.h"
#include "sparsity/packed.h"
#include "sparsity/prepare_matrix.h"

namespace lsh {

inline void check_meant(bool meant, const char* name) {
  STD_TORCH_CHECK(meant, name, " as bytes must be packed for this product and pattern, got another's");
}

inline void check_packed(bool good, const char* name) {
  STD_TORCH_CHECK(good, name, " as bytes must be as lsh::pack_weight made it, got numbers that point outside");
}

// The header's plan and the arrays behind it; throws unless they are for this matrix and this kind of product.
template <class T, class Matrix>
Matrix open_packed(const SparseMatrix<T>& from, PackedKind kind, int64_t gates, int64_t& room) {
  constexpr int64_t kHeader = kPackedHeader * int64_t(sizeof(int64_t));
  int64_t header[kPackedHeader] = {};
  const auto begin = reinterpret_cast<uintptr_t>(from.bytes);
  if (from.byte_count >= kHeader) std::memcpy(header, from.bytes, kHeader);
  STD_TORCH_CHECK(header[kPackedMarked] == kPackedMark && begin % 64 == 0, from.name,
                  " as bytes must be a tensor that lsh::pack_weight made, got other content");
  Matrix matrix{};
  matrix.ready = true;
  std::memcpy(&matrix.plan, header + kPackedPlan + 1, sizeof(matrix.plan));
  check_meant(header[kPackedKind] == kind && header[kPackedNumber] == int64_t(sizeof(T)) &&
                  header[kPackedNonZeros] == from.pattern.non_zeros && matrix.plan.gates == gates &&
                  matrix.plan.units == from.pattern.rows / gates && matrix.plan.columns == from.pattern.columns,
              from.name);
  room = header[kPackedPlan];
  return matrix;
}

// Lays the arrays out behind the header; returns how many bytes that takes.
template <class Matrix>
int64_t lay_out_packed(Matrix& matrix, int64_t room, const char* bytes) {
  const auto begin = reinterpret_cast<uintptr_t>(bytes);
  return int64_t(lay_out(matrix, room, begin + kPackedHeader * sizeof(int64_t)) - begin);
}

template <class T>
LookupMatrix<T> read_lookup(const SparseMatrix<T>& from, const LookupPlan& plan) {
  int64_t groups = 0;
  auto matrix = open_packed<T, LookupMatrix<T>>(from, kLookupKind, plan.gates, groups);
  check_meant(std::memcmp(&matrix.plan, &plan, sizeof(plan)) == 0, from.name);
  check_packed(groups >= 0 && groups < from.byte_count && groups % plan.together() == 0, from.name);
  check_packed(lay_out_packed(matrix, groups, from.bytes) <= from.byte_count, from.name);
  bool good = true;
  for (int64_t l = 0; l < plan.slices() * plan.lists(); ++l) {
    good &= matrix.starts[l] >= 0 && matrix.counts[l] >= 0 && matrix.starts[l] <= groups - matrix.counts[l];
    good &= matrix.starts[l] % plan.together() == 0 && matrix.counts[l] % plan.together() == 0;
  }
  const int32_t most = int32_t(plan.groups());
  for (int64_t g = 0; g < groups; ++g) good &= matrix.bases[g] >= 0 && matrix.bases[g] < most;
  check_packed(good, from.name);
  return matrix;
}

template <class T>
PanelMatrix<T> read_panels(const SparseMatrix<T>& from, const PanelPlan& plan) {
  int64_t entries = 0;
  auto matrix = open_packed<T, PanelMatrix<T>>(from, kPanelKind, plan.gates, entries);
  check_meant(std::memcmp(&matrix.plan, &plan, sizeof(plan)) == 0, from.name);
  check_packed(entries >= 0 && entries < from.byte_count, from.name);
  check_packed(lay_out_packed(matrix, entries, from.bytes) <= from.byte_count, from.name);
  bool good = true;
  for (int64_t i = 0; i < plan.slots(); ++i) good &= matrix.slots[i] <= kChunkRows;
  for (int64_t c = 0; c < plan.chunks && good; ++c) {
    const int32_t* starts = matrix.starts + c * (plan.panels * plan.groups() + 1);
    good &= matrix.bases[c] >= 0 && matrix.bases[c] <= entries && starts[0] == 0;
    for (int64_t g = 0; g < plan.panels * plan.groups(); ++g) good &= starts[g] <= starts[g + 1];
    good &= matrix.bases[c] % plan.bundle_rows == 0;
    good &= starts[plan.panels * plan.groups()] <= (entries - matrix.bases[c]) / plan.group_rows();
    for (int64_t panel = 0; panel < plan.panels && good; ++panel) {
      const int64_t left = plan.columns - panel * plan.panel_columns;
      const int32_t end = int32_t(8 * std::min(left, plan.panel_columns));
      const uint16_t* offsets = matrix.offsets + matrix.bases[c] / plan.bundle_rows;
      const int64_t from_entry = plan.bundles * int64_t(starts[panel * plan.groups()]);
      const int64_t stop = plan.bundles * int64_t(starts[(panel + 1) * plan.groups()]);
      int16_t furthest = INT16_MIN, bits = 0;  // signed, as every processor has the greater of signed words by vectors
      for (int64_t e = from_entry; e < stop; ++e) {
        furthest = std::max(furthest, int16_t(offsets[e] ^ 0x8000));
        bits = int16_t(bits | offsets[e]);
      }
      good &= from_entry == stop || (furthest + 0x8000 < end && bits % 8 == 0);
    }
  }
  check_packed(good, from.name);
  return matrix;
}

}  // namespace lsh
