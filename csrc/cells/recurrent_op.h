// The ops of a recurrent layer, for any cell and any device: checks, allocation, and the call of the kernels.
//
//   forward   (input, state, layer)                                 -> (output, final_state, activations, states)
//   backward  (grad_output, grad_final, input, trajectory, layer)   -> gradients of everything forward took
//   tangent   (tangent, input_tangent, trajectory, layer)           -> (output_tangent, final_tangent): J · Q, J not
//   formed
//
// A Backend says how a pattern is viewed and how a pass is run: by a team of workers at a SIMD level
// (recurrent_cpu.h) or by kernels on the current stream of a device (recurrent_cuda.h).
#pragma once

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <type_traits>
#include <vector>

#include "cells/recurrence.h"
#include "sparsity/lane_tiles.h"
#include "sparsity/prepare_lookup.h"

namespace lsh {

// Sizes common to all passes over one layer.
struct LayerSizes {
  int64_t steps, batch, input_size, hidden, depth, lanes;
  int64_t outputs;  // O: the channels of state[0]
};

// The tensors of a layer, as every op is given them (recurrence.h has their shapes). Where the cell projects, the lists
// hold R_0 and R_1; otherwise one matrix a micro-step.
struct LayerTensors {
  OptionalTensor weight_ih;
  Tensors weight_hh;
  OptionalTensor pattern_ih;
  Tensors pattern_hh;
  OptionalTensor bias_ih, bias_hh;
  OptionalTensor batch_sizes, hold, state_scale;
};

template <class Backend, class Table>
struct RecurrentOp {
  // What a layer owns while a pass runs: its matrices and their workspaces.
  template <class T>
  struct Prepared {
    Layer<T> layer;
    std::vector<SparseMatrix<T>> recurrent;
    std::vector<PanelMatrix<T>> panels;
    std::vector<LookupMatrix<T>> lookups;
    Workspace workspace;
  };

  // The numbers of an operand that may be absent; throws unless it fits.
  template <class T>
  static const T* optional_operand(const OptionalTensor& tensor, std::initializer_list<int64_t> shape,
                                   const Tensor& reference, const char* name, const char* reference_name = "input") {
    if (!tensor) return nullptr;
    check_shape(*tensor, shape, name);
    return static_cast<const T*>(check_operand(*tensor, reference, name, reference_name).const_data_ptr());
  }

  template <class T>
  static Prepared<T> prepare(const Table& cell, const LayerSizes& n, const Tensor& reference,
                             const LayerTensors& tensors, Bytes bytes = Bytes::refused) {
    Prepared<T> prepared{.workspace = Workspace(reference)};
    Workspace& workspace = prepared.workspace;
    Layer<T>& layer = prepared.layer;
    layer.steps = n.steps;
    layer.batch = n.batch;
    layer.input_size = n.input_size;
    layer.hidden = n.hidden;
    layer.lanes = n.lanes;
    layer.depth = n.depth;
    layer.tiling = lane_tiles(n.steps, n.batch);
    layer.outputs = n.outputs;
    const int64_t rows = cell.gates * n.hidden;
    if (tensors.weight_ih) {
      layer.input_weight = prepare_matrix<T, Backend>(*tensors.weight_ih, *tensors.pattern_ih, rows, n.input_size,
                                                      reference, "weight_ih", "pattern_ih", workspace, bytes);
    }
    for (int64_t d = 0; d < n.depth; ++d) {
      prepared.recurrent.push_back(prepare_matrix<T, Backend>(tensors.weight_hh[d], tensors.pattern_hh[d], rows,
                                                              n.outputs, reference, "weight_hh", "pattern_hh",
                                                              workspace, bytes));
    }
    if (cell.projects) {
      layer.projection.weight =
          prepare_matrix<T, Backend>(tensors.weight_hh[1], tensors.pattern_hh[1], n.outputs, n.hidden, reference,
                                     "weight_hh", "pattern_hh", workspace, bytes);
    }
    layer.recurrent_weight = prepared.recurrent.data();
    layer.input_bias = optional_operand<T>(tensors.bias_ih, {rows}, reference, "bias_ih");
    layer.recurrent_bias = optional_operand<T>(tensors.bias_hh, {n.depth, rows}, reference, "bias_hh");
    layer.batch_sizes = checked_batch_sizes(n, tensors.batch_sizes);
    layer.hold = optional_operand<T>(tensors.hold, {n.steps, cell.states, n.batch, n.hidden}, reference, "hold");
    layer.state_scale = optional_operand<T>(tensors.state_scale, {n.batch, n.hidden}, reference, "state_scale");
    if (layer.hold) layer.hold_lanes = workspace.room<T>({cell.states, n.hidden, n.lanes});
    if (layer.state_scale) layer.scale_lanes = workspace.room<T>({n.hidden, n.lanes});
    return prepared;
  }

