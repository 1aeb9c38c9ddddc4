// The recurrence over time on the CPU, written once for every cell (see cell.h, recurrence.h).
//
// Each worker owns a range of hidden units, all gates of them, for the whole sequence; the team meets once per
// micro-step. Bound by the loads of the sparse product (panels.simd.h); the pointwise maps run on a chunk's lanes while
// its sums are still in the first-level cache.
#pragma once

#include "cells/cell.h"
#include "cells/few.simd.h"
#include "cells/recurrence.h"
#include "sparsity/gradient.simd.h"
#include "sparsity/product.simd.h"
#include "sparsity/tiles.simd.h"

namespace lsh {
namespace LSH_LEVEL {

// Tangent vectors on the stack at once; more are done in slices of this many.
constexpr int64_t kSlice = 512;

// Calls body(lane, width tag) over `lanes`, a multiple of 4, in full vectors and then in fours.
template <class T, class Body>
LSH_INLINE void for_lanes(int64_t lanes, const Body& body) {
  constexpr int W = kWidth<T>;
  int64_t lane = 0;
  for (; lane + W <= lanes; lane += W) body.template operator()<W>(lane);
  if constexpr (W > 4) {
    for (; lane < lanes; lane += 4) body.template operator()<4>(lane);
  }
}

// N numbers from lane `lane` on, of which those at or beyond `batch` do not exist and read as zero.
template <class T, int N>
LSH_INLINE Vector<T, N> load_lanes(const T* p, int64_t lane, int64_t batch) {
  return lane + N <= batch ? load<T, N>(p + lane) : load_first<T, N>(p + lane, int(batch - lane));
}

// (H, P) lanes to (B, H) row-major for the units [begin, end), four by four.
template <class T>
static void lanes_to_rows(const T* in, int64_t batch, int64_t hidden, int64_t lanes, T* rows, Range units) {
  for (int64_t b = 0; b < batch; b += 4) {
    const int here = batch - b < 4 ? int(batch - b) : 4;
    int64_t u = units.begin;
    for (; u + 4 <= units.end; u += 4) {
      Vector<T, 4> block[4];
      for (int i = 0; i < 4; ++i) block[i] = load<T, 4>(in + (u + i) * lanes + b);
      transpose<T, 4>(block);
      for (int j = 0; j < here; ++j) store<T, 4>(rows + (b + j) * hidden + u, block[j]);
    }
    for (; u < units.end; ++u) {
      for (int j = 0; j < here; ++j) rows[(b + j) * hidden + u] = in[u * lanes + b + j];
    }
  }
}

// Adds (B, H) row-major to (H, P) lanes for the units [begin, end), four by four.
template <class T>
static void add_rows_to_lanes(const T* rows, int64_t batch, int64_t hidden, int64_t lanes, T* out, Range units) {
  for (int64_t b = 0; b < batch; b += 4) {
    const int here = batch - b < 4 ? int(batch - b) : 4;
    int64_t u = units.begin;
    for (; u + 4 <= units.end; u += 4) {
      Vector<T, 4> block[4];
      for (int j = 0; j < 4; ++j) block[j] = j < here ? load<T, 4>(rows + (b + j) * hidden + u) : Vector<T, 4>{};
      transpose<T, 4>(block);
      for (int i = 0; i < 4; ++i) {
        T* lane = out + (u + i) * lanes + b;
        store<T, 4>(lane, load<T, 4>(lane) + block[i]);
      }
    }
    for (; u < units.end; ++u) {
      for (int j = 0; j < here; ++j) out[u * lanes + b + j] += rows[(b + j) * hidden + u];
    }
  }
}

// Lanes 0 … batch - 1 of the channels `rows`, of which lane b stands at from(b), into a tile of `channels` channels and
// `tile_lanes` lanes from lane `first` on.
template <class T, class From>
static void step_to_tile(const T* step, const From& from, int64_t batch, Range rows, T* tile, int64_t channels,
                         int64_t tile_lanes, int64_t first) {
  if (batch % 4 == 0) {  // four lanes stay together wherever slabs begin
    for (int64_t b = 0; b < batch; b += 4) {
      const LanePlace in = from(b), out = lane_place<T>(first + b, tile_lanes, channels);
      for (int64_t row = rows.begin; row < rows.end; ++row) {
        store<T, 4>(tile + out.offset + row * out.stride, load<T, 4>(step + in.offset + row * in.stride));
      }
    }
    return;
  }
  for (int64_t b = 0; b < batch; ++b) {
    const LanePlace in = from(b), out = lane_place<T>(first + b, tile_lanes, channels);
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      tile[out.offset + row * out.stride] = step[in.offset + row * in.stride];
    }
  }
}

// Zeroes the lanes [begin, end) of the channels `rows` of a tile.
template <class T>
static void clear_lanes(T* tile, int64_t channels, int64_t tile_lanes, int64_t begin, int64_t end, Range rows) {
  for (int64_t lane = begin; lane < end; ++lane) {
    const LanePlace place = lane_place<T>(lane, tile_lanes, channels);
    for (int64_t row = rows.begin; row < rows.end; ++row) tile[place.offset + row * place.stride] = 0;
  }
}

// Lanes from `moving` on, where `lane` is the first of v's, become those of `kept`.
template <class T, int N>
LSH_INLINE void keep_from(Vector<T, N>& v, const Vector<T, N>& kept, int64_t lane, int64_t moving) {
  if (lane + N <= moving) return;
  for (int i = 0; i < N; ++i) {
    if (lane + i >= moving) v[i] = kept[i];
  }
}

template <class Cell, class T>
struct Recurrent {
  static constexpr int G = Cell::kGates, S = Cell::kStates, A = Cell::kActivations;

