// lsh::qr_growth on CUDA.
#include "common/stream.h"
#include "lyapunov/qr_growth_launch.h"
#include "lyapunov/qr_growth_op.h"

namespace lsh {
namespace {

constexpr int64_t kMostOnAnAxis = 65535;  // blocks of a grid, on its second and third axis

template <class T>
QRGrowthTensors qr_growth_on_cuda_as(const Tensor& tangent) {
  const int64_t B = tangent.size(0), n = tangent.size(1), K = tangent.size(2);
  STD_TORCH_CHECK(B <= kMostOnAnAxis && tiles_of(n) <= kMostOnAnAxis, "tangent must have at most ", kMostOnAnAxis,
                  " matrices of at most ", kMostOnAnAxis * kTile, " rows, got shape ", shape_text(tangent));
  QRGrowthTensors results = empty_growth(tangent);
  auto& [basis, log_growth, lost, condition, method] = results;
  Workspace workspace(tangent);
  QRGrowthDevicePass<T> pass{};
  pass.batch = B;
  pass.rows = n;
  pass.columns = K;
  pass.parts = 2 * K <= n ? gram_parts(B, n, K) : 0;
  pass.tangent = static_cast<const T*>(tangent.const_data_ptr());
  pass.basis = static_cast<T*>(basis.mutable_data_ptr());
  pass.log_growth = static_cast<double*>(log_growth.mutable_data_ptr());
  pass.lost = static_cast<bool*>(lost.mutable_data_ptr());
  pass.condition = static_cast<double*>(condition.mutable_data_ptr());
  pass.method = static_cast<int32_t*>(method.mutable_data_ptr());
  pass.state = workspace.room<QRState>({B});
  pass.broken = workspace.room<int32_t>({B});
  pass.partial = workspace.room<double>({B, pass.parts, K, K});
  pass.gram = workspace.room<double>({B, K, K});
  pass.inverse = workspace.room<double>({B, K, K});
  pass.length = workspace.room<double>({B, K});
  pass.largest = workspace.room<double>({B, K});
  pass.matrix = workspace.room<T>({B, n, K});
  if (B > 0) launch_on(tangent, [&](cudaStream_t stream) { return qr_growth_on_device(pass, stream); });
  return results;
}

QRGrowthTensors qr_growth_on_cuda(Tensor tangent) {
  check_tangent(tangent);
  return tangent.scalar_type() == ScalarType::Float ? qr_growth_on_cuda_as<float>(tangent)
                                                    : qr_growth_on_cuda_as<double>(tangent);
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(lsh, CUDA, m) { m.impl("qr_growth", TORCH_BOX(&qr_growth_on_cuda)); }

}  // namespace lsh
