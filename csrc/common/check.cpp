#include "common/check.h"

#include <sstream>

namespace lsh {

std::string dtype_name(ScalarType dtype) {
  switch (dtype) {
    case ScalarType::Float:
      return "float32";
    case ScalarType::Double:
      return "float64";
    case ScalarType::Half:
      return "float16";
    case ScalarType::BFloat16:
      return "bfloat16";
    case ScalarType::Int:
      return "int32";
    case ScalarType::Long:
      return "int64";
    case ScalarType::Bool:
      return "bool";
    default:
      return "dtype number " + std::to_string(int(dtype));
  }
}

namespace {

template <class Sizes>
std::string join(const Sizes& sizes) {
  std::ostringstream text;
  text << '(';
  const char* separator = "";
  for (const int64_t size : sizes) {
    text << separator;
    if (size < 0) {
      text << '*';
    } else {
      text << size;
    }
    separator = ", ";
  }
  text << ')';
  return text.str();
}

}  // namespace

std::string shape_text(const Tensor& tensor) { return join(tensor.sizes()); }

void check_dimensions(const Tensor& tensor, int64_t dimensions, const char* name) {
  STD_TORCH_CHECK(tensor.dim() == dimensions, name, " must have ", dimensions, " dimensions, got shape ",
                  shape_text(tensor));
}

void check_shape(const Tensor& tensor, std::initializer_list<int64_t> shape, const char* name) {
  bool same = tensor.dim() == int64_t(shape.size());
  int64_t axis = 0;
  for (const int64_t size : shape) {
    same = same && (size < 0 || tensor.size(axis) == size);
    ++axis;
  }
  STD_TORCH_CHECK(same, name, " must have shape ", join(shape), ", got ", shape_text(tensor));
}

void check_like(const Tensor& tensor, const Tensor& reference, const char* name, const char* reference_name) {
  STD_TORCH_CHECK(tensor.scalar_type() == reference.scalar_type(), name, " must have the dtype of ", reference_name,
                  ", ", dtype_name(reference.scalar_type()), ", got ", dtype_name(tensor.scalar_type()));
  STD_TORCH_CHECK(tensor.device() == reference.device(), name, " must be on the device of ", reference_name);
}

void check_floating(const Tensor& tensor, const char* name) {
  STD_TORCH_CHECK(tensor.scalar_type() == ScalarType::Float || tensor.scalar_type() == ScalarType::Double, name,
                  " must be float32 or float64, got ", dtype_name(tensor.scalar_type()));
}

}  // namespace lsh
