// lsh::qr_growth on the CPU: an orthonormal basis of tangent vectors, and by how much each one grew.
#include "lyapunov/qr_growth.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "common/check.h"
#include "common/large_pages.h"
#include "common/simd_level.h"
#include "common/team.h"
#include "sparsity/prepare_matrix.h"

namespace lsh {

LSH_DISPATCH(QRGrowthTable, qr_growth)

namespace {

const QRGrowthKernel<float>& kernel(float) { return qr_growth_table().float32; }
const QRGrowthKernel<double>& kernel(double) { return qr_growth_table().float64; }

Tensor empty_as(const Tensor& like, std::vector<int64_t> sizes, ScalarType dtype) {
  return torch::stable::new_empty(like, sizes, dtype);
}

// Matrices above this size are shared by all workers, below each worker takes some of its own.
constexpr int64_t kAloneUpTo = 1 << 20;

using Result = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor>;

template <class T>
Result qr_growth_as(const Tensor& tangent) {
  const int64_t batch = tangent.size(0), n = tangent.size(1), K = tangent.size(2);
  Tensor basis = in_large_pages(empty_like(tangent, {batch, n, K}));
  Tensor log_growth = empty_as(tangent, {batch, K}, ScalarType::Double);
  Tensor lost = empty_as(tangent, {batch, K}, ScalarType::Bool);
  Tensor condition = empty_as(tangent, {batch}, ScalarType::Double);
  Tensor method = empty_as(tangent, {batch}, ScalarType::Int);

  const int64_t most = 1 + n * K * K / 500000 * (n * K <= kAloneUpTo ? batch : 1);
  const int64_t workers = std::max<int64_t>(1, std::min<int64_t>(most, torch::stable::get_num_threads()));
  QRGrowthPass<T> pass{};
  pass.batch = batch;
  pass.rows = n;
  pass.columns = K;
  pass.sets = batch >= workers && n * K <= kAloneUpTo ? workers : 1;
  pass.tangent = static_cast<const T*>(tangent.const_data_ptr());
  pass.basis = static_cast<T*>(basis.mutable_data_ptr());
  pass.log_growth = static_cast<double*>(log_growth.mutable_data_ptr());
  pass.lost = static_cast<bool*>(lost.mutable_data_ptr());
  pass.condition = static_cast<double*>(condition.mutable_data_ptr());
  pass.method = static_cast<int32_t*>(method.mutable_data_ptr());
  Tensors kept;
  pass.matrices = workspace<T>(tangent, kept, {pass.sets, matrices_size(n, K)});
  kept.push_back(empty_as(tangent, {pass.sets, numbers_size(K)}, ScalarType::Double));
  pass.numbers = static_cast<double*>(kept.back().mutable_data_ptr());
  kept.push_back(empty_as(tangent, {workers, qr_growth_table().scratch}, ScalarType::Double));
  pass.scratch = static_cast<double*>(kept.back().mutable_data_ptr());
  if (batch > 0) run_team(workers, [&](const Worker& worker) { kernel(T())(pass, worker); });
  return {basis, log_growth, lost, condition, method};
}

Result qr_growth_op(Tensor tangent) {
  check_dimensions(tangent, 3, "tangent");
  check_floating(tangent, "tangent");
  STD_TORCH_CHECK(tangent.is_contiguous(), "tangent must be contiguous");
  STD_TORCH_CHECK(tangent.size(2) >= 1 && tangent.size(2) <= tangent.size(1),
                  "tangent must have from 1 up to as many columns as rows, got shape ", shape_text(tangent));
  return tangent.scalar_type() == ScalarType::Float ? qr_growth_as<float>(tangent) : qr_growth_as<double>(tangent);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  m.def("qr_growth(Tensor tangent) -> (Tensor, Tensor, Tensor, Tensor, Tensor)");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { m.impl("qr_growth", TORCH_BOX(&qr_growth_op)); }

}  // namespace lsh