  static Range owned_units(const Layer<T>& layer, const Worker& worker) {
    return share_by_cost(worker, layer.hidden, layer.recurrent_weight[0].pattern.row_offsets, G);
  }

  static void gather_owned_rows(const SparseMatrix<T>& matrix, int64_t hidden, Range units) {
    for (int g = 0; g < G; ++g) gather_rows(matrix, g * hidden + units.begin, g * hidden + units.end);
  }

  static Range units_of(const PanelPlan& plan, Range chunks) {
    const int64_t end = chunks.end * plan.chunk_units;
    return {chunks.begin * plan.chunk_units, end < plan.units ? end : plan.units};
  }

  // Lanes that time step t computes: its moving items, to the next multiple of 4.
  static int64_t lanes_of(const Layer<T>& layer, int64_t t) { return (layer.moving(t) + 3) / 4 * 4; }

  // ---------------------------------------------------------------------------------------------------- forward

  static void forward(const ForwardPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    if (layer.recurrent_lookup) return Few<Cell, T>::forward(pass, worker);
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch;
    const PanelPlan& plan = layer.recurrent_panels[0].plan;
    const Range chunks = share_chunks(worker, plan, layer.recurrent_weight[0].pattern.row_offsets);
    const Range units = units_of(plan, chunks);

    pack_rows(layer.input_weight, layer.input_panels, chunks);
    for (int64_t d = 0; d < layer.depth; ++d) pack_rows(layer.recurrent_weight[d], layer.recurrent_panels[d], chunks);
    for (int s = 0; s < S; ++s) rows_to_lanes(pass.state + s * B * H, B, H, P, pass.states + s * H * P, units);
    load_scale(layer, units);
    clear_lanes(pass.operand, H, P, 0, P, units);
    for (int64_t lane = 0; lane < P; lane += 4) {
      const LanePlace place = lane_place<T>(lane, P, H);
      for (int64_t u = units.begin; u < units.end; ++u) {
        Vector<T, 4> state = load<T, 4>(pass.states + u * P + lane);
        if (layer.state_scale) state *= load<T, 4>(layer.scale_lanes + u * P + lane);
        store<T, 4>(pass.operand + place.offset + u * place.stride, state);
      }
    }
    prepare_tiles(layer.tiling, layer.input_size, pass.input, pass.input_tiles, worker);
    wait_for_team(worker);

    ChunkSums<T> sums;
    for (int64_t t = 0; t < layer.steps; ++t) {
      const int64_t tile = t / layer.tiling.steps_per_tile, in_tile = t % layer.tiling.steps_per_tile;
      if (in_tile == 0) project(pass, tile, chunks, sums);
      load_hold(layer, t, units);
      for (int64_t d = 0; d < layer.depth; ++d) {
        const T* projected = d == 0 ? pass.projected_tile + in_tile * G * H * P : nullptr;
        for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
          forward_chunk(pass, t * layer.depth + d, d, projected, chunk, sums);
        }
        wait_for_team(worker);
      }
      const T* next = pass.states + (t + 1) * layer.depth * S * H * P;
      T* output = pass.output + t * B * H;
      lanes_to_rows(next, layer.moving(t), H, P, output, units);
      for (int64_t b = layer.moving(t); b < B; ++b) {
        for (int64_t u = units.begin; u < units.end; ++u) output[b * H + u] = 0;
      }
    }
    const T* last = pass.states + layer.steps * layer.depth * S * H * P;
    for (int s = 0; s < S; ++s) lanes_to_rows(last + s * H * P, B, H, P, pass.final_state + s * B * H, units);
  }

