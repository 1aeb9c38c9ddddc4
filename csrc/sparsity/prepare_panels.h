// Workspaces of panel matrices, for ops.
#pragma once

#include "sparsity/read_packed.h"
#include "sparsity/sampled.h"

namespace lsh {

template <class T>
PanelMatrix<T> prepare_panels(const PanelPlan& plan, int64_t capacity, Workspace& workspace) {
  PanelMatrix<T> matrix{plan};
  const int64_t entries = plan.entries(capacity);
  lay_out(matrix, entries, workspace.bytes_from(int64_t(lay_out(matrix, entries, 0))));
  return matrix;
}

inline double density_of(const PatternView& pattern) {
  return double(pattern.non_zeros) / std::max(double(pattern.rows) * double(pattern.columns), 1.0);
}

// Lanes of a slab at the widest level, at most: what a product takes at once of `lanes` lanes.
inline int64_t slab_lanes(int64_t lanes) { return std::min<int64_t>(lanes, 32); }

template <class T>
PanelPlan plan_by_rows(const SparseMatrix<T>& matrix, int64_t gates, int64_t lanes) {
  const PatternView& p = matrix.pattern;
  const int64_t bytes = slab_lanes(lanes) * int64_t(sizeof(T));
  return plan_panels(p.rows / gates, gates, p.columns, bytes, density_of(p), find_bundles(p, gates, most_group_rows()));
}

// The weight by rows, `gates` of them per unit, for products with `lanes` lanes: room for it, or what its bytes hold.
template <class T>
PanelMatrix<T> panels_by_rows(const SparseMatrix<T>& matrix, int64_t gates, int64_t lanes, Workspace& workspace) {
  const PanelPlan plan = plan_by_rows(matrix, gates, lanes);
  if (matrix.bytes) return read_panels(matrix, plan);
  return prepare_panels<T>(plan, matrix.pattern.non_zeros, workspace);
}

// The weight by columns.
template <class T>
PanelMatrix<T> panels_by_columns(const SparseMatrix<T>& matrix, int64_t lanes, Workspace& workspace) {
  const PatternView& p = matrix.pattern;
  const int64_t bytes = slab_lanes(lanes) * int64_t(sizeof(T));
  return prepare_panels<T>(plan_panels(p.columns, 1, p.rows, bytes, density_of(p)), p.non_zeros, workspace);
}

// Room for gradients of weights, for `workers` of them.
template <class T>
SampleRooms<T> sample_rooms(int64_t workers, Workspace& workspace) {
  return {workspace.room<char>({workers, int64_t(SampleRooms<T>::bytes())})};
}

}  // namespace lsh
