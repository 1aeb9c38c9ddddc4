// Workspaces of panel matrices, for ops.
#pragma once

#include "sparsity/read_packed.h"
#include "sparsity/sampled.h"

namespace lsh {

// Memory for the duration of a call, from a multiple of 64 bytes on.
inline uintptr_t aligned_bytes(const Tensor& like, Tensors& kept, uintptr_t count) {
  kept.push_back(in_large_pages(torch::stable::new_empty(like, {int64_t(count) + 64}, ScalarType::Byte)));
  return (reinterpret_cast<uintptr_t>(kept.back().mutable_data_ptr()) + 63) / 64 * 64;
}

template <class T>
PanelMatrix<T> prepare_panels(const PanelPlan& plan, int64_t capacity, const Tensor& like, Tensors& kept) {
  PanelMatrix<T> matrix{plan};
  const int64_t entries = plan.entries(capacity);
  lay_out(matrix, entries, aligned_bytes(like, kept, lay_out(matrix, entries, 0)));
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
PanelMatrix<T> panels_by_rows(const SparseMatrix<T>& matrix, int64_t gates, int64_t lanes, const Tensor& like,
                              Tensors& kept) {
  const PanelPlan plan = plan_by_rows(matrix, gates, lanes);
  if (matrix.bytes) return read_panels(matrix, plan);
  return prepare_panels<T>(plan, matrix.pattern.non_zeros, like, kept);
}

// The weight by columns.
template <class T>
PanelMatrix<T> panels_by_columns(const SparseMatrix<T>& matrix, int64_t lanes, const Tensor& like, Tensors& kept) {
  const PatternView& p = matrix.pattern;
  const int64_t bytes = slab_lanes(lanes) * int64_t(sizeof(T));
  return prepare_panels<T>(plan_panels(p.columns, 1, p.rows, bytes, density_of(p)), p.non_zeros, like, kept);
}

// Room for gradients of weights, for `workers` of them.
template <class T>
SampleRooms<T> sample_rooms(int64_t workers, const Tensor& like, Tensors& kept) {
  const uintptr_t bytes = uintptr_t(workers) * SampleRooms<T>::bytes();
  return {reinterpret_cast<char*>(aligned_bytes(like, kept, bytes))};
}

}  // namespace lsh
