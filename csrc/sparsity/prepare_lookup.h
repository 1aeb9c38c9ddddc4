// Workspaces of look-up matrices, for ops.
#pragma once

#include "common/simd_level.h"
#include "sparsity/prepare_panels.h"

namespace lsh {

// Windows of two registers cost half as much a place and need a fifth more places: they pay while the matrix comes from
// the second-level cache, which holds so many bytes of it.
constexpr int64_t kNarrowUpTo = int64_t(1) << 20;

// The weight, `gates` rows a unit, for products with a few vectors at the SIMD level in use: room for it, or what its
// bytes hold.
template <class T>
LookupMatrix<T> prepare_lookup(const SparseMatrix<T>& matrix, int64_t gates, Workspace& workspace) {
  if (matrix.bytes) return read_lookup(matrix, gates);
  const PatternView& p = matrix.pattern;
  LookupMatrix<T> lookup{{p.rows / gates, gates, p.columns, simd_vector_bytes() / int64_t(sizeof(T)),
                          p.non_zeros * int64_t(sizeof(T) + 2) > kNarrowUpTo}};
  const int64_t groups = lookup.plan.slices() * lookup.plan.groups();
  lay_out(lookup, groups, workspace.bytes_from(int64_t(lay_out(lookup, groups, 0))));
  return lookup;
}

}  // namespace lsh
