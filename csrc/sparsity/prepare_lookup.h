// Workspaces of look-up matrices, for ops.
#pragma once

#include "common/simd_level.h"
#include "sparsity/lookup.h"
#include "sparsity/prepare_panels.h"

namespace lsh {

// The weight, `gates` rows a unit, for products with a few vectors at the SIMD level in use.
template <class T>
LookupMatrix<T> prepare_lookup(const SparseMatrix<T>& matrix, int64_t gates, const Tensor& like, Tensors& kept) {
  const PatternView& p = matrix.pattern;
  const LookupPlan plan{p.rows / gates, gates, p.columns, simd_vector_bytes() / int64_t(sizeof(T))};
  const int64_t groups = plan.slices() * plan.groups(), places = groups * gates * plan.width;
  Pieces pieces;
  const int64_t values = pieces.add<T>(places), indices = pieces.add<uint8_t>(places),
                bases = pieces.add<int32_t>(groups), counts = pieces.add<int32_t>(plan.slices());
  char* memory = pieces.allocate(like, kept);
  return {plan, reinterpret_cast<T*>(memory + values), reinterpret_cast<uint8_t*>(memory + indices),
          reinterpret_cast<int32_t*>(memory + bases), reinterpret_cast<int32_t*>(memory + counts)};
}

}  // namespace lsh