  template <class T>
  static T* input_tiles(const LayerSizes& n, const Layer<T>& layer, Workspace& workspace) {
    return workspace.room<T>({layer.tiling.tiles, n.input_size, layer.tiling.lanes});
  }

  // Room for the matrices as the CPU's products read them.
  template <class T>
  static void prepare_panels(const Table& cell, const LayerSizes& n, Prepared<T>& prepared, Layer<T>& layer,
                             bool by_columns, bool with_input) {
    if constexpr (Backend::kReadsPatterns) {
      Workspace& workspace = prepared.workspace;
      const auto panels = [&](const SparseMatrix<T>& matrix, int64_t lanes) {
        return by_columns ? panels_by_columns(matrix, lanes, workspace)
                          : panels_by_rows(matrix, cell.gates, lanes, workspace);
      };
      if (with_input) layer.input_panels = panels(layer.input_weight, layer.tiling.lanes);
      for (int64_t d = 0; d < n.depth; ++d) prepared.panels.push_back(panels(layer.recurrent_weight[d], n.lanes));
      layer.recurrent_panels = prepared.panels.data();
      if (cell.projects) {
        const SparseMatrix<T>& weight = layer.projection.weight;
        layer.projection.panels =
            by_columns ? panels_by_columns(weight, n.lanes, workspace) : panels_by_rows(weight, 1, n.lanes, workspace);
      }
    }
  }

  // Room for a forward pass of a few items on the CPU.
  template <class T>
  static void prepare_few(const Table& cell, const LayerSizes& n, Prepared<T>& prepared, ForwardPass<T>& pass) {
    if constexpr (Backend::kReadsPatterns) {
      Layer<T>& layer = pass.layer;
      Workspace& workspace = prepared.workspace;
      for (int64_t d = 0; d < n.depth; ++d) {
        prepared.lookups.push_back(prepare_lookup<T>(prepared.recurrent[d], cell.gates, workspace));
      }
      layer.recurrent_lookup = prepared.lookups.data();
      const bool few_inputs = n.steps * n.batch <= kFewItems;
      if (few_inputs) {
        pass.input_lookup = prepare_lookup<T>(layer.input_weight, cell.gates, workspace);
        pass.input_tiles = workspace.room<T>({n.steps * n.batch, pass.input_lookup.plan.stored_columns()});
      } else {
        layer.input_panels = panels_by_rows(layer.input_weight, 1, layer.tiling.lanes, workspace);
        pass.input_tiles = input_tiles<T>(n, layer, workspace);
      }
      const int64_t stored = prepared.lookups[0].plan.stored_columns(), slack = prepared.lookups[0].plan.width;
      pass.state_stride = stored;
      if (cell.projects) {
        Projection<T>& projection = layer.projection;
        projection.lookup = prepare_lookup<T>(projection.weight, 1, workspace);
        pass.state_stride = projection.lookup.plan.stored_columns();
        projection.hidden = workspace.room<T>({n.batch, pass.state_stride});
      }
      pass.projected_steps = few_inputs ? n.steps : layer.tiling.steps_per_tile;
      pass.projected = workspace.room<T>({pass.projected_steps * n.batch * cell.gates * n.hidden + slack});
      pass.few_operands = workspace.room<T>({2, n.batch, stored});
      pass.few_states = workspace.room<T>({2, cell.states, n.batch, pass.state_stride});
    }
  }

