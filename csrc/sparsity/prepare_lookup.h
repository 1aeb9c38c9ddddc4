// Workspaces of look-up matrices, for ops.
#pragma once

#include "common/simd_level.h"
#include "sparsity/prepare_panels.h"

namespace lsh {

// The weight, `gates` rows a unit, for products with a few vectors at the SIMD level in use: room for it, or what its
// bytes hold.
template <class T>
LookupMatrix<T> prepare_lookup(const SparseMatrix<T>& matrix, int64_t gates, const Tensor& like, Tensors& kept) {
  if (matrix.bytes) return read_lookup(matrix, gates);
  const PatternView& p = matrix.pattern;
  LookupMatrix<T> lookup{{p.rows / gates, gates, p.columns, simd_vector_bytes() / int64_t(sizeof(T))}};
  const int64_t groups = lookup.plan.slices() * lookup.plan.groups();
  lay_out(lookup, groups, aligned_bytes(like, kept, lay_out(lookup, groups, 0)));
  return lookup;
}

}  // namespace lsh
