// lsh::<cell>_folded_tangent on the CPU: J · Q for dense recurrent weights, J not formed.
#include "cells/folded.h"

#include <torch/csrc/stable/library.h>

#include <vector>

#include "common/simd_level.h"
#include "common/team.h"
#include "sparsity/prepare_matrix.h"

namespace lsh {

LSH_DISPATCH(FoldedTable, folded_elman)
LSH_DISPATCH(FoldedTable, folded_gru)
LSH_DISPATCH(FoldedTable, folded_lstm)
LSH_DISPATCH(FoldedTable, folded_rhn)
LSH_DISPATCH(FoldedTable, folded_free_rhn)

namespace {

const FoldedKernel<float>& kernel(const FoldedTable& cell, float) { return cell.float32; }
const FoldedKernel<double>& kernel(const FoldedTable& cell, double) { return cell.float64; }

template <class T>
Tensor folded_as(const FoldedTable& cell, const Tensor& tangent, const Tensor& activations, const Tensor& states,
                 const Tensors& weight_hh) {
  const int64_t depth = int64_t(weight_hh.size());
  const int64_t batch = tangent.size(0), H = tangent.size(2), K = tangent.size(3);
  STD_TORCH_CHECK(depth >= 1, "weight_hh must hold at least one weight, got none");
  STD_TORCH_CHECK(activations.size(0) >= depth && activations.size(0) % depth == 0, "activations must hold ", depth,
                  " micro-steps for each time step, got ", activations.size(0));
  const int64_t micro_steps = activations.size(0), lanes = (batch + 3) / 4 * 4;
  check_shape(tangent, {batch, cell.states, H, K}, "tangent");
  check_shape(activations, {micro_steps, cell.activations, H, lanes}, "activations");
  check_shape(states, {micro_steps + 1, cell.states, H, lanes}, "states");
  check_operand(activations, tangent, "activations", "tangent");
  check_operand(states, tangent, "states", "tangent");
  std::vector<const T*> weights;
  for (const Tensor& weight : weight_hh) {
    check_shape(weight, {cell.gates * H, H}, "weight_hh");
    weights.push_back(static_cast<const T*>(check_operand(weight, tangent, "weight_hh", "tangent").const_data_ptr()));
  }
  Tensor final_tangent = empty_like(tangent, {batch, cell.states, H, K});
  const int64_t work = batch * micro_steps * H * H * K;
  const int64_t workers = std::max<int64_t>(1, std::min<int64_t>(1 + work / 500000, torch::stable::get_num_threads()));
  Workspace workspace(tangent);
  FoldedPass<T> pass{};
  pass.steps = micro_steps / depth;
  pass.batch = batch;
  pass.hidden = H;
  pass.vectors = K;
  pass.lanes = lanes;
  pass.depth = depth;
  pass.tangent = static_cast<const T*>(tangent.const_data_ptr());
  pass.activations = static_cast<const T*>(activations.const_data_ptr());
  pass.states = static_cast<const T*>(states.const_data_ptr());
  pass.weight = weights.data();
  pass.final_tangent = static_cast<T*>(final_tangent.mutable_data_ptr());
  pass.current = workspace.room<T>({batch, 2, H, cell.states, K});
  pass.coefficients = workspace.room<T>({lanes, H, cell.states * (cell.gates + cell.states)});
  pass.scratch = workspace.room<T>({workers, cell.scratch});
  if (batch > 0 && K > 0 && H > 0) run_team(workers, [&](const Worker& worker) { kernel(cell, T())(pass, worker); });
  return final_tangent;
}

template <auto table>
Tensor folded(Tensor tangent, Tensor activations, Tensor states, Tensors weight_hh) {
  check_dimensions(tangent, 4, "tangent");
  check_dimensions(activations, 4, "activations");
  check_floating(tangent, "tangent");
  STD_TORCH_CHECK(tangent.is_contiguous(), "tangent must be contiguous");
  return tangent.scalar_type() == ScalarType::Float
             ? folded_as<float>(table(), tangent, activations, states, weight_hh)
             : folded_as<double>(table(), tangent, activations, states, weight_hh);
}

}  // namespace

#define LSH_FOLDED_SCHEMA(m, name) \
  m.def(name "_folded_tangent(Tensor tangent, Tensor activations, Tensor states, Tensor[] weight_hh) -> Tensor")

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  LSH_FOLDED_SCHEMA(m, "elman");
  LSH_FOLDED_SCHEMA(m, "gru");
  LSH_FOLDED_SCHEMA(m, "lstm");
  LSH_FOLDED_SCHEMA(m, "rhn");
  LSH_FOLDED_SCHEMA(m, "free_rhn");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) {
  m.impl("elman_folded_tangent", TORCH_BOX(&folded<folded_elman_table>));
  m.impl("gru_folded_tangent", TORCH_BOX(&folded<folded_gru_table>));
  m.impl("lstm_folded_tangent", TORCH_BOX(&folded<folded_lstm_table>));
  m.impl("rhn_folded_tangent", TORCH_BOX(&folded<folded_rhn_table>));
  m.impl("free_rhn_folded_tangent", TORCH_BOX(&folded<folded_free_rhn_table>));
}

}  // namespace lsh