  // Sizes from the tensors that every pass has; throws where they contradict each other.
  static LayerSizes sizes(const Table& cell, int64_t steps, int64_t batch, int64_t hidden, int64_t input_size,
                          const LayerTensors& tensors) {
    const size_t matrices = tensors.weight_hh.size();
    STD_TORCH_CHECK(matrices > 0 && matrices == tensors.pattern_hh.size(),
                    "weight_hh and pattern_hh must be lists of one length, at least 1, got ", matrices, " and ",
                    tensors.pattern_hh.size());
    STD_TORCH_CHECK(!cell.projects || matrices == 2, "weight_hh must hold a recurrent weight and a projection, got ",
                    matrices, " matrices");
    STD_TORCH_CHECK(steps >= 1, "input must have at least one time step");
    STD_TORCH_CHECK(hidden >= 1, "state must have at least one unit");
    STD_TORCH_CHECK(hidden < (int64_t(1) << 31) / cell.gates, "hidden size must be below 2**31 / gates, got ", hidden);
    const int64_t depth = cell.projects ? 1 : int64_t(matrices);
    const int64_t outputs = cell.projects ? projected_size(hidden, tensors) : hidden;
    return {steps, batch, input_size, hidden, depth, round_to_four(batch), outputs};
  }

  // The rows of a projection, which a packed weight does not tell; its bytes go with a pattern that does.
  static int64_t projected_size(int64_t hidden, const LayerTensors& tensors) {
    const Tensor &weight = tensors.weight_hh[1], &pattern = tensors.pattern_hh[1];
    int64_t outputs = weight.dim() == 2 ? weight.size(0) : 0;
    if constexpr (Backend::kReadsPatterns) {
      if (weight.scalar_type() == ScalarType::Byte && pattern.is_cpu() && pattern.dim() == 1 &&
          pattern.scalar_type() == ScalarType::Int && pattern.is_contiguous() && pattern.size(0) >= kPatternHeader) {
        outputs = pattern.const_data_ptr<int32_t>()[kRows];
      }
    }
    STD_TORCH_CHECK(outputs >= 1 && outputs <= hidden,
                    "weight_hh must end with a dense projection of at least 1 and at most ", hidden, " rows, got ",
                    outputs);
    return outputs;
  }

  // Batch sizes live on the CPU for every device, as those of a PackedSequence do: launches are cut to them.
  static const int64_t* checked_batch_sizes(const LayerSizes& n, const OptionalTensor& batch_sizes) {
    if (!batch_sizes) return nullptr;
    check_shape(*batch_sizes, {n.steps}, "batch_sizes");
    STD_TORCH_CHECK(batch_sizes->scalar_type() == ScalarType::Long && batch_sizes->is_cpu(),
                    "batch_sizes must be int64 on the CPU, got ", dtype_name(batch_sizes->scalar_type()),
                    batch_sizes->is_cpu() ? "" : " on another device");
    STD_TORCH_CHECK(batch_sizes->is_contiguous(), "batch_sizes must be contiguous");
    const int64_t* sizes = batch_sizes->const_data_ptr<int64_t>();
    for (int64_t t = 0; t < n.steps; ++t) {
      STD_TORCH_CHECK(sizes[t] >= 0 && sizes[t] <= n.batch, "batch_sizes must be in [0, ", n.batch, "], got ",
                      sizes[t]);
    }
    return sizes;
  }

  // ---------------------------------------------------------------------------------------------------- forward

