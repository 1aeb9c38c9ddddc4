// lsh::qr_growth on the CPU: an orthonormal basis of tangent vectors, and by how much each one grew.
#include "common/simd_level.h"
#include "common/team.h"
#include "lyapunov/qr_growth_op.h"

namespace lsh {

LSH_DISPATCH(QRGrowthTable, qr_growth)

namespace {

const QRGrowthKernel<float>& kernel(float) { return qr_growth_table().float32; }
const QRGrowthKernel<double>& kernel(double) { return qr_growth_table().float64; }

// Matrices above this size are shared by all workers, below each worker takes some of its own.
constexpr int64_t kAloneUpTo = 1 << 20;

template <class T>
QRGrowthTensors qr_growth_as(const Tensor& tangent) {
  const int64_t batch = tangent.size(0), n = tangent.size(1), K = tangent.size(2);
  QRGrowthTensors results = empty_growth(tangent);
  auto& [basis, log_growth, lost, condition, method] = results;

  const bool alone = n * K <= kAloneUpTo;
  int64_t workers = team_size(1 + n * K * K / 500000 * (alone ? batch : 1));
  if (alone && batch > 1 && 3 * batch >= workers) workers = std::min(workers, batch);  // a share of one scales badly
  QRGrowthPass<T> pass{};
  pass.batch = batch;
  pass.rows = n;
  pass.columns = K;
  pass.sets = batch >= workers && alone ? workers : 1;
  pass.tangent = static_cast<const T*>(tangent.const_data_ptr());
  pass.basis = static_cast<T*>(basis.mutable_data_ptr());
  pass.log_growth = static_cast<double*>(log_growth.mutable_data_ptr());
  pass.lost = static_cast<bool*>(lost.mutable_data_ptr());
  pass.condition = static_cast<double*>(condition.mutable_data_ptr());
  pass.method = static_cast<int32_t*>(method.mutable_data_ptr());
  Workspace workspace(tangent);
  pass.matrices = workspace.room<T>({pass.sets, matrices_size(n, K)});
  pass.numbers = workspace.room<double>({pass.sets, numbers_size(K)});
  pass.scratch = workspace.room<double>({workers, qr_growth_table().scratch});
  if (batch > 0) run_team(workers, [&](const Worker& worker) { kernel(T())(pass, worker); });
  return results;
}

QRGrowthTensors qr_growth_op(Tensor tangent) {
  check_tangent(tangent);
  return tangent.scalar_type() == ScalarType::Float ? qr_growth_as<float>(tangent) : qr_growth_as<double>(tangent);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  m.def("qr_growth(Tensor tangent) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { m.impl("qr_growth", TORCH_BOX(&qr_growth_op)); }

}  // namespace lsh
