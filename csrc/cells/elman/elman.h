// The simple recurrent network of torch.nn.RNN: one gate, one state h.
//
//   h' = tanh(W x + R h + b)
//
// Source: Elman 1990.
#pragma once

#include "cells/cell.h"

namespace lsh {
namespace LSH_LEVEL {

struct Elman {
  static constexpr int kGates = 1, kStates = 1, kActivations = 1;
  static constexpr bool kSeparateInput = false;
  static constexpr bool kProjects = false;

  template <class V>
  LSH_INLINE void forward(const V (&recurrent)[1], const V (&input)[1], const V (&)[1], V (&activation)[1],
                          V (&next)[1]) {
    next[0] = activation[0] = tanh(recurrent[0] + input[0]);
  }

  template <class V>
  LSH_INLINE void tangent(const V (&activation)[1], const V (&)[1], const V (&d_recurrent)[1], const V (&d_input)[1],
                          const V (&)[1], V (&d_next)[1]) {
    d_next[0] = (1 - activation[0] * activation[0]) * (d_recurrent[0] + d_input[0]);
  }

  template <class V>
  LSH_INLINE void backward(const V (&activation)[1], const V (&)[1], const V (&d_next)[1], V (&d_recurrent)[1],
                           V (&)[1], V (&d_state)[1]) {
    d_recurrent[0] = (1 - activation[0] * activation[0]) * d_next[0];
    d_state[0] = V{};
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh
