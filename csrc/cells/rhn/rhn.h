// One micro-step of a recurrent highway: gates h, t and, unless carry is coupled to transform, c; one state s.
//
//   h = tanh(a_h)   t = sigmoid(a_t)   c = 1 - t  or  sigmoid(a_c)      a = R_d s + b_d, and + W x in the first
//   s' = h t + s c
//
// Source: Zilly, Srivastava, Koutník & Schmidhuber 2017.
#pragma once

#include "cells/cell.h"

namespace lsh {
namespace LSH_LEVEL {

template <bool kCoupled>
struct Rhn {
  static constexpr int kGates = kCoupled ? 2 : 3, kStates = 1, kActivations = kGates;
  static constexpr bool kSeparateInput = false;
  static constexpr bool kProjects = false;

  template <class V>
  LSH_INLINE V carry(const V (&activation)[kActivations]) {
    if constexpr (kCoupled)
      return 1 - activation[1];
    else
      return activation[2];
  }

  template <class V>
  LSH_INLINE void forward(const V (&recurrent)[kGates], const V (&input)[kGates], const V (&state)[1],
                          V (&activation)[kActivations], V (&next)[1]) {
    activation[0] = tanh(recurrent[0] + input[0]);
    for (int g = 1; g < kGates; ++g) activation[g] = sigmoid(recurrent[g] + input[g]);
    next[0] = activation[0] * activation[1] + state[0] * carry(activation);
  }

  template <class V>
  LSH_INLINE void tangent(const V (&activation)[kActivations], const V (&state)[1], const V (&d_recurrent)[kGates],
                          const V (&d_input)[kGates], const V (&d_state)[1], V (&d_next)[1]) {
    const V h = activation[0], t = activation[1], c = carry(activation);
    const V d_h = (1 - h * h) * (d_recurrent[0] + d_input[0]);
    const V d_t = t * (1 - t) * (d_recurrent[1] + d_input[1]);
    V d_c;
    if constexpr (kCoupled)
      d_c = -d_t;
    else
      d_c = c * (1 - c) * (d_recurrent[2] + d_input[2]);
    d_next[0] = t * d_h + h * d_t + state[0] * d_c + c * d_state[0];
  }

  template <class V>
  LSH_INLINE void backward(const V (&activation)[kActivations], const V (&state)[1], const V (&d_next)[1],
                           V (&d_recurrent)[kGates], V (&)[kGates], V (&d_state)[1]) {
    const V h = activation[0], t = activation[1], c = carry(activation);
    d_recurrent[0] = (1 - h * h) * t * d_next[0];
    if constexpr (kCoupled) {
      d_recurrent[1] = t * (1 - t) * (h - state[0]) * d_next[0];
    } else {
      d_recurrent[1] = t * (1 - t) * h * d_next[0];
      d_recurrent[2] = c * (1 - c) * state[0] * d_next[0];
    }
    d_state[0] = c * d_next[0];
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh
