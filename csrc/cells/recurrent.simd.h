// The recurrence over time on the CPU, written once for every cell (see cell.h, recurrence.h).
//
// Each worker owns a range of hidden units, all gates of them, for the whole sequence; the team meets once per
// micro-step.
#pragma once

#include "cells/backward.simd.h"
#include "cells/forward.simd.h"
#include "cells/tangent.simd.h"

namespace lsh {
namespace LSH_LEVEL {

template <class Cell, class T>
constexpr CellKernels<T> cell_kernels() {
  return {Forward<Cell, T>::run, Backward<Cell, T>::run, Tangent<Cell, T>::run};
}

}  // namespace LSH_LEVEL
}  // namespace lsh

// Defines the table `name` of the cell `Cell` at the SIMD level being compiled.
#define LSH_CELL_KERNELS(name, Cell)                     \
  namespace lsh {                                        \
  namespace LSH_LEVEL {                                  \
  extern const CellTable name;                           \
  const CellTable name = {Cell::kGates,                  \
                          Cell::kStates,                 \
                          Cell::kActivations,            \
                          Cell::kSeparateInput,          \
                          Cell::kProjects,               \
                          cell_kernels<Cell, float>(),   \
                          cell_kernels<Cell, double>()}; \
  }                                                      \
  }
