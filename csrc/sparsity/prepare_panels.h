// Workspaces of panel matrices, for ops.
#pragma once

#include "sparsity/panels.h"
#include "sparsity/prepare_matrix.h"

namespace lsh {

// Memory for the duration of a call, cut into aligned pieces.
class Pieces {
 public:
  // Adds room for `count` numbers; returns where it begins, in bytes.
  template <class T>
  int64_t add(int64_t count) {
    const int64_t begin = bytes_;
    bytes_ += (count * int64_t(sizeof(T)) + 63) / 64 * 64;
    return begin;
  }

  char* allocate(const Tensor& like, Tensors& kept) const {
    kept.push_back(torch::stable::new_empty(like, {bytes_ + 64}, ScalarType::Byte));
    const auto address = reinterpret_cast<uintptr_t>(kept.back().mutable_data_ptr());
    return reinterpret_cast<char*>((address + 63) / 64 * 64);
  }

 private:
  int64_t bytes_ = 0;
};

template <class T>
PanelMatrix<T> prepare_panels(const PanelPlan& plan, int64_t capacity, const Tensor& like, Tensors& kept) {
  Pieces pieces;
  const int64_t values = pieces.add<T>(plan.entries(capacity)), offsets = pieces.add<uint16_t>(plan.entries(capacity)),
                starts = pieces.add<int32_t>(plan.starts()), slots = pieces.add<uint8_t>(plan.slots()),
                bases = pieces.add<int64_t>(plan.chunks);
  char* memory = pieces.allocate(like, kept);
  return {plan,
          reinterpret_cast<T*>(memory + values),
          reinterpret_cast<uint16_t*>(memory + offsets),
          reinterpret_cast<int32_t*>(memory + starts),
          reinterpret_cast<uint8_t*>(memory + slots),
          reinterpret_cast<int64_t*>(memory + bases)};
}

inline double density_of(const PatternView& pattern) {
  return double(pattern.non_zeros) / std::max(double(pattern.rows) * double(pattern.columns), 1.0);
}

// Lanes of a slab at the widest level, at most: what a product takes at once of `lanes` lanes.
inline int64_t slab_lanes(int64_t lanes) { return std::min<int64_t>(lanes, 32); }

// The weight by rows, `gates` of them per unit, for products with `lanes` lanes.
template <class T>
PanelMatrix<T> panels_by_rows(const SparseMatrix<T>& matrix, int64_t gates, int64_t lanes, const Tensor& like,
                              Tensors& kept) {
  const PatternView& p = matrix.pattern;
  const int64_t bytes = slab_lanes(lanes) * int64_t(sizeof(T));
  return prepare_panels<T>(plan_panels(p.rows / gates, gates, p.columns, bytes, density_of(p)), p.non_zeros, like,
                           kept);
}

// The weight by columns.
template <class T>
PanelMatrix<T> panels_by_columns(const SparseMatrix<T>& matrix, int64_t lanes, const Tensor& like, Tensors& kept) {
  const PatternView& p = matrix.pattern;
  const int64_t bytes = slab_lanes(lanes) * int64_t(sizeof(T));
  return prepare_panels<T>(plan_panels(p.columns, 1, p.rows, bytes, density_of(p)), p.non_zeros, like, kept);
}

template <class T>
SampledPanels sampled_panels(const SparseMatrix<T>& matrix, bool dense_gradient, const Tensor& like, Tensors& kept) {
  const PatternView& p = matrix.pattern;
  constexpr int64_t kLanes = 128;  // held at once at the widest level
  const double density = dense_gradient ? 1.0 : density_of(p);
  SampledPanels sampled{sampled_panel_columns(p.columns, kLanes * int64_t(sizeof(T)), density), nullptr};
  const int64_t panels = (p.columns + sampled.panel_columns - 1) / sampled.panel_columns;
  if (!dense_gradient) sampled.edges = integers(like, kept, p.rows * (panels + 1));
  return sampled;
}

}  // namespace lsh
