// lsh::<cell>_paneled_tangent on the CPU: J · Q for sparse recurrent weights that were packed once, J not formed.
#include "cells/paneled.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <vector>

#include "common/simd_level.h"
#include "common/team.h"
#include "sparsity/lane_tiles.h"
#include "sparsity/packed_panels.h"
#include "sparsity/prepare_panels.h"

namespace lsh {

LSH_DISPATCH(PaneledTable, paneled_elman)
LSH_DISPATCH(PaneledTable, paneled_gru)
LSH_DISPATCH(PaneledTable, paneled_lstm)
LSH_DISPATCH(PaneledTable, paneled_rhn)
LSH_DISPATCH(PaneledTable, paneled_free_rhn)

namespace {

const PaneledKernel<float>& kernel(const PaneledTable& cell, float) { return cell.float32; }
const PaneledKernel<double>& kernel(const PaneledTable& cell, double) { return cell.float64; }

template <class T>
Tensor paneled_as(const PaneledTable& cell, const Tensor& tangent, const Tensor& activations, const Tensor& states,
                  const Tensors& panels_hh) {
  const int64_t depth = int64_t(panels_hh.size());
  const int64_t batch = tangent.size(0), H = tangent.size(2), K = tangent.size(3);
  STD_TORCH_CHECK(depth >= 1, "panels_hh must hold at least one weight, got none");
  STD_TORCH_CHECK(activations.size(0) >= depth && activations.size(0) % depth == 0, "activations must hold ", depth,
                  " micro-steps for each time step, got ", activations.size(0));
  const int64_t micro_steps = activations.size(0), lanes = (batch + 3) / 4 * 4;
  check_shape(tangent, {batch, cell.states, H, K}, "tangent");
  check_shape(activations, {micro_steps, cell.activations, H, lanes}, "activations");
  check_shape(states, {micro_steps + 1, cell.states, H, lanes}, "states");
  check_operand(activations, tangent, "activations", "tangent");
  check_operand(states, tangent, "states", "tangent");
  Tensor final_tangent = empty_like(tangent, {batch, cell.states, H, K});
  if (batch == 0 || K == 0 || H == 0) return final_tangent;
  std::vector<PanelMatrix<T>> panels;
  int64_t behind = 0;  // channels that a panel may read beyond the last
  for (const Tensor& packed : panels_hh) {
    panels.push_back(checked_panels<T>(packed, cell.gates, H, H, K, "panels_hh"));
    behind = std::max(behind, panels.back().plan.panels * panels.back().plan.panel_columns - H);
  }
  Workspace workspace(tangent);
  PaneledPass<T> pass{};
  pass.steps = micro_steps / depth;
  pass.batch = batch;
  pass.hidden = H;
  pass.vectors = K;
  pass.lanes = lanes;
  pass.depth = depth;
  pass.vector_lanes = (K + 3) / 4 * 4;
  pass.tangent = static_cast<const T*>(tangent.const_data_ptr());
  pass.activations = static_cast<const T*>(activations.const_data_ptr());
  pass.states = static_cast<const T*>(states.const_data_ptr());
  pass.panels = panels.data();
  pass.final_tangent = static_cast<T*>(final_tangent.mutable_data_ptr());
  pass.current = workspace.room<T>({(batch * 2 * cell.states * H + behind) * padded_lanes(pass.vector_lanes)});
  pass.coefficients = workspace.room<T>({lanes, H, cell.states * (cell.gates + cell.states)});
  const int64_t work = batch * micro_steps * cell.gates * H * K;
  run_team(1 + work / 65536, [&](const Worker& worker) { kernel(cell, T())(pass, worker); });
  return final_tangent;
}

template <auto table>
Tensor paneled(Tensor tangent, Tensor activations, Tensor states, Tensors panels_hh) {
  check_dimensions(tangent, 4, "tangent");
  check_dimensions(activations, 4, "activations");
  check_floating(tangent, "tangent");
  STD_TORCH_CHECK(tangent.is_contiguous(), "tangent must be contiguous");
  return tangent.scalar_type() == ScalarType::Float
             ? paneled_as<float>(table(), tangent, activations, states, panels_hh)
             : paneled_as<double>(table(), tangent, activations, states, panels_hh);
}

}  // namespace

#define LSH_PANELED_SCHEMA(m, name) \
  m.def(name "_paneled_tangent(Tensor tangent, Tensor activations, Tensor states, Tensor[] panels_hh) -> Tensor")

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  LSH_PANELED_SCHEMA(m, "elman");
  LSH_PANELED_SCHEMA(m, "gru");
  LSH_PANELED_SCHEMA(m, "lstm");
  LSH_PANELED_SCHEMA(m, "rhn");
  LSH_PANELED_SCHEMA(m, "free_rhn");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) {
  m.impl("elman_paneled_tangent", TORCH_BOX(&paneled<paneled_elman_table>));
  m.impl("gru_paneled_tangent", TORCH_BOX(&paneled<paneled_gru_table>));
  m.impl("lstm_paneled_tangent", TORCH_BOX(&paneled<paneled_lstm_table>));
  m.impl("rhn_paneled_tangent", TORCH_BOX(&paneled<paneled_rhn_table>));
  m.impl("free_rhn_paneled_tangent", TORCH_BOX(&paneled<paneled_free_rhn_table>));
}

}  // namespace lsh
