// The tangent with packed panels at one SIMD level, written once for every cell (see paneled.h, cell.h).
#pragma once

#include "cells/coefficients.simd.h"
#include "cells/paneled.h"
#include "sparsity/panels.simd.h"

namespace lsh {
namespace LSH_LEVEL {

template <class Cell, class T>
struct Paneled {
  static constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations;
  static constexpr int W = kWidth<T>;

  static void run(const PaneledPass<T>& pass, const Worker& worker) {
    const PanelPlan& plan = pass.panels[0].plan;
    const Range chunks = share(worker, plan.chunks);
    const int64_t start = chunks.begin * plan.chunk_units, stop = chunks.end * plan.chunk_units;
    const Range units = {start < pass.hidden ? start : pass.hidden, stop < pass.hidden ? stop : pass.hidden};
    const int64_t numbers = S * pass.hidden * padded_lanes(pass.vector_lanes);
    for (int64_t b = 0; b < pass.batch; ++b) to_slabs(pass, b, pass.current + b * 2 * numbers, units);
    ChunkSums<T> sums;
    const int64_t H = pass.hidden, P = pass.lanes;
    for (int64_t step = 0; step < pass.micro_steps(); ++step) {
      find_coefficients<Cell>(pass.activations + step * A * H * P, pass.states + step * S * H * P, H, P, units,
                              pass.coefficients);
      wait_for_team(worker);
      for (int64_t b = 0; b < pass.batch; ++b) {
        const T* before = pass.current + (b * 2 + step % 2) * numbers;
        T* after = pass.current + (b * 2 + (step + 1) % 2) * numbers;
        for_slabs<T>(pass.vector_lanes, [&](const Slab& slab) {
          for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
            multiply_chunk(pass.panels[step % pass.depth], chunk, before, slab, sums);
            advance(pass, b, chunk, slab, sums, before, after);
          }
        });
      }
    }
    const int64_t last = pass.micro_steps() % 2;
    for (int64_t b = 0; b < pass.batch; ++b) from_slabs(pass, b, pass.current + (b * 2 + last) * numbers, units);
  }

  // Calls body(lane, place, width tag) for every vector of the slab.
  template <class Body>
  static void for_vectors(const PaneledPass<T>& pass, const Slab& slab, const Body& body) {
    const auto at = [&](int64_t lane) { return lane_place<T>(lane, pass.vector_lanes, pass.hidden); };
    for (int v = 0; v < slab.full; ++v) body.template operator()<W>(slab.first + v * W, at(slab.first + v * W));
    const int64_t lane = slab.first + slab.full * W;
    if constexpr (W > 8) {
      if (slab.tail == 8) body.template operator()<8>(lane, at(lane));
    }
    if constexpr (W > 4) {
      if (slab.tail == 4) body.template operator()<4>(lane, at(lane));
    }
  }

  // Calls body(s, lane, place, first, last, width tag) for every vector of lanes, state and few units at a time: the
  // rows of these, wide as they are, stay in the first-level cache.
  template <class Body>
  static void for_rows(const PaneledPass<T>& pass, Range units, const Body& body) {
    constexpr int64_t kFew = 16;
    for (int64_t first = units.begin; first < units.end; first += kFew) {
      const int64_t last = first + kFew < units.end ? first + kFew : units.end;
      for_slabs<T>(pass.vector_lanes, [&](const Slab& slab) {
        for_vectors(pass, slab, [&]<int N>(int64_t lane, LanePlace place) {
          for (int s = 0; s < S; ++s) body.template operator()<N>(s, lane, place, first, last);
        });
      });
    }
  }

  static void to_slabs(const PaneledPass<T>& pass, int64_t b, T* out, Range units) {
    const int64_t H = pass.hidden, K = pass.vectors, state = H * padded_lanes(pass.vector_lanes);
    for_rows(pass, units, [&]<int N>(int s, int64_t lane, LanePlace place, int64_t first, int64_t last) {
      const T* rows = pass.tangent + (b * S + s) * H * K + lane;
      T* to = out + s * state + place.offset;
      const bool whole = lane + N <= K;
      for (int64_t u = first; u < last; ++u) {
        store<T, N>(to + u * place.stride,
                    whole ? load<T, N>(rows + u * K) : load_first<T, N>(rows + u * K, int(K - lane)));
      }
    });
  }

  static void from_slabs(const PaneledPass<T>& pass, int64_t b, const T* in, Range units) {
    const int64_t H = pass.hidden, K = pass.vectors, state = H * padded_lanes(pass.vector_lanes);
    for_rows(pass, units, [&]<int N>(int s, int64_t lane, LanePlace place, int64_t first, int64_t last) {
      T* rows = pass.final_tangent + (b * S + s) * H * K + lane;
      const T* from = in + s * state + place.offset;
      const bool whole = lane + N <= K;
      for (int64_t u = first; u < last; ++u) {
        const Vector<T, N> v = load<T, N>(from + u * place.stride);
        if (whole) {
          store<T, N>(rows + u * K, v);
        } else {
          store_first<T, N>(rows + u * K, v, int(K - lane));
        }
      }
    });
  }

  // The cell's tangent in the units of a chunk, from the sums of their rows.
  static void advance(const PaneledPass<T>& pass, int64_t b, int64_t chunk, const Slab& slab, const ChunkSums<T>& sums,
                      const T* before, T* after) {
    const PanelPlan& plan = pass.panels[0].plan;
    const int64_t H = pass.hidden, state = H * padded_lanes(pass.vector_lanes);
    const int64_t first = chunk * plan.chunk_units, count = plan.units_in(chunk);
    for_vectors(pass, slab, [&]<int N>(int64_t lane, LanePlace place) __attribute__((always_inline)) {
      using V = Vector<T, N>;
      const LanePlace sum = sums.place(slab, lane - slab.first);
      for (int64_t i = 0; i < count; ++i) {
        const int64_t u = first + i;
        const T* factor = pass.coefficients + (b * H + u) * kCoefficients<Cell>;
        V given[G + S];
        LSH_UNROLL for (int g = 0; g < G; ++g) {
          given[g] = load<T, N>(sums.numbers + sum.offset + (g * count + i) * sum.stride);
        }
        LSH_UNROLL for (int s = 0; s < S; ++s) {
          given[G + s] = load<T, N>(before + s * state + place.offset + u * place.stride);
        }
        LSH_UNROLL for (int s = 0; s < S; ++s) {
          V next = factor[s * (G + S)] * given[0];
          LSH_UNROLL for (int d = 1; d < G + S; ++d) next += factor[s * (G + S) + d] * given[d];
          store<T, N>(after + s * state + place.offset + u * place.stride, next);
        }
      }
    });
  }
};

}  // namespace LSH_LEVEL
}  // namespace lsh

// Defines the table `paneled_name` of the cell `Cell` at the SIMD level being compiled.
#define LSH_PANELED_KERNELS(name, Cell)                                                                            \
  namespace lsh {                                                                                                  \
  namespace LSH_LEVEL {                                                                                            \
  extern const PaneledTable paneled_##name;                                                                        \
  const PaneledTable paneled_##name = {Cell::kGates, Cell::kStates, Cell::kActivations, Paneled<Cell, float>::run, \
                                       Paneled<Cell, double>::run};                                                \
  }                                                                                                                \
  }
