// What every op asks of its arguments, in sentences: what must hold, and what came.
#pragma once

#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <initializer_list>
#include <optional>
#include <string>

namespace lsh {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// "float32", "(3, 4)": names for messages.
std::string dtype_name(ScalarType dtype);
std::string shape_text(const Tensor& tensor);

void check_dimensions(const Tensor& tensor, int64_t dimensions, const char* name);

// Throws unless the tensor has this shape; -1 matches any size.
void check_shape(const Tensor& tensor, std::initializer_list<int64_t> shape, const char* name);

// Throws unless dtype and device are those of `reference`, called `reference_name`.
void check_like(const Tensor& tensor, const Tensor& reference, const char* name, const char* reference_name);

// Throws unless the dtype is float32 or float64.
void check_floating(const Tensor& tensor, const char* name);

}  // namespace lsh
