// Long short-term memory with torch.nn.LSTM's gate order i, f, g, o; states h, c.
//
//   i = sigmoid(a_i)   f = sigmoid(a_f)   g = tanh(a_g)   o = sigmoid(a_o)     a = W x + R h + b
//   c' = f c + i g     h' = o tanh(c')
//
// Projected, a = W x + R_0 h + b and h' = R_1 (o tanh(c')).
//
// Source: Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000 and the projection of Sak et al.
// 2014.
#pragma once

#include "cells/cell.h"

namespace lsh {
namespace LSH_LEVEL {

struct Lstm {
  static constexpr int kGates = 4, kStates = 2, kActivations = 4;
  static constexpr bool kSeparateInput = false;
  static constexpr bool kProjects = false;

  template <class V>
  LSH_INLINE void forward(const V (&recurrent)[4], const V (&input)[4], const V (&state)[2], V (&activation)[4],
                          V (&next)[2]) {
    const V i = sigmoid(recurrent[0] + input[0]);
    const V f = sigmoid(recurrent[1] + input[1]);
    const V g = tanh(recurrent[2] + input[2]);
    const V o = sigmoid(recurrent[3] + input[3]);
    const V c = f * state[1] + i * g;
    activation[0] = i;
    activation[1] = f;
    activation[2] = g;
    activation[3] = o;
    next[0] = o * tanh(c);
    next[1] = c;
  }

  template <class V>
  LSH_INLINE void tangent(const V (&activation)[4], const V (&state)[2], const V (&d_recurrent)[4],
                          const V (&d_input)[4], const V (&d_state)[2], V (&d_next)[2]) {
    const V i = activation[0], f = activation[1], g = activation[2], o = activation[3];
    const V tanh_c = tanh(f * state[1] + i * g);
    const V d_i = i * (1 - i) * (d_recurrent[0] + d_input[0]);
    const V d_f = f * (1 - f) * (d_recurrent[1] + d_input[1]);
    const V d_g = (1 - g * g) * (d_recurrent[2] + d_input[2]);
    const V d_o = o * (1 - o) * (d_recurrent[3] + d_input[3]);
    const V d_c = f * d_state[1] + state[1] * d_f + g * d_i + i * d_g;
    d_next[0] = tanh_c * d_o + o * (1 - tanh_c * tanh_c) * d_c;
    d_next[1] = d_c;
  }

  template <class V>
  LSH_INLINE void backward(const V (&activation)[4], const V (&state)[2], const V (&d_next)[2], V (&d_recurrent)[4],
                           V (&)[4], V (&d_state)[2]) {
    const V i = activation[0], f = activation[1], g = activation[2], o = activation[3];
    const V tanh_c = tanh(f * state[1] + i * g);
    const V d_c = d_next[1] + d_next[0] * o * (1 - tanh_c * tanh_c);
    d_recurrent[0] = i * (1 - i) * g * d_c;
    d_recurrent[1] = f * (1 - f) * state[1] * d_c;
    d_recurrent[2] = (1 - g * g) * i * d_c;
    d_recurrent[3] = o * (1 - o) * tanh_c * d_next[0];
    d_state[0] = V{};
    d_state[1] = f * d_c;
  }
};

struct ProjectedLstm : Lstm {
  static constexpr bool kProjects = true;

  template <class V>
  LSH_INLINE V hidden(const V (&activation)[4], const V (&state)[2]) {
    return activation[3] * tanh(activation[1] * state[1] + activation[0] * activation[2]);
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh
