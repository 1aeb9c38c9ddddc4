// Products of a sparse matrix on a device: the plain versions, one thread per result.
//
// A pattern's content cannot be checked before a launch without waiting for the device, so each index is guarded where
// it is used: one outside the matrix gives NaN, never an access outside memory.
#pragma once

#include <cstdint>

#include "common/launch.cuh"
#include "sparsity/matrix.h"

namespace lsh {

__device__ inline int64_t clamp_offset(int32_t offset, int64_t capacity) {
  return offset < 0 ? 0 : (offset > capacity ? capacity : offset);
}

template <class T>
__device__ inline T not_a_number() {
  return T(nan(""));
}

// The value of the k-th non-zero in row order, in `row` and `column`, both already known to be inside.
template <class T>
__device__ inline T value_at(const SparseMatrix<T>& matrix, int64_t k, int64_t row, int64_t column) {
  return matrix.packed ? matrix.weight[k] : matrix.weight[row * matrix.pattern.columns + column];
}

// sum over the non-zeros of `row`: value * operand(column).
template <class T, class Operand>
__device__ T multiply_row(const SparseMatrix<T>& matrix, int64_t row, const Operand& operand) {
  const PatternView& p = matrix.pattern;
  const int64_t end = clamp_offset(p.row_offsets[row + 1], p.capacity);
  T sum = 0;
  for (int64_t k = clamp_offset(p.row_offsets[row], p.capacity); k < end; ++k) {
    const int32_t column = p.column_of[k];
    const bool inside = column >= 0 && column < p.columns;
    sum += inside ? value_at(matrix, k, row, column) * operand(column) : not_a_number<T>();
  }
  return sum;
}

// sum over the non-zeros of `column`: value * operand(row).
template <class T, class Operand>
__device__ T multiply_column(const SparseMatrix<T>& matrix, int64_t column, const Operand& operand) {
  const PatternView& p = matrix.pattern;
  const int64_t end = clamp_offset(p.column_offsets[column + 1], p.capacity);
  T sum = 0;
  for (int64_t k = clamp_offset(p.column_offsets[column], p.capacity); k < end; ++k) {
    const int32_t row = p.row_of[k], source = p.source[k];
    const bool inside = row >= 0 && row < p.rows && source >= 0 && source < p.capacity;
    sum += inside ? value_at(matrix, source, row, column) * operand(row) : not_a_number<T>();
  }
  return sum;
}

// The row that holds the k-th non-zero in row order.
__device__ inline int64_t row_holding(const PatternView& p, int64_t k) {
  int64_t low = 0, high = p.rows;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (p.row_offsets[middle + 1] <= k) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

template <class T>
__global__ void zero(T* values, int64_t count) {
  const int64_t item = this_item();
  if (item < count) values[item] = 0;
}

// Where one entry of a weight's gradient belongs: item i is entry i of a dense gradient, or non-zero i in row order.
struct GradientEntry {
  int64_t row, column, out;
  bool inside;
};

template <class T>
__device__ inline GradientEntry gradient_entry(const SparseMatrix<T>& matrix, int64_t item, bool dense_gradient) {
  const PatternView& p = matrix.pattern;
  if (dense_gradient) return {item / p.columns, item % p.columns, item, true};
  const int64_t non_zeros = clamp_offset(p.row_offsets[p.rows], p.capacity);
  if (item >= non_zeros) return {0, 0, 0, false};
  const int64_t row = row_holding(p, item);
  const int32_t column = p.column_of[item];
  const bool inside = row < p.rows && column >= 0 && column < p.columns;
  return {row, column, matrix.packed ? item : row * p.columns + column, inside};
}

// How many such items there are at most.
template <class T>
inline int64_t gradient_items(const SparseMatrix<T>& matrix, bool dense_gradient) {
  return dense_gradient ? matrix.pattern.rows * matrix.pattern.columns : matrix.pattern.capacity;
}

}  // namespace lsh
