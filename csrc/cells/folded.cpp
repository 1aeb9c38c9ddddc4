// lsh::<cell>_folded_tangent on the CPU: J · Q for dense recurrent weights, J not formed.
#include "cells/folded.h"

#include <torch/csrc/stable/library.h>

#include <vector>

#include "cells/every_cell.h"
#include "cells/tangent_window_op.h"
#include "common/simd_level.h"
#include "common/team.h"

namespace lsh {

#define LSH_TABLE(name, Cell) LSH_DISPATCH(FoldedTable, folded_##name)
LSH_EVERY_CELL(LSH_TABLE)

namespace {

const FoldedKernel<float>& kernel(const FoldedTable& cell, float) { return cell.float32; }
const FoldedKernel<double>& kernel(const FoldedTable& cell, double) { return cell.float64; }

template <class T>
Tensor folded_as(const FoldedTable& cell, const Tensor& tangent, const Tensor& activations, const Tensor& states,
                 const Tensors& weight_hh) {
  Tensor final_tangent;
  Workspace workspace(tangent);
  FoldedPass<T> pass{
      checked_window<T>(cell, tangent, activations, states, weight_hh, "weight_hh", final_tangent, workspace)};
  const int64_t H = pass.hidden, K = pass.vectors;
  std::vector<const T*> weights;
  for (const Tensor& weight : weight_hh) {
    check_shape(weight, {cell.gates * H, H}, "weight_hh");
    weights.push_back(static_cast<const T*>(check_operand(weight, tangent, "weight_hh", "tangent").const_data_ptr()));
  }
  const int64_t workers = team_size(1 + pass.batch * pass.micro_steps() * H * H * K / 500000);
  pass.weight = weights.data();
  pass.current = workspace.room<T>({pass.batch, 2, H, cell.states, K});
  pass.scratch = workspace.room<T>({workers, cell.scratch});
  if (final_tangent.numel() > 0) run_team(workers, [&](const Worker& worker) { kernel(cell, T())(pass, worker); });
  return final_tangent;
}

template <auto table>
Tensor folded(Tensor tangent, Tensor activations, Tensor states, Tensors weight_hh) {
  check_window_operands(tangent, activations);
  const auto run = tangent.scalar_type() == ScalarType::Float ? &folded_as<float> : &folded_as<double>;
  return run(table(), tangent, activations, states, weight_hh);
}

}  // namespace

#define LSH_SCHEMA(name, Cell) \
  m.def(#name "_folded_tangent(Tensor tangent, Tensor activations, Tensor states, Tensor[] weight_hh) -> Tensor");
#define LSH_IMPL(name, Cell) m.impl(#name "_folded_tangent", TORCH_BOX(&folded<folded_##name##_table>));

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) { LSH_EVERY_CELL(LSH_SCHEMA); }
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { LSH_EVERY_CELL(LSH_IMPL); }

}  // namespace lsh
