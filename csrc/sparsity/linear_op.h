// The ops of a sparse linear layer, for any device: checks, allocation, and the call of the kernels.
#pragma once

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "sparsity/linear.h"
#include "sparsity/prepare_lookup.h"

namespace lsh {

template <class Backend>
struct LinearOp {
  template <class T>
  static Tensor forward_as(const Tensor& input, const Tensor& weight, const Tensor& pattern, const OptionalTensor& bias,
                           int64_t rows) {
    Workspace workspace(input);
    LinearForward<T> pass{};
    pass.weight = prepare_matrix<T, Backend>(weight, pattern, rows, input.size(1), input, "weight", "pattern",
                                             workspace, Bytes::allowed);
    pass.tiling = lane_tiles(input.size(0), 1);
    pass.input = static_cast<const T*>(input.const_data_ptr());
    if (bias) {
      check_shape(*bias, {rows}, "bias");
      pass.bias = static_cast<const T*>(check_operand(*bias, input, "bias", "input").const_data_ptr());
    }
    Tensor output = empty_like(input, {input.size(0), rows});
    pass.output = static_cast<T*>(output.mutable_data_ptr());
    const int64_t plain = pass.tiling.tiles * input.size(1) * pass.tiling.lanes;
    int64_t few = 0;
    if constexpr (Backend::kReadsPatterns) {
      if (input.size(0) <= kFewItems) {  // rows by fours read each window of the input once for four of them
        pass.lookup = prepare_lookup(pass.weight, rows % 4 == 0 ? 4 : 1, workspace);
        few = input.size(0) * pass.lookup.plan.stored_columns();
      } else {
        pass.panels = panels_by_rows(pass.weight, 1, pass.tiling.lanes, workspace);
      }
    }
    pass.input_tiles = workspace.room<T>({few > 0 ? few : plain});
    if (input.size(0) > 0) Backend::run(pass, input);
    return output;
  }

  static Tensor forward(Tensor input, Tensor weight, Tensor pattern, OptionalTensor bias, int64_t rows,
                        bool dense_gradient) {
    check_input(input);
    check_gradient_form(weight, dense_gradient, "weight");
    const auto run = input.scalar_type() == ScalarType::Float ? &forward_as<float> : &forward_as<double>;
    return run(input, weight, pattern, bias, rows);
  }

  template <class T>
  static std::tuple<Tensor, Tensor, Tensor> backward_as(const Tensor& grad_output, const Tensor& input,
                                                        const Tensor& weight, const Tensor& pattern,
                                                        bool input_gradient, bool bias_gradient, bool dense_gradient) {
    const int64_t rows = grad_output.size(1), columns = input.size(1);
    check_shape(grad_output, {input.size(0), rows}, "grad_output");
    check_operand(grad_output, input, "grad_output", "input");
    Workspace workspace(input);
    LinearBackward<T> pass{};
    pass.weight = prepare_matrix<T, Backend>(weight, pattern, rows, columns, input, "weight", "pattern", workspace);
    pass.tiling = lane_tiles(input.size(0), 1);
    pass.grad_output = static_cast<const T*>(grad_output.const_data_ptr());
    pass.input = static_cast<const T*>(input.const_data_ptr());
    Tensor grad_input = empty_like(input, {input_gradient ? input.size(0) : 0, columns});
    Tensor grad_weight = empty_gradient(weight, rows, columns, dense_gradient);
    pass.grad_input = input_gradient ? static_cast<T*>(grad_input.mutable_data_ptr()) : nullptr;
    pass.grad_weight = static_cast<T*>(grad_weight.mutable_data_ptr());
    Tensor grad_bias = empty_like(input, {bias_gradient ? rows : 0});
    pass.grad_bias = bias_gradient ? static_cast<T*>(grad_bias.mutable_data_ptr()) : nullptr;
    pass.dense_gradient = dense_gradient;
    pass.input_tiles = workspace.room<T>({pass.tiling.tiles, columns, pass.tiling.lanes});
    pass.output_tiles = workspace.room<T>({pass.tiling.tiles, rows, pass.tiling.lanes});
    if constexpr (Backend::kReadsPatterns) {
      if (input_gradient) {
        pass.panels = panels_by_columns(pass.weight, pass.tiling.lanes, workspace);
        pass.scratch = workspace.room<int32_t>({Backend::team_size() * (columns + 1 + rows)});
      }
      pass.rooms = sample_rooms<T>(Backend::team_size(), workspace);
    }
    if (input.size(0) > 0) {
      Backend::run(pass, input);
    } else {
      torch::stable::zero_(grad_weight);
      torch::stable::zero_(grad_bias);
    }
    return {grad_input, grad_weight, grad_bias};
  }

  static std::tuple<Tensor, Tensor, Tensor> backward(Tensor grad_output, Tensor input, Tensor weight, Tensor pattern,
                                                     bool input_gradient, bool bias_gradient, bool dense_gradient) {
    check_dimensions(grad_output, 2, "grad_output");
    check_input(input);
    const auto run = input.scalar_type() == ScalarType::Float ? &backward_as<float> : &backward_as<double>;
    return run(grad_output, input, weight, pattern, input_gradient, bias_gradient, dense_gradient);
  }

 private:
  static void check_input(const Tensor& input) {
    check_dimensions(input, 2, "input");
    check_floating(input, "input");
    STD_TORCH_CHECK(input.is_contiguous(), "input must be contiguous");
  }
};

}  // namespace lsh