  template <class T>
  static std::tuple<Tensor, Tensor, Tensor, Tensor> forward(const Table& cell, const Tensor& input, const Tensor& state,
                                                            const LayerTensors& tensors, bool trajectory) {
    const LayerSizes n = sizes(cell, input.size(0), input.size(1), state.size(2), input.size(2), tensors);
    const int64_t rows = cell.gates * n.hidden;
    check_shape(state, {cell.states, n.batch, n.hidden}, "state");
    check_operand(state, input, "state", "input");
    Prepared<T> prepared = prepare<T>(cell, n, input, tensors, Bytes::allowed);
    Tensor output = empty_like(input, {n.steps, n.batch, n.outputs});
    Tensor final_state = empty_like(input, {cell.states, n.batch, n.hidden});
    const int64_t micro_steps = n.steps * n.depth;
    Tensor activations = empty_like(input, {trajectory ? micro_steps : 0, cell.activations, n.hidden, n.lanes});
    Tensor states = empty_like(input, {trajectory ? micro_steps + 1 : 0, cell.states, n.hidden, n.lanes});
    Workspace& workspace = prepared.workspace;
    ForwardPass<T> pass{};
    pass.layer = prepared.layer;
    pass.input = static_cast<const T*>(input.const_data_ptr());
    pass.state = static_cast<const T*>(state.const_data_ptr());
    pass.output = static_cast<T*>(output.mutable_data_ptr());
    pass.final_state = static_cast<T*>(final_state.mutable_data_ptr());
    pass.ring = trajectory || !Backend::kReadsPatterns ? micro_steps + 1 : n.depth + 1;
    if (trajectory) {
      pass.activations = static_cast<T*>(activations.mutable_data_ptr());
      pass.states = static_cast<T*>(states.mutable_data_ptr());
    } else {
      pass.states = workspace.room<T>({pass.ring, cell.states, n.hidden, n.lanes});
      if constexpr (!Backend::kReadsPatterns) {  // kernels of a device write it in any case
        pass.activations = workspace.room<T>({micro_steps, cell.activations, n.hidden, n.lanes});
      }
    }
    if (Backend::kReadsPatterns && n.batch <= kFewItems) {
      prepare_few<T>(cell, n, prepared, pass);
    } else {
      prepare_panels<T>(cell, n, prepared, pass.layer, false, true);
      if (Backend::kReadsPatterns) pass.input_tiles = input_tiles<T>(n, pass.layer, workspace);
      const LaneTiles& tiling = pass.layer.tiling;
      const int64_t lanes = std::max(tiling.lanes, tiling.steps_per_tile * n.lanes);
      pass.projected_tile = workspace.room<T>({rows, lanes});
      pass.operand = workspace.room<T>({2, n.outputs, padded_lanes(n.lanes)});
      if (cell.projects) {
        pass.layer.projection.hidden = workspace.room<T>({n.hidden, padded_lanes(n.lanes)});
      }
    }
    if constexpr (!Backend::kReadsPatterns) Backend::prepare(cell, pass, input, workspace);
    if (n.batch > 0) Backend::run(cell, pass, input);
    return {output, final_state, activations, states};
  }

  // --------------------------------------------------------------------------------------------------- backward

  using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensors, Tensor, Tensor>;

  static void check_trajectory(const Table& cell, const LayerSizes& n, const Tensor& activations, const Tensor& states,
                               const Tensor& reference) {
    check_shape(activations, {n.steps * n.depth, cell.activations, n.hidden, n.lanes}, "activations");
    check_shape(states, {n.steps * n.depth + 1, cell.states, n.hidden, n.lanes}, "states");
    check_operand(activations, reference, "activations", "input");
    check_operand(states, reference, "states", "input");
  }

