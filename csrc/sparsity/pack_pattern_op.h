// lsh::pack_pattern_ for any device: what must hold of a mask and of the tensor that its pattern goes to.
#pragma once

#include <torch/csrc/stable/library.h>

#include <limits>

#include "common/check.h"
#include "sparsity/check_pattern.h"

namespace lsh {

// The room of `pattern` for the pattern of `mask`; throws unless they fit each other.
inline PatternRoom checked_packing(const Tensor& pattern, const Tensor& mask) {
  check_dimensions(mask, 2, "mask");
  STD_TORCH_CHECK(mask.scalar_type() == ScalarType::Bool, "mask must be bool, got ", dtype_name(mask.scalar_type()));
  STD_TORCH_CHECK(mask.is_contiguous(), "mask must be contiguous");
  STD_TORCH_CHECK(mask.device() == pattern.device(), "mask must be on the device of pattern");
  const int64_t rows = mask.size(0), columns = mask.size(1);
  const PatternRoom room = pattern_room(pattern, rows, columns, "pattern");
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  STD_TORCH_CHECK(rows <= kMost && columns <= kMost, "mask must have fewer than 2**31 rows and columns, got ", rows,
                  " x ", columns);
  STD_TORCH_CHECK(room.capacity <= kMost, "pattern must hold fewer than 2**31 connections, got ", room.capacity);
  return room;
}

}  // namespace lsh
