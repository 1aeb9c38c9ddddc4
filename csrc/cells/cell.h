// What a cell is.
//
// One recurrence serves every cell. With G gates and S state tensors per unit, D micro-steps per time step:
//
//     recurrent = R_d · state[0] + bias_hh                 the sparse part, written once in forward.simd.h
//     input     = W · x + bias_ih     (d = 0; else 0)      likewise
//     state'    = forward(recurrent, input, state)         pointwise, written per cell
//
// A cell is a struct of constants and three pointwise maps on V, a number or a vector of numbers:
//
//   static constexpr int kGates, kStates, kActivations;
//   static constexpr bool kSeparateInput;   // the maps treat `recurrent` and `input` differently (GRU);
//                                           // otherwise only their sum matters and one gradient serves both
//
//   forward (recurrent[G], input[G], state[S])            -> activation[A], next[S]
//       activations are what the derivatives are written from: all that is kept of a step besides its states
//   tangent (activation, state, d_recurrent[G], d_input[G], d_state[S]) -> d_next[S]
//       the derivative of `forward` in the given direction
//   backward(activation, state, d_next[S])                -> d_recurrent[G], d_input[G], d_state[S]
//       its transpose: <u, tangent(v)> = <backward(u), v>; d_input is written only where kSeparateInput
//
// state[0] is the output and the operand of the recurrent product.
//
// A cell may project its output, as torch.nn.LSTM does with proj_size. Then D is 1, two matrices R_0 (G * H, O) and
// R_1 (O, H) with O <= H take the place of R, and of state[0] only the first O channels exist, the others being zero:
//
//     recurrent = R_0 · state[0] + bias_hh,  state'[0] = R_1 · next[0],  every other state' = next
//
// so its maps read state[0] nowhere, and one map more says next[0] again from what is kept of a step:
//
//   static constexpr bool kProjects;
//   hidden  (activation, state) -> next[0]
//
// A cell folder holds these maps (`lstm.h`), one line
// that instantiates them for a SIMD level (`lstm.simd.cpp`), one for the ops (`lstm.cpp`) and one for a device
// (`lstm.cu`).
#pragma once

#include "common/math.h"