  template <class T>
  static Gradients backward(const Table& cell, const OptionalTensor& grad_output, const OptionalTensor& grad_final,
                            const Tensor& input, const Tensor& activations, const Tensor& states,
                            const LayerTensors& tensors, bool input_gradient, bool dense_gradient) {
    const LayerSizes n = sizes(cell, input.size(0), input.size(1), states.size(2), input.size(2), tensors);
    const int64_t rows = cell.gates * n.hidden;
    check_trajectory(cell, n, activations, states, input);
    Prepared<T> prepared = prepare<T>(cell, n, input, tensors);
    BackwardPass<T> pass{};
    pass.layer = prepared.layer;
    pass.input = static_cast<const T*>(input.const_data_ptr());
    pass.activations = static_cast<const T*>(activations.const_data_ptr());
    pass.states = static_cast<const T*>(states.const_data_ptr());
    pass.grad_output = optional_operand<T>(grad_output, {n.steps, n.batch, n.outputs}, input, "grad_output");
    pass.grad_final = optional_operand<T>(grad_final, {cell.states, n.batch, n.hidden}, input, "grad_final");
    Tensor grad_input = empty_like(input, {input_gradient ? n.steps : 0, n.batch, n.input_size});
    Tensor grad_state = empty_like(input, {cell.states, n.batch, n.hidden});
    Tensor grad_weight_ih = empty_gradient(*tensors.weight_ih, rows, n.input_size, dense_gradient);
    Tensors grad_weight_hh;
    std::vector<T*> grad_pointers;
    for (size_t d = 0; d < tensors.weight_hh.size(); ++d) {
      const bool projection = cell.projects && d == 1;
      grad_weight_hh.push_back(empty_gradient(tensors.weight_hh[d], projection ? n.outputs : rows,
                                              projection ? n.hidden : n.outputs, dense_gradient));
      grad_pointers.push_back(static_cast<T*>(grad_weight_hh[d].mutable_data_ptr()));
    }
    Tensor grad_bias_ih = empty_like(input, {tensors.bias_ih ? rows : 0});
    Tensor grad_bias_hh = empty_like(input, {tensors.bias_hh ? n.depth : 0, rows});
    pass.grad_input = input_gradient ? static_cast<T*>(grad_input.mutable_data_ptr()) : nullptr;
    pass.grad_state = static_cast<T*>(grad_state.mutable_data_ptr());
    pass.grad_input_weight = static_cast<T*>(grad_weight_ih.mutable_data_ptr());
    pass.grad_recurrent_weight = grad_pointers.data();
    pass.grad_input_bias = tensors.bias_ih ? static_cast<T*>(grad_bias_ih.mutable_data_ptr()) : nullptr;
    pass.grad_recurrent_bias = tensors.bias_hh ? static_cast<T*>(grad_bias_hh.mutable_data_ptr()) : nullptr;
    pass.dense_gradient = dense_gradient;

    const LaneTiles& tiling = pass.layer.tiling;
    Workspace& workspace = prepared.workspace;
    pass.step_gates = workspace.room<T>({2, rows, padded_lanes(n.lanes)});
    pass.carry = workspace.room<T>({cell.states, n.hidden, n.lanes});
    if (pass.layer.hold) pass.held = workspace.room<T>({cell.states, n.hidden, n.lanes});
    pass.kept_tiles = kept_tiles(tiling, n.depth * (rows + n.outputs) * int64_t(sizeof(T)));
    // lanes of the steps together: in tiles on the CPU, step by step on a device
    const int64_t lanes = Backend::kReadsPatterns ? pass.kept_tiles * tiling.lanes : n.steps * n.lanes;
    if constexpr (Backend::kReadsPatterns) {
      pass.input_tiles = input_tiles<T>(n, pass.layer, workspace);
      pass.state_tiles = workspace.room<T>({n.depth, n.outputs, lanes});
    }
    pass.gate_tiles = workspace.room<T>({n.depth, rows, lanes});
    pass.input_gate_tiles = cell.separate_input ? workspace.room<T>({rows, lanes}) : pass.gate_tiles;
    if (cell.projects) {
      pass.layer.projection.hidden = workspace.room<T>({n.hidden, n.lanes});
      pass.projection_gradient = workspace.room<T>({n.outputs, padded_lanes(n.lanes)});
      pass.projection_tiles = workspace.room<T>({n.outputs, lanes});
      pass.hidden_carry = workspace.room<T>({n.hidden, n.lanes});
      pass.hidden_tiles = workspace.room<T>({n.hidden, lanes});
    }
    prepare_panels<T>(cell, n, prepared, pass.layer, true, input_gradient);
    if constexpr (Backend::kReadsPatterns) {
      pass.rooms = sample_rooms<T>(Backend::team_size(), workspace);
      pass.scratch = workspace.room<int32_t>({Backend::team_size() * (std::max(n.input_size, n.hidden) + 1 + rows)});
    }
    if (n.batch > 0) {
      Backend::run(cell, pass, input);
    } else {
      for (Tensor* gradient : {&grad_weight_ih, &grad_bias_ih, &grad_bias_hh}) torch::stable::zero_(*gradient);
      for (Tensor& gradient : grad_weight_hh) torch::stable::zero_(gradient);
    }
    return {grad_input, grad_state, grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh};
  }

  // ---------------------------------------------------------------------------------------------------- tangent

