// Workspaces of look-up matrices, for ops.
#pragma once

#include "common/simd_level.h"
#include "sparsity/prepare_panels.h"

namespace lsh {

// With AVX-512, windows of two registers cost half as much a place and need a fifth more places: they pay while the
// matrix comes from the second-level cache, which holds so many bytes of it.
constexpr int64_t kNarrowUpTo = int64_t(1) << 20;

template <class T>
LookupPlan lookup_plan(const PatternView& p, int64_t gates) {
  const int64_t bytes = simd_vector_bytes();
  const bool narrow = p.non_zeros * int64_t(sizeof(T) + 2) <= kNarrowUpTo;
  const int64_t registers = bytes == 64 ? (narrow ? 2 : 4) : bytes == 32 && sizeof(T) == 4 ? 1 : 2;
  return {p.rows / gates, gates, p.columns, bytes / int64_t(sizeof(T)), registers};
}

// The weight, `gates` rows a unit, for products with a few vectors at the SIMD level in use: room for it, or what its
// bytes hold.
template <class T>
LookupMatrix<T> prepare_lookup(const SparseMatrix<T>& matrix, int64_t gates, Workspace& workspace) {
  LookupMatrix<T> lookup{lookup_plan<T>(matrix.pattern, gates)};
  if (matrix.bytes) return read_lookup(matrix, lookup.plan);
  const int64_t groups = lookup.plan.slices() * lookup.plan.lists() * lookup.plan.groups();
  lay_out(lookup, groups, workspace.bytes_from(int64_t(lay_out(lookup, groups, 0))));
  return lookup;
}

}  // namespace lsh
