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

// Bytes of the lanes of a column that a product takes at once: those of a slab at the widest level, at most.
template <class T>
int64_t slab_bytes(int64_t lanes) {
  return std::min<int64_t>(lanes * int64_t(sizeof(T)), 128);
}

template <class T>
PanelPlan plan_by_rows(const SparseMatrix<T>& matrix, int64_t gates, int64_t lanes) {
  const PatternView& p = matrix.pattern;
  const Bundles bundles = find_bundles(p, gates, most_group_rows());
  return plan_panels(p.rows / gates, gates, p.columns, slab_bytes<T>(lanes), density_of(p), bundles);
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
  const PanelPlan plan = plan_panels(p.columns, 1, p.rows, slab_bytes<T>(lanes), density_of(p));
  return prepare_panels<T>(plan, p.non_zeros, workspace);
}

// The weight (gates * units, columns) by rows of which nothing but its bytes is at hand: these say themselves how many
// non-zeros there are, and in which bundles.
template <class T>
PanelMatrix<T> panels_of_bytes(const Tensor& bytes, int64_t gates, int64_t units, int64_t columns, int64_t lanes,
                               const char* name) {
  STD_TORCH_CHECK(bytes.is_cpu() && bytes.is_contiguous() && bytes.dim() == 1 &&
                      bytes.scalar_type() == ScalarType::Byte &&
                      bytes.size(0) >= kPackedHeader * int64_t(sizeof(int64_t)),
                  name, " must be bytes that lsh::pack_weight made, got ", dtype_name(bytes.scalar_type()),
                  " of shape ", shape_text(bytes));
  SparseMatrix<T> matrix{};
  matrix.name = name;
  matrix.bytes = static_cast<const char*>(bytes.const_data_ptr());
  matrix.byte_count = bytes.size(0);
  int64_t header[kPackedHeader];
  PanelPlan said{};
  std::memcpy(header, matrix.bytes, sizeof(header));
  std::memcpy(&said, header + kPackedPlan + 1, sizeof(said));
  matrix.pattern.rows = gates * units;
  matrix.pattern.columns = columns;
  // Where these cannot be, the plan made from others is not the one that was packed.
  const int64_t non_zeros = header[kPackedNonZeros], most = gates * units * columns;
  if (non_zeros >= 0 && non_zeros <= most) matrix.pattern.non_zeros = non_zeros;
  Bundles bundles{said.bundle_rows, said.gate_bundles != 0};
  if (!can_bundle(bundles, gates, units, most_group_rows())) bundles = {};
  return read_panels(matrix,
                     plan_panels(units, gates, columns, slab_bytes<T>(lanes), density_of(matrix.pattern), bundles));
}

// Room for gradients of weights, for `workers` of them.
template <class T>
SampleRooms<T> sample_rooms(int64_t workers, Workspace& workspace) {
  return {workspace.room<char>({workers, int64_t(SampleRooms<T>::bytes())})};
}

}  // namespace lsh