  template <class T>
  static std::tuple<Tensor, Tensor> tangent(const Table& cell, const Tensor& tangent,
                                            const OptionalTensor& input_tangent, const Tensor& activations,
                                            const Tensor& states, LayerTensors tensors, bool outputs) {
    const int64_t depth = cell.projects ? 1 : int64_t(tensors.weight_hh.size());
    const int64_t steps = depth > 0 ? activations.size(0) / depth : 0;
    const int64_t batch = tangent.size(0), vectors = tangent.size(3);
    const int64_t input_size = input_tangent ? input_tangent->size(2) : 0;
    const LayerSizes n = sizes(cell, steps, batch, tangent.size(2), input_size, tensors);
    check_shape(tangent, {batch, cell.states, n.hidden, vectors}, "tangent");
    check_trajectory(cell, n, activations, states, tangent);
    STD_TORCH_CHECK(!input_tangent || (tensors.weight_ih && tensors.pattern_ih),
                    "input_tangent must come with weight_ih and pattern_ih, got it alone");
    if (!input_tangent) tensors.weight_ih = std::nullopt;
    Prepared<T> prepared = prepare<T>(cell, n, tangent, tensors);
    TangentPass<T> pass{};
    pass.layer = prepared.layer;
    pass.vectors = vectors;
    pass.vector_lanes = round_to_four(vectors);
    pass.activations = static_cast<const T*>(activations.const_data_ptr());
    pass.states = static_cast<const T*>(states.const_data_ptr());
    pass.tangent = static_cast<const T*>(tangent.const_data_ptr());
    Workspace& workspace = prepared.workspace;
    pass.current = workspace.room<T>({batch, 2, cell.states, n.hidden, pass.vector_lanes});
    if (pass.layer.hold) pass.start = workspace.room<T>({batch, cell.states, n.hidden, pass.vector_lanes});
    if (pass.layer.state_scale) pass.operand = workspace.room<T>({batch, 2, n.hidden, pass.vector_lanes});
    if (cell.projects) {
      pass.layer.projection.hidden = workspace.room<T>({batch, n.hidden, pass.vector_lanes});
    }
    pass.input_tangent =
        optional_operand<T>(input_tangent, {steps, batch, n.input_size, vectors}, tangent, "input_tangent", "tangent");
    if (input_tangent) pass.input_lanes = workspace.room<T>({batch, n.input_size, pass.vector_lanes});
    Tensor output_tangent = empty_like(tangent, {outputs ? steps : 0, batch, n.outputs, vectors});
    Tensor final_tangent = empty_like(tangent, {batch, cell.states, n.hidden, vectors});
    pass.output_tangent = outputs ? static_cast<T*>(output_tangent.mutable_data_ptr()) : nullptr;
    pass.final_tangent = static_cast<T*>(final_tangent.mutable_data_ptr());
    if (batch > 0 && vectors > 0) Backend::run(cell, pass, tangent);
    return {output_tangent, final_tangent};
  }
};

// The schemas of a cell's three ops. The list of what exists stands in docs/architecture.md. The derivative of a
// backward is taken with respect to everything the forward took, so it is given all of that.
#define LSH_CELL_SCHEMAS(m, name)                                                                                \
  m.def(name                                                                                                     \
        "_forward(Tensor input, Tensor state, Tensor weight_ih, Tensor[] weight_hh, Tensor pattern_ih, "         \
        "Tensor[] pattern_hh, Tensor? bias_ih, Tensor? bias_hh, Tensor? batch_sizes, Tensor? hold, "             \
        "Tensor? state_scale, bool dense_gradient, bool trajectory) -> (Tensor, Tensor, Tensor, Tensor)");       \
  m.def(name                                                                                                     \
        "_backward(Tensor? grad_output, Tensor? grad_final, Tensor input, Tensor state, Tensor activations, "    \
        "Tensor states, Tensor weight_ih, Tensor[] weight_hh, Tensor pattern_ih, Tensor[] pattern_hh, "          \
        "Tensor? bias_ih, Tensor? bias_hh, Tensor? batch_sizes, Tensor? hold, Tensor? state_scale, "             \
        "bool input_gradient, bool dense_gradient) -> (Tensor, Tensor, Tensor, Tensor[], Tensor, Tensor)");      \
  m.def(name                                                                                                     \
        "_tangent(Tensor tangent, Tensor? input_tangent, Tensor activations, Tensor states, Tensor? weight_ih, " \
        "Tensor[] weight_hh, Tensor? pattern_ih, Tensor[] pattern_hh, Tensor? batch_sizes, Tensor? hold, "       \
        "Tensor? state_scale, bool outputs) -> (Tensor, Tensor)")

// Binds the three ops of the cell whose kernels and constants `table()` gives to a Backend.
template <class Backend, auto table>
struct CellOps {
  using Op = RecurrentOp<Backend, std::remove_cvref_t<decltype(table())>>;

