// Steps of a trajectory that nothing bends and whose input stands still, and tangent vectors to go through them, as
// plain pointers. Shapes as in cells/recurrence.h.
#pragma once

#include <cstdint>

namespace lsh {

template <class T>
struct TangentWindow {
  int64_t steps, batch, hidden, vectors, lanes, depth;
  const T* tangent;      // (B, S, H, K)
  const T* activations;  // (T * D, A, H, P)
  const T* states;       // (T * D + 1, S, H, P)
  T* final_tangent;      // (B, S, H, K)
  T* coefficients;       // workspace (P, H, S * (G + S))

  int64_t micro_steps() const { return steps * depth; }
};

}  // namespace lsh
