// A cell's tangent as numbers: what it makes of each gate and of each state of a unit.
#pragma once

#include "cells/cell.h"
#include "common/parallel.h"
#include "common/vector.h"

namespace lsh {
namespace LSH_LEVEL {

// With L (S, G) and D (S, S) of a unit at one step
//
//   d_next[s] = Σ_g L[s][g] d_recurrent[g] + Σ_r D[s][r] d_state[r]
//
// [L[s] D[s]] for each s in turn stand in S (G + S) numbers a unit, for units of one lane side by side.
template <class Cell>
constexpr int kCoefficients = Cell::kStates * (Cell::kGates + Cell::kStates);

// Finds them for some units and all P lanes: the tangent of the cell in each of its directions.
//   activation (A, H, P), state (S, H, P)  ->  out (P, H, kCoefficients)
template <class Cell, class T>
static void find_coefficients(const T* activation, const T* state, int64_t H, int64_t P, Range units, T* out) {
  constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations, N = 4;
  using V = Vector<T, N>;
  for (int64_t u = units.begin; u < units.end; ++u) {
    for (int64_t lane = 0; lane < P; lane += N) {
      V active[A], was[S];
      for (int a = 0; a < A; ++a) active[a] = load<T, N>(activation + (a * H + u) * P + lane);
      for (int s = 0; s < S; ++s) was[s] = load<T, N>(state + (s * H + u) * P + lane);
      for (int direction = 0; direction < G + S; ++direction) {
        V recurrent[G] = {}, input[G] = {}, d_state[S] = {}, d_next[S];
        if (direction < G) {
          recurrent[direction] += 1;
        } else {
          d_state[direction - G] += 1;
        }
        Cell::tangent(active, was, recurrent, input, d_state, d_next);
        for (int s = 0; s < S; ++s) {
          for (int i = 0; i < N; ++i) {
            out[((lane + i) * H + u) * kCoefficients<Cell> + s * (G + S) + direction] = d_next[s][i];
          }
        }
      }
    }
  }
}

}  // namespace LSH_LEVEL
}  // namespace lsh
