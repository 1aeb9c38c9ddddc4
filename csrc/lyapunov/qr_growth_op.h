// lsh::qr_growth for any device: what must hold of tangent vectors, and room for the results.
#pragma once

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "lyapunov/qr_growth.h"
#include "sparsity/prepare_matrix.h"

namespace lsh {

// Basis, log growth, losses, condition, method.
using QRGrowthTensors = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

inline void check_tangent(const Tensor& tangent) {
  check_dimensions(tangent, 3, "tangent");
  check_floating(tangent, "tangent");
  STD_TORCH_CHECK(tangent.is_contiguous(), "tangent must be contiguous");
  STD_TORCH_CHECK(tangent.size(2) >= 1 && tangent.size(2) <= tangent.size(1),
                  "tangent must have from 1 up to as many columns as rows, got shape ", shape_text(tangent));
}

inline Tensor empty_as(const Tensor& like, std::vector<int64_t> sizes, ScalarType dtype) {
  return torch::stable::new_empty(like, sizes, dtype);
}

inline QRGrowthTensors empty_growth(const Tensor& tangent) {
  const int64_t batch = tangent.size(0), n = tangent.size(1), K = tangent.size(2);
  return {empty_like(tangent, {batch, n, K}), empty_as(tangent, {batch, K}, ScalarType::Double),
          empty_as(tangent, {batch, K}, ScalarType::Bool), empty_as(tangent, {batch}, ScalarType::Double),
          empty_as(tangent, {batch}, ScalarType::Int)};
}

}  // namespace lsh