  // The input's share of the gates of a tile's steps, W x + b: step by step, as the steps read them.
  static void project(const ForwardPass<T>& pass, int64_t tile, Range chunks, ChunkSums<T>& sums) {
    const Layer<T>& layer = pass.layer;
    const PanelPlan& plan = layer.input_panels.plan;
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch;
    const T* x = pass.input_tiles + tile * layer.input_size * layer.tiling.lanes;
    const int64_t used = layer.tiling.used(tile), together = B % 4 == 0 ? 4 : 1;  // lanes that one step has
    const int64_t lanes = layer.tiling.lanes_in(tile), cached = cached_lanes<T>(plan.columns);
    for (int64_t begin = 0; begin < lanes; begin += cached) {
      for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
        const int64_t first = chunk * plan.chunk_units, count = plan.units_in(chunk);
        for_slabs_between<T>(begin, begin + cached, lanes, [&](const Slab& slab) {
          multiply_chunk(layer.input_panels, chunk, x, slab, sums);
          for (int64_t at = 0; at < slab.width<T>() && slab.first + at < used; at += together) {
            const LanePlace place = sums.place(slab, at);
            const int64_t step = (slab.first + at) / B, item = (slab.first + at) % B;
            for (int g = 0; g < G; ++g) {
              const T* sum = sums.numbers + place.offset + g * count * place.stride;
              const T* bias = layer.input_bias ? layer.input_bias + g * H + first : nullptr;
              T* out = pass.projected_tile + (step * G * H + g * H + first) * P + item;
              for (int64_t i = 0; i < count; ++i, sum += place.stride, out += P) {
                if (together == 4) {
                  store<T, 4>(out, load<T, 4>(sum) + (bias ? bias[i] : T(0)));
                } else {
                  *out = *sum + (bias ? bias[i] : T(0));
                }
              }
            }
          }
        });
      }
    }
  }

  static void forward_chunk(const ForwardPass<T>& pass, int64_t step, int64_t d, const T* projected, int64_t chunk,
                            ChunkSums<T>& sums) {
    const Layer<T>& layer = pass.layer;
    const PanelPlan& plan = layer.recurrent_panels[d].plan;
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch;
    const int64_t t = step / layer.depth, moving = layer.moving(t), most = lanes_of(layer, t);
    const int64_t stored = padded_lanes(P), first = chunk * plan.chunk_units, count = plan.units_in(chunk);
    const T* state = pass.states + step * S * H * P;
    const T* start = pass.states + t * layer.depth * S * H * P;
    const T* operand = pass.operand + step % 2 * H * stored;
    T* next = pass.states + (step + 1) * S * H * P;
    T* next_operand = pass.operand + (step + 1) % 2 * H * stored;
    const bool mixes = layer.hold && d == layer.depth - 1;
    T* activation = pass.activations + step * A * H * P;
    int64_t done = 0;
    for_slabs<T>(most, [&](const Slab& used) {
      const Slab slab = slab_at<T>(used.first, P);
      multiply_chunk(layer.recurrent_panels[d], chunk, operand, slab, sums);
      const int64_t end = used.first + kSlabLanes<T>;
      done = end < P ? end : P;
      for_lanes<T>(done - slab.first, [&]<int N>(int64_t at) {
        using V = Vector<T, N>;
        const int64_t lane = slab.first + at;
        const LanePlace sum = sums.place(slab, at), to = lane_place<T>(lane, P, H);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t u = first + i;
          V recurrent[G], input[G], before[S], active[A], after[S];
          for (int g = 0; g < G; ++g) {
            const int64_t row = g * H + u;
            recurrent[g] = load<T, N>(sums.numbers + sum.offset + (g * count + i) * sum.stride);
            if (layer.recurrent_bias) recurrent[g] += layer.recurrent_bias[d * G * H + row];
            input[g] = projected ? load_lanes<T, N>(projected + row * P, lane, B) : V{};
          }
          for (int s = 0; s < S; ++s) before[s] = load<T, N>(state + (s * H + u) * P + lane);
          Cell::forward(recurrent, input, before, active, after);
          for (int a = 0; a < A; ++a) {
            if (layer.batch_sizes) keep_from<T, N>(active[a], V{}, lane, moving);
            store<T, N>(activation + (a * H + u) * P + lane, active[a]);
          }
          for (int s = 0; s < S; ++s) {
            const int64_t at_state = (s * H + u) * P + lane;
            if (mixes) {
              const V hold = load<T, N>(layer.hold_lanes + at_state);
              after[s] = hold * load<T, N>(start + at_state) + (1 - hold) * after[s];
            }
            if (layer.batch_sizes) keep_from<T, N>(after[s], before[s], lane, moving);
            store<T, N>(next + at_state, after[s]);
          }
          if (layer.state_scale) after[0] *= load<T, N>(layer.scale_lanes + u * P + lane);
          store<T, N>(next_operand + to.offset + u * to.stride, after[0]);
        }
      });
    });
    for (int64_t lane = done; lane < P; lane += 4) {  // nothing moves here
      const LanePlace place = lane_place<T>(lane, P, H);
      for (int64_t u = first; u < first + count; ++u) {
        for (int a = 0; a < A; ++a) store<T, 4>(activation + (a * H + u) * P + lane, Vector<T, 4>{});
        for (int s = 0; s < S; ++s) {
          store<T, 4>(next + (s * H + u) * P + lane, load<T, 4>(state + (s * H + u) * P + lane));
        }
        const int64_t at = place.offset + u * place.stride;
        store<T, 4>(next_operand + at, load<T, 4>(operand + at));
      }
    }
  }

  static void load_hold(const Layer<T>& layer, int64_t t, Range units) {
    if (!layer.hold) return;
    const int64_t B = layer.batch, H = layer.hidden, P = layer.lanes;
    for (int s = 0; s < S; ++s) {
      rows_to_lanes(layer.hold + (t * S + s) * B * H, B, H, P, layer.hold_lanes + s * H * P, units);
    }
  }

  static void load_scale(const Layer<T>& layer, Range units) {
    if (layer.state_scale) {
      rows_to_lanes(layer.state_scale, layer.batch, layer.hidden, layer.lanes, layer.scale_lanes, units);
    }
  }

  // --------------------------------------------------------------------------------------------------- backward

  static void backward(const BackwardPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, B = layer.batch;
    const PanelPlan& plan = layer.recurrent_panels[0].plan;
    const int64_t most_columns = H > layer.input_size ? H : layer.input_size;
    int32_t* before = pass.scratch + worker.index * (most_columns + 1 + G * H);
    int32_t* next = before + most_columns + 1;
    count_columns(layer.recurrent_weight[0].pattern, before);
    const Range chunks = share_chunks(worker, plan, before);
    const Range units = units_of(plan, chunks);
    for (int64_t d = 0; d < layer.depth; ++d) gather_owned_rows(layer.recurrent_weight[d], H, units);
    wait_for_team(worker);
    for (int64_t d = 0; d < layer.depth; ++d) {
      if (d > 0) count_columns(layer.recurrent_weight[d].pattern, before);
      pack_columns(layer.recurrent_weight[d], layer.recurrent_panels[d], before, next, chunks);
    }
    for (int s = 0; s < S; ++s) {
      T* carry = pass.carry + s * H * P;
      if (pass.grad_final) {
        rows_to_lanes(pass.grad_final + s * B * H, B, H, P, carry, units);
      } else {
        for (int64_t i = units.begin * P; i < units.end * P; ++i) carry[i] = 0;
      }
    }
    load_scale(layer, units);
    prepare_tiles(layer.tiling, layer.input_size, pass.input, pass.input_tiles, worker);
    clear_tile_ends(pass, units);
    add_grad_output(pass, layer.steps - 1, units);

    ChunkSums<T> sums;
    for (int64_t step = layer.steps * layer.depth - 1; step >= 0; --step) {
      const int64_t t = step / layer.depth, d = step % layer.depth;
      T* gates = pass.step_gates + (step % 2) * G * H * padded_lanes(P);
      if (d == layer.depth - 1) load_hold(layer, t, units);
      backward_units(pass, step, gates, units);
      wait_for_team(worker);
      for (int64_t chunk = chunks.begin; chunk < chunks.end; ++chunk) {
        carry_chunk(pass, gates, layer.recurrent_panels[d], chunk, lanes_of(layer, t), sums);
      }
      if (d == 0 && t > 0) add_grad_output(pass, t - 1, units);
    }
    for (int s = 0; s < S; ++s) {
      lanes_to_rows(pass.carry + s * H * P, B, H, P, pass.grad_state + s * B * H, units);
    }
    wait_for_team(worker);

    bias_gradients(pass, units);
    weight_gradient(pass, layer.input_weight, pass.input_sampled, pass.input_gate_tiles, pass.input_tiles,
                    pass.grad_input_weight, units);
    for (int64_t d = 0; d < layer.depth; ++d) {
      const int64_t all_lanes = layer.tiling.tiles * layer.tiling.lanes;
      weight_gradient(pass, layer.recurrent_weight[d], pass.recurrent_sampled, pass.gate_tiles + d * all_lanes * G * H,
                      pass.state_tiles + d * all_lanes * H, pass.grad_recurrent_weight[d], units);
    }
    if (pass.grad_input) {
      gather_owned_rows(layer.input_weight, H, units);  // over what was the room of its gradient
      wait_for_team(worker);
      count_columns(layer.input_weight.pattern, before);
      const Range columns = share_chunks(worker, layer.input_panels.plan, before);
      pack_columns(layer.input_weight, layer.input_panels, before, next, columns);
      multiply_tiles<T>(layer.input_panels, columns, layer.tiling, pass.input_gate_tiles, nullptr, pass.grad_input);
    }
  }

  // The gradient of the state through the recurrent product: carry[0] += scale * Rᵀ gates.
  static void carry_chunk(const BackwardPass<T>& pass, const T* gates, const PanelMatrix<T>& matrix, int64_t chunk,
                          int64_t most, ChunkSums<T>& sums) {
    const Layer<T>& layer = pass.layer;
    const int64_t P = layer.lanes, first = chunk * matrix.plan.chunk_units, count = matrix.plan.units_in(chunk);
    for_slabs<T>(most, [&](const Slab& used) {
      const Slab slab = slab_at<T>(used.first, P);
      multiply_chunk(matrix, chunk, gates, slab, sums);
      const int64_t left = P - slab.first;
      for_lanes<T>(left < kSlabLanes<T> ? left : kSlabLanes<T>, [&]<int N>(int64_t at) {
        const LanePlace sum = sums.place(slab, at);
        for (int64_t i = 0; i < count; ++i) {
          const int64_t to = (first + i) * P + slab.first + at;
          Vector<T, N> v = load<T, N>(sums.numbers + sum.offset + i * sum.stride);
          if (layer.state_scale) v *= load<T, N>(layer.scale_lanes + to);
          store<T, N>(pass.carry + to, load<T, N>(pass.carry + to) + v);
        }
      });
    });
  }

  // What the weight gradients multiply lies in tiles; the lanes that no step fills are zero.
  static void clear_tile_ends(const BackwardPass<T>& pass, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, L = layer.tiling.lanes;
    for (int64_t tile = 0; tile < layer.tiling.tiles; ++tile) {
      const int64_t used = layer.tiling.used(tile), lanes = layer.tiling.lanes_in(tile);
      for (int64_t d = 0; d < layer.depth; ++d) {
        const int64_t at = d * layer.tiling.tiles + tile;
        clear_lanes(pass.state_tiles + at * H * L, H, lanes, used, lanes, units);
        for (int g = 0; g < G; ++g) {
          const Range rows{g * H + units.begin, g * H + units.end};
          clear_lanes(pass.gate_tiles + at * G * H * L, G * H, lanes, used, lanes, rows);
          if (Cell::kSeparateInput && d == 0) {
            clear_lanes(pass.input_gate_tiles + tile * G * H * L, G * H, lanes, used, lanes, rows);
          }
        }
      }
    }
  }

  static void add_grad_output(const BackwardPass<T>& pass, int64_t t, Range units) {
    if (!pass.grad_output) return;
    const int64_t H = pass.layer.hidden, P = pass.layer.lanes;
    add_rows_to_lanes(pass.grad_output + t * pass.layer.batch * H, pass.layer.moving(t), H, P, pass.carry, units);
  }

  // The pointwise part of a micro-step, and its gates and operand into the tiles.
  static void backward_units(const BackwardPass<T>& pass, int64_t step, T* gates, Range units) {
    constexpr int64_t kBlock = 32;  // units whose numbers stay in the first-level cache
    for (int64_t u = units.begin; u < units.end; u += kBlock) {
      backward_block(pass, step, gates, {u, u + kBlock < units.end ? u + kBlock : units.end});
    }
  }

  static void backward_block(const BackwardPass<T>& pass, int64_t step, T* gates, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, L = layer.tiling.lanes, B = layer.batch;
    const int64_t t = step / layer.depth, d = step % layer.depth;
    const int64_t tile = t / layer.tiling.steps_per_tile, lanes = layer.tiling.lanes_in(tile);
    const int64_t first_lane = t % layer.tiling.steps_per_tile * B, moving = layer.moving(t);
    const bool mixes = layer.hold && d == layer.depth - 1, begins = layer.hold && d == 0;
    const T* activation = pass.activations + step * A * H * P;
    const T* state = pass.states + step * S * H * P;
    // Where the input's gradients are others than the recurrent ones, they go straight to their tile.
    T* gate_tile = pass.gate_tiles + (d * layer.tiling.tiles + tile) * G * H * L;
    T* input_gate_tile = pass.input_gate_tiles + tile * G * H * L;
    T* state_tile = pass.state_tiles + (d * layer.tiling.tiles + tile) * H * L;
    for_lanes<T>(P, [&]<int N>(int64_t lane) {
      using V = Vector<T, N>;
      const LanePlace to = lane_place<T>(lane, P, G * H);
      for (int64_t u = units.begin; u < units.end; ++u) {
        V active[A], before[S], grad_next[S], kept[S], recurrent[G], input[G]{}, grad_before[S];
        for (int a = 0; a < A; ++a) active[a] = load<T, N>(activation + (a * H + u) * P + lane);
        for (int s = 0; s < S; ++s) {
          before[s] = load<T, N>(state + (s * H + u) * P + lane);
          kept[s] = grad_next[s] = load<T, N>(pass.carry + (s * H + u) * P + lane);
          if (mixes) {
            const V hold = load<T, N>(layer.hold_lanes + (s * H + u) * P + lane);
            V held = hold * grad_next[s];
            if (layer.batch_sizes) keep_from<T, N>(held, V{}, lane, moving);
            store<T, N>(pass.held + (s * H + u) * P + lane, held);
            grad_next[s] *= 1 - hold;
          }
        }
        Cell::backward(active, before, grad_next, recurrent, input, grad_before);
        for (int s = 0; s < S; ++s) {
          if (begins) grad_before[s] += load<T, N>(pass.held + (s * H + u) * P + lane);
          if (layer.batch_sizes) keep_from<T, N>(grad_before[s], kept[s], lane, moving);
          store<T, N>(pass.carry + (s * H + u) * P + lane, grad_before[s]);
        }
        for (int g = 0; g < G; ++g) {
          const int64_t row = g * H + u;
          if (layer.batch_sizes) {
            keep_from<T, N>(recurrent[g], V{}, lane, moving);
            keep_from<T, N>(input[g], V{}, lane, moving);
          }
          store<T, N>(gates + to.offset + row * to.stride, recurrent[g]);
          if (Cell::kSeparateInput && d == 0) {
            for (int i = 0; i < N && lane + i < B; ++i) {
              const LanePlace out = lane_place<T>(first_lane + lane + i, lanes, G * H);
              input_gate_tile[out.offset + row * out.stride] = input[g][i];
            }
          }
        }
      }
    });
    for (int g = 0; g < G; ++g) {
      const auto from = [&](int64_t lane) { return lane_place<T>(lane, P, G * H); };
      step_to_tile(gates, from, B, {g * H + units.begin, g * H + units.end}, gate_tile, G * H, lanes, first_lane);
    }
    const auto from = [&](int64_t lane) { return LanePlace{lane, P}; };
    step_to_tile(state, from, B, units, state_tile, H, lanes, first_lane);
    for (int64_t b = 0; layer.state_scale && b < B; ++b) {
      const LanePlace place = lane_place<T>(first_lane + b, lanes, H);
      for (int64_t u = units.begin; u < units.end; ++u) {
        state_tile[place.offset + u * place.stride] *= layer.scale_lanes[u * P + b];
      }
    }
  }

  static void bias_gradients(const BackwardPass<T>& pass, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, L = layer.tiling.lanes;
    const auto sum = [&](const T* tiles, T* out) {
      for (int g = 0; g < G; ++g) {
        const Range rows{g * H + units.begin, g * H + units.end};
        for (int64_t row = rows.begin; row < rows.end; ++row) out[row] = 0;
        for (int64_t tile = 0; tile < layer.tiling.tiles; ++tile) {
          add_row_sums(tiles + tile * G * H * L, G * H, layer.tiling.lanes_in(tile), out, rows);
        }
      }
    };
    if (pass.grad_input_bias) sum(pass.input_gate_tiles, pass.grad_input_bias);
    if (pass.grad_recurrent_bias) {
      for (int64_t d = 0; d < layer.depth; ++d) {
        sum(pass.gate_tiles + d * layer.tiling.tiles * G * H * L, pass.grad_recurrent_bias + d * G * H);
      }
    }
  }

  static void weight_gradient(const BackwardPass<T>& pass, const SparseMatrix<T>& matrix, const SampledPanels& sampled,
                              const T* gate_tiles, const T* operand, T* grad, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, L = layer.tiling.lanes;
    const WeightGradient<T> gradient{&matrix, grad, pass.dense_gradient, sampled};
    for (int g = 0; g < G; ++g) gradient.start(g * H + units.begin, g * H + units.end);
    for (int64_t tile = 0; tile < layer.tiling.tiles; ++tile) {
      const T* gates = gate_tiles + tile * G * H * L;
      const T* x = operand + tile * matrix.pattern.columns * L;
      for (int g = 0; g < G; ++g) {
        gradient.add_tile(gates, x, layer.tiling.lanes_in(tile), g * H + units.begin, g * H + units.end);
      }
    }
    for (int g = 0; g < G; ++g) gradient.finish(g * H + units.begin, g * H + units.end);
  }

  // ---------------------------------------------------------------------------------------------------- tangent

  static void tangent(const TangentPass<T>& pass, const Worker& worker) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, B = layer.batch, K = pass.vectors, Q = pass.vector_lanes;
    const Range units = owned_units(layer, worker);
    if (pass.input_tangent) gather_owned_rows(layer.input_weight, H, units);
    for (int64_t d = 0; d < layer.depth; ++d) gather_owned_rows(layer.recurrent_weight[d], H, units);
    for (int64_t b = 0; b < B; ++b) {
      for (int s = 0; s < S; ++s) {
        copy_rows(pass.tangent + (b * S + s) * H * K, K, pass.current + ((b * 2) * S + s) * H * Q, Q, units);
      }
      if (layer.state_scale) {
        for (int64_t u = units.begin; u < units.end; ++u) {
          const T scale = layer.state_scale[b * H + u];
          for (int64_t k = 0; k < Q; ++k) {
            pass.operand[(b * 2 * H + u) * Q + k] = scale * pass.current[(b * 2 * S * H + u) * Q + k];
          }
        }
      }
    }
    for (int64_t t = 0; t < layer.steps; ++t) {
      if (pass.input_tangent) {
        wait_for_team(worker);  // the last step's input is no longer read
        const Range inputs = share(worker, layer.input_size);
        for (int64_t b = 0; b < B; ++b) {
          copy_rows(pass.input_tangent + (t * B + b) * layer.input_size * K, K,
                    pass.input_lanes + b * layer.input_size * Q, Q, inputs);
        }
      }
      for (int64_t d = 0; d < layer.depth; ++d) {
        const int64_t step = t * layer.depth + d;
        wait_for_team(worker);
        for (int64_t b = 0; b < B; ++b) tangent_units(pass, step, d, b, units);
      }
      if (pass.output_tangent) {
        for (int64_t b = 0; b < B; ++b) {
          const T* now = pass.current + (b * 2 + (t + 1) * layer.depth % 2) * S * H * Q;
          T* output = pass.output_tangent + (t * B + b) * H * K;
          copy_rows(now, b < layer.moving(t) ? Q : 0, output, K, units);
        }
      }
    }
    for (int64_t b = 0; b < B; ++b) {
      const T* now = pass.current + (b * 2 + layer.steps * layer.depth % 2) * S * H * Q;
      for (int s = 0; s < S; ++s) {
        copy_rows(now + s * H * Q, Q, pass.final_tangent + (b * S + s) * H * K, K, units);
      }
    }
  }

  // Rows of `from` numbers into rows of `to` numbers: cut, or filled up with zeros.
  static void copy_rows(const T* source, int64_t from, T* out, int64_t to, Range rows) {
    const int64_t both = from < to ? from : to;
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      for (int64_t k = 0; k < both; ++k) out[row * to + k] = source[row * from + k];
      for (int64_t k = both; k < to; ++k) out[row * to + k] = 0;
    }
  }

  static void tangent_units(const TangentPass<T>& pass, int64_t step, int64_t d, int64_t b, Range units) {
    const Layer<T>& layer = pass.layer;
    const int64_t H = layer.hidden, P = layer.lanes, Q = pass.vector_lanes;
    const T* activation = pass.activations + step * A * H * P;
    const T* state = pass.states + step * S * H * P;
    const int64_t t = step / layer.depth;
    const T* before = pass.current + (b * 2 + step % 2) * S * H * Q;
    const T* operand = pass.operand ? pass.operand + (b * 2 + step % 2) * H * Q : before;
    T* after = pass.current + (b * 2 + (step + 1) % 2) * S * H * Q;
    T* next_operand = pass.operand ? pass.operand + (b * 2 + (step + 1) % 2) * H * Q : nullptr;
    T* start = pass.start ? pass.start + b * S * H * Q : nullptr;
    if (b >= layer.moving(t)) {
      for (int s = 0; s < S; ++s) copy_rows(before + s * H * Q, Q, after + s * H * Q, Q, units);
      if (next_operand) copy_rows(operand, Q, next_operand, Q, units);
      return;
    }
    const T* x = d == 0 && pass.input_tangent ? pass.input_lanes + b * layer.input_size * Q : nullptr;
    alignas(64) T recurrent_sums[G][kSlice];
    alignas(64) T input_sums[G][kSlice];
    for (int64_t u = units.begin; u < units.end; ++u) {
      for (int64_t slice = 0; slice < Q; slice += kSlice) {
        const int64_t width = Q - slice < kSlice ? Q - slice : kSlice;
        for (int g = 0; g < G; ++g) {
          multiply<T>(layer.recurrent_weight[d], g * H + u, operand + slice, Q, width, recurrent_sums[g]);
          if (x) multiply<T>(layer.input_weight, g * H + u, x + slice, Q, width, input_sums[g]);
        }
        for_lanes<T>(width, [&]<int N>(int64_t at) {
          using V = Vector<T, N>;
          V active[A], was[S], recurrent[G], input[G], d_before[S], d_after[S];
          for (int a = 0; a < A; ++a) active[a] = splat<T, N>(activation[(a * H + u) * P + b]);
          for (int s = 0; s < S; ++s) {
            was[s] = splat<T, N>(state[(s * H + u) * P + b]);
            d_before[s] = load<T, N>(before + (s * H + u) * Q + slice + at);
          }
          for (int g = 0; g < G; ++g) {
            recurrent[g] = load<T, N>(recurrent_sums[g] + at);
            input[g] = x ? load<T, N>(input_sums[g] + at) : V{};
          }
          Cell::tangent(active, was, recurrent, input, d_before, d_after);
          for (int s = 0; s < S; ++s) {
            const int64_t at_state = (s * H + u) * Q + slice + at;
            if (start && d == 0) store<T, N>(start + at_state, d_before[s]);
            if (start && d == layer.depth - 1) {
              const T hold = layer.hold[((t * S + s) * layer.batch + b) * H + u];
              d_after[s] = hold * load<T, N>(start + at_state) + (1 - hold) * d_after[s];
            }
            store<T, N>(after + at_state, d_after[s]);
          }
          if (next_operand) {
            store<T, N>(next_operand + u * Q + slice + at, layer.state_scale[b * H + u] * d_after[0]);
          }
        });
      }
    }
  }

  static constexpr CellKernels<T> kernels() { return {forward, backward, tangent}; }
};

}  // namespace LSH_LEVEL
}  // namespace lsh

// Defines the table `name` of the cell `Cell` at the SIMD level being compiled.
#define LSH_CELL_KERNELS(name, Cell)                           \
  namespace lsh {                                              \
  namespace LSH_LEVEL {                                        \
  extern const CellTable name;                                 \
  const CellTable name = {Cell::kGates,                        \
                          Cell::kStates,                       \
                          Cell::kActivations,                  \
                          Cell::kSeparateInput,                \
                          Recurrent<Cell, float>::kernels(),   \
                          Recurrent<Cell, double>::kernels()}; \
  }                                                            \
  }
