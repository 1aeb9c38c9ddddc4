// lsh::<cell>_paneled_tangent on the CPU: J · Q for sparse recurrent weights that were packed once, J not formed.
#include "cells/paneled.h"

#include <torch/csrc/stable/library.h>

#include <vector>

#include "cells/every_cell.h"
#include "cells/tangent_window_op.h"
#include "common/simd_level.h"
#include "common/team.h"
#include "sparsity/prepare_panels.h"

namespace lsh {

#define LSH_TABLE(name, Cell) LSH_DISPATCH(PaneledTable, paneled_##name)
LSH_EVERY_CELL(LSH_TABLE)

namespace {

const PaneledKernel<float>& kernel(const PaneledTable& cell, float) { return cell.float32; }
const PaneledKernel<double>& kernel(const PaneledTable& cell, double) { return cell.float64; }

template <class T>
Tensor paneled_as(const PaneledTable& cell, const Tensor& tangent, const Tensor& activations, const Tensor& states,
                  const Tensors& packed_hh) {
  Tensor final_tangent;
  Workspace workspace(tangent);
  PaneledPass<T> pass{
      checked_window<T>(cell, tangent, activations, states, packed_hh, "packed_hh", final_tangent, workspace)};
  const int64_t H = pass.hidden, K = pass.vectors;
  if (final_tangent.numel() == 0) return final_tangent;
  std::vector<PanelMatrix<T>> panels;
  const int64_t lanes = std::max<int64_t>(K, kFewItems + 1);  // with fewer, pack_weight makes a look-up
  for (const Tensor& packed : packed_hh) {
    panels.push_back(panels_of_bytes<T>(packed, cell.gates, H, H, lanes, "packed_hh"));
  }
  pass.vector_lanes = round_to_four(K);
  pass.panels = panels.data();
  pass.current = workspace.room<T>({pass.batch, 2, cell.states, H, padded_lanes(pass.vector_lanes)});
  const int64_t work = pass.batch * pass.micro_steps() * cell.gates * H * K;
  run_team(1 + work / 65536, [&](const Worker& worker) { kernel(cell, T())(pass, worker); });
  return final_tangent;
}

template <auto table>
Tensor paneled(Tensor tangent, Tensor activations, Tensor states, Tensors packed_hh) {
  check_window_operands(tangent, activations);
  const auto run = tangent.scalar_type() == ScalarType::Float ? &paneled_as<float> : &paneled_as<double>;
  return run(table(), tangent, activations, states, packed_hh);
}

}  // namespace

#define LSH_SCHEMA(name, Cell) \
  m.def(#name "_paneled_tangent(Tensor tangent, Tensor activations, Tensor states, Tensor[] packed_hh) -> Tensor");
#define LSH_IMPL(name, Cell) m.impl(#name "_paneled_tangent", TORCH_BOX(&paneled<paneled_##name##_table>));

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) { LSH_EVERY_CELL(LSH_SCHEMA); }
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { LSH_EVERY_CELL(LSH_IMPL); }

}  // namespace lsh
