// From the tensors of a sparse matrix to what kernels read: checks and workspaces, shared by every op on any device.
#pragma once

#include <optional>
#include <vector>

#include "common/check.h"
#include "common/large_pages.h"
#include "common/workspace.h"
#include "sparsity/check_pattern.h"
#include "sparsity/matrix.h"

namespace lsh {

using OptionalTensor = std::optional<Tensor>;
using Tensors = std::vector<Tensor>;

inline Tensor empty_like(const Tensor& like, std::initializer_list<int64_t> sizes) {
  return in_large_pages(torch::stable::new_empty(like, std::vector<int64_t>(sizes)));
}

// Throws unless the tensor is contiguous with the dtype and device of `reference`.
inline const Tensor& check_operand(const Tensor& tensor, const Tensor& reference, const char* name,
                                   const char* reference_name) {
  check_like(tensor, reference, name, reference_name);
  STD_TORCH_CHECK(tensor.is_contiguous(), name, " must be contiguous");
  return tensor;
}

// What kernels keep of a weight between calls: whether a weight is given so.
enum class Bytes { refused, allowed };

// A weight, dense (R, C) or packed (N), with its pattern; or its bytes.
template <class T, class Backend>
SparseMatrix<T> prepare_matrix(const Tensor& weight, const Tensor& pattern, int64_t rows, int64_t columns,
                               const Tensor& reference, const char* name, const char* pattern_name,
                               Workspace& workspace, Bytes bytes = Bytes::refused) {
  SparseMatrix<T> matrix{};
  matrix.name = name;
  if constexpr (Backend::kReadsPatterns) {
    if (bytes == Bytes::allowed && weight.scalar_type() == ScalarType::Byte) {
      STD_TORCH_CHECK(weight.is_cpu() && reference.is_cpu() && weight.is_contiguous() && weight.dim() == 1, name,
                      " as bytes must be contiguous, with one dimension, on the CPU");
      matrix.pattern = Backend::view_rows(pattern, rows, columns, pattern_name);
      matrix.bytes = static_cast<const char*>(weight.const_data_ptr());
      matrix.byte_count = weight.size(0);
      return matrix;
    }
  }
  check_operand(weight, reference, name, "input");
  STD_TORCH_CHECK(pattern.device() == reference.device(), pattern_name, " must be on the device of input");
  matrix.pattern = Backend::view(pattern, rows, columns, pattern_name);
  matrix.packed = weight.dim() == 1;
  const int64_t room = matrix.pattern.capacity;
  if (matrix.packed && !Backend::kReadsPatterns) {
    STD_TORCH_CHECK(weight.size(0) == room, name,
                    " in packed form must hold as many values as its pattern has room for, ", room, ", got ",
                    weight.size(0));
  } else if (matrix.packed) {
    STD_TORCH_CHECK(weight.size(0) >= matrix.pattern.non_zeros && weight.size(0) <= room, name,
                    " in packed form must hold the pattern's ", matrix.pattern.non_zeros, " values, got ",
                    weight.size(0));
  } else {
    check_shape(weight, {rows, columns}, name);
  }
  matrix.weight = static_cast<const T*>(weight.const_data_ptr());
  if (!matrix.packed) matrix.row_workspace = workspace.room<T>({room});
  matrix.row_values = matrix.packed ? matrix.weight : matrix.row_workspace;
  return matrix;
}

// A forward op does not use dense_gradient; it says what its gradient will be, which a packed weight has no room for.
inline void check_gradient_form(const Tensor& weight, bool dense_gradient, const char* name) {
  STD_TORCH_CHECK(!dense_gradient || weight.dim() != 1, "dense_gradient must be false for a packed ", name,
                  ", got true");
}

// Room for the gradient of a weight: dense where asked for or where the weight is, else packed. Kernels fill a dense
// one, zeros included; a packed one may be longer than the pattern and starts at zero.
inline Tensor empty_gradient(const Tensor& weight, int64_t rows, int64_t columns, bool dense_gradient) {
  if (dense_gradient || weight.dim() == 2) return empty_like(weight, {rows, columns});
  return torch::stable::new_zeros(weight, {weight.size(0)});
}

}  // namespace lsh
