// lsh::pack_pattern_ on CUDA. Whether there was room stands in the header, for whoever can wait to read it.
#include "common/stream.h"
#include "sparsity/pack_pattern_launch.h"
#include "sparsity/pack_pattern_op.h"
#include "sparsity/prepare_matrix.h"

namespace lsh {
namespace {

void pack_pattern_on_cuda_(Tensor pattern, const Tensor& mask) {
  PackPass pass{};
  const PatternRoom room = checked_packing(pattern, mask);
  STD_TORCH_CHECK(room.by_columns, "pattern must have room for the part by columns on a device");
  pass.capacity = room.capacity;
  pass.rows = mask.size(0);
  pass.columns = mask.size(1);
  pass.mask = static_cast<const uint8_t*>(mask.const_data_ptr());
  pass.pattern = pattern.mutable_data_ptr<int32_t>();
  Workspace workspace(pattern);
  const int64_t words = pass.rows * mask_words(pass.columns);
  pass.bits = workspace.room<uint32_t>({words});
  pass.before = workspace.room<int32_t>({words});
  pass.above = workspace.room<int32_t>({mask_strips(pass.rows) * pass.columns});
  launch_on(pattern, [&](cudaStream_t stream) { return pack_pattern_on_device(pass, stream); });
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(lsh, CUDA, m) { m.impl("pack_pattern_", TORCH_BOX(&pack_pattern_on_cuda_)); }

}  // namespace lsh
