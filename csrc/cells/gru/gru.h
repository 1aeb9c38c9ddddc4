// The gated recurrent unit with torch.nn.GRU's gate order r, z, n; one state h.
//
//   r = sigmoid(a_r)   z = sigmoid(a_z)            a = W x + b_ih + R h + b_hh
//   n = tanh(u + r m)   with u = W_n x + b_in,  m = R_n h + b_hn
//   h' = (1 - z) n + z h
//
// Source: Cho et al. 2014, with the reset gate behind the recurrent product.
#pragma once

#include "cells/cell.h"

namespace lsh {
namespace LSH_LEVEL {

struct Gru {
  static constexpr int kGates = 3, kStates = 1, kActivations = 4;
  static constexpr bool kSeparateInput = true;
  static constexpr bool kProjects = false;

  template <class V>
  LSH_INLINE void forward(const V (&recurrent)[3], const V (&input)[3], const V (&state)[1], V (&activation)[4],
                          V (&next)[1]) {
    const V r = sigmoid(recurrent[0] + input[0]);
    const V z = sigmoid(recurrent[1] + input[1]);
    const V n = tanh(input[2] + r * recurrent[2]);
    activation[0] = r;
    activation[1] = z;
    activation[2] = n;
    activation[3] = recurrent[2];
    next[0] = (1 - z) * n + z * state[0];
  }

  template <class V>
  LSH_INLINE void tangent(const V (&activation)[4], const V (&state)[1], const V (&d_recurrent)[3],
                          const V (&d_input)[3], const V (&d_state)[1], V (&d_next)[1]) {
    const V r = activation[0], z = activation[1], n = activation[2], m = activation[3];
    const V d_r = r * (1 - r) * (d_recurrent[0] + d_input[0]);
    const V d_z = z * (1 - z) * (d_recurrent[1] + d_input[1]);
    const V d_n = (1 - n * n) * (d_input[2] + r * d_recurrent[2] + m * d_r);
    d_next[0] = (1 - z) * d_n + (state[0] - n) * d_z + z * d_state[0];
  }

  template <class V>
  LSH_INLINE void backward(const V (&activation)[4], const V (&state)[1], const V (&d_next)[1], V (&d_recurrent)[3],
                           V (&d_input)[3], V (&d_state)[1]) {
    const V r = activation[0], z = activation[1], n = activation[2], m = activation[3];
    d_input[2] = (1 - n * n) * (1 - z) * d_next[0];
    d_recurrent[2] = r * d_input[2];
    d_recurrent[0] = d_input[0] = r * (1 - r) * m * d_input[2];
    d_recurrent[1] = d_input[1] = z * (1 - z) * (state[0] - n) * d_next[0];
    d_state[0] = z * d_next[0];
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh
