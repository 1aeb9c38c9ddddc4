// What kernels make of a weight before they multiply, kept in one tensor of bytes for many calls.
//
//   header   16 numbers of 8 bytes: what was packed, and for which product
//   pieces   the arrays of a LookupMatrix or a PanelMatrix, each from a multiple of 64 bytes on
#pragma once

#include <cstdint>

#include "sparsity/lookup.h"
#include "sparsity/matrix.h"
#include "sparsity/panels.h"

namespace lsh {

constexpr int64_t kPackedMark = 0x4c53484b;
constexpr int64_t kPackedHeader = 16;

enum PackedField { kPackedMarked, kPackedKind, kPackedNumber, kPackedNonZeros, kPackedPlan };
enum PackedKind : int64_t { kLookupKind = 1, kPanelKind = 2 };

// Arrays in memory, one after the other.
class Pieces {
 public:
  explicit Pieces(uintptr_t begin) : at_(begin) {}

  template <class T>
  T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(at_);
    at_ += uintptr_t(count * int64_t(sizeof(T)) + 63) / 64 * 64;
    return piece;
  }

  uintptr_t end() const { return at_; }

 private:
  uintptr_t at_;
};

// The matrices with their arrays from `begin` on; the first call, from 0, says how many bytes that takes.
template <class T>
uintptr_t lay_out(LookupMatrix<T>& matrix, int64_t groups, uintptr_t begin) {
  Pieces pieces(begin);
  const int64_t lists = matrix.plan.slices() * matrix.plan.lists();
  matrix.starts = pieces.take<int64_t>(lists);
  matrix.counts = pieces.take<int32_t>(lists);
  matrix.bases = pieces.take<int32_t>(groups);
  matrix.values = pieces.take<T>(groups * matrix.plan.sharing() * matrix.plan.width);
  matrix.indices = pieces.take<uint32_t>(groups / matrix.plan.together() * matrix.plan.width);
  return pieces.end();
}

template <class T>
uintptr_t lay_out(PanelMatrix<T>& matrix, int64_t entries, uintptr_t begin) {
  Pieces pieces(begin);
  matrix.bases = pieces.take<int64_t>(matrix.plan.chunks);
  matrix.starts = pieces.take<int32_t>(matrix.plan.starts());
  matrix.slots = pieces.take<uint8_t>(matrix.plan.slots());
  matrix.offsets = pieces.take<uint16_t>(entries / matrix.plan.bundle_rows);
  matrix.values = pieces.take<T>(entries);
  return pieces.end();
}

// Packs some chunks, or slices.
template <class T>
struct PackKernels {
  void (*panels)(const SparseMatrix<T>&, const PanelMatrix<T>&, Range chunks);
  void (*lookup)(const SparseMatrix<T>&, const LookupMatrix<T>&, Range slices);
};

struct PackTable {
  PackKernels<float> float32;
  PackKernels<double> float64;
};

}  // namespace lsh