  static void check_sequence(const Tensor& tensor, int64_t dimensions, const char* name) {
    check_dimensions(tensor, dimensions, name);
    check_floating(tensor, name);
    STD_TORCH_CHECK(tensor.is_contiguous(), name, " must be contiguous");
  }

  static std::tuple<Tensor, Tensor, Tensor, Tensor> forward(Tensor input, Tensor state, Tensor weight_ih,
                                                            Tensors weight_hh, Tensor pattern_ih, Tensors pattern_hh,
                                                            OptionalTensor bias_ih, OptionalTensor bias_hh,
                                                            OptionalTensor batch_sizes, OptionalTensor hold,
                                                            OptionalTensor state_scale, bool dense_gradient,
                                                            bool trajectory) {
    check_sequence(input, 3, "input");
    check_dimensions(state, 3, "state");
    check_gradient_form(weight_ih, dense_gradient, "weight_ih");
    for (const Tensor& weight : weight_hh) check_gradient_form(weight, dense_gradient, "weight_hh");
    const auto run =
        input.scalar_type() == ScalarType::Float ? &Op::template forward<float> : &Op::template forward<double>;
    return run(table(), input, state,
               {weight_ih, weight_hh, pattern_ih, pattern_hh, bias_ih, bias_hh, batch_sizes, hold, state_scale},
               trajectory);
  }

  static typename Op::Gradients backward(OptionalTensor grad_output, OptionalTensor grad_final, Tensor input, Tensor,
                                         Tensor activations, Tensor states, Tensor weight_ih, Tensors weight_hh,
                                         Tensor pattern_ih, Tensors pattern_hh, OptionalTensor bias_ih,
                                         OptionalTensor bias_hh, OptionalTensor batch_sizes, OptionalTensor hold,
                                         OptionalTensor state_scale, bool input_gradient, bool dense_gradient) {
    check_sequence(input, 3, "input");
    check_dimensions(states, 4, "states");
    const auto run =
        input.scalar_type() == ScalarType::Float ? &Op::template backward<float> : &Op::template backward<double>;
    return run(table(), grad_output, grad_final, input, activations, states,
               {weight_ih, weight_hh, pattern_ih, pattern_hh, bias_ih, bias_hh, batch_sizes, hold, state_scale},
               input_gradient, dense_gradient);
  }

  static std::tuple<Tensor, Tensor> tangent(Tensor tangent, OptionalTensor input_tangent, Tensor activations,
                                            Tensor states, OptionalTensor weight_ih, Tensors weight_hh,
                                            OptionalTensor pattern_ih, Tensors pattern_hh, OptionalTensor batch_sizes,
                                            OptionalTensor hold, OptionalTensor state_scale, bool outputs) {
    check_sequence(tangent, 4, "tangent");
    check_dimensions(activations, 4, "activations");
    if (input_tangent) check_dimensions(*input_tangent, 4, "input_tangent");
    const auto run =
        tangent.scalar_type() == ScalarType::Float ? &Op::template tangent<float> : &Op::template tangent<double>;
    return run(
        table(), tangent, input_tangent, activations, states,
        {weight_ih, weight_hh, pattern_ih, pattern_hh, std::nullopt, std::nullopt, batch_sizes, hold, state_scale},
        outputs);
  }
};

#define LSH_CELL_IMPLEMENTATIONS(m, name, Ops)         \
  m.impl(name "_forward", TORCH_BOX(&Ops::forward));   \
  m.impl(name "_backward", TORCH_BOX(&Ops::backward)); \
  m.impl(name "_tangent", TORCH_BOX(&Ops::tangent))

}  // namespace lsh
