// lsh::toggle_ for any device: checks, and the tensors of a selection as plain pointers.
#pragma once

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <vector>

#include "common/check.h"
#include "sparsity/selection.h"

namespace lsh {

inline ScoreType score_type(const Tensor& scores) {
  switch (scores.scalar_type()) {
    case ScalarType::Float:
      return ScoreType::float32;
    case ScalarType::Double:
      return ScoreType::float64;
    case ScalarType::BFloat16:
      return ScoreType::bfloat16;
    default:
      STD_TORCH_CHECK(false, "scores must be float32, float64 or bfloat16, got ", dtype_name(scores.scalar_type()));
  }
}

// The masks with their scores, none where they are drawn at random; throws unless they fit each other.
inline std::vector<Scored> checked_selection(std::vector<Tensor>& masks, const std::vector<Tensor>& scores,
                                             int64_t count) {
  STD_TORCH_CHECK(scores.empty() || scores.size() == masks.size(), "scores must be as many as masks, ", masks.size(),
                  ", or none for random ones, got ", scores.size());
  STD_TORCH_CHECK(count >= 0, "count must be at least 0, got ", count);
  std::vector<Scored> tensors;
  int64_t first = 0;
  for (size_t i = 0; i < masks.size(); ++i) {
    Tensor& mask = masks[i];
    STD_TORCH_CHECK(mask.scalar_type() == ScalarType::Bool, "mask must be bool, got ", dtype_name(mask.scalar_type()));
    STD_TORCH_CHECK(mask.is_contiguous(), "mask must be contiguous");
    const void* values = nullptr;
    STD_TORCH_CHECK(mask.device() == masks[0].device(), "masks must be on one device");
    if (!scores.empty()) {
      STD_TORCH_CHECK(scores[i].scalar_type() == scores[0].scalar_type(), "scores must have one dtype, got ",
                      dtype_name(scores[0].scalar_type()), " and ", dtype_name(scores[i].scalar_type()));
      STD_TORCH_CHECK(scores[i].device() == mask.device(), "scores and mask must be on one device");
      STD_TORCH_CHECK(scores[i].is_contiguous(), "scores must be contiguous");
      STD_TORCH_CHECK(scores[i].numel() == mask.numel(), "scores and mask must have one size, got ", scores[i].numel(),
                      " and ", mask.numel());
      values = scores[i].const_data_ptr();
    }
    tensors.push_back({static_cast<uint8_t*>(mask.mutable_data_ptr()), values, mask.numel(), first});
    first += mask.numel();
  }
  std::vector<Scored> by_place = tensors;
  std::sort(by_place.begin(), by_place.end(), [](const Scored& a, const Scored& b) { return a.mask < b.mask; });
  for (size_t i = 1; i < by_place.size(); ++i) {
    STD_TORCH_CHECK(by_place[i - 1].mask + by_place[i - 1].size <= by_place[i].mask,
                    "masks must not share memory, got two that do");
  }
  return tensors;
}

}  // namespace lsh
