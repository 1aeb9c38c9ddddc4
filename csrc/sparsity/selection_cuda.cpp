// lsh::toggle_ on CUDA.
#include "common/stream.h"
#include "sparsity/prepare_matrix.h"
#include "sparsity/selection_launch.h"
#include "sparsity/selection_op.h"

namespace lsh {
namespace {

Tensor toggle_on_cuda_(std::vector<Tensor> masks, std::vector<Tensor> scores, int64_t seed, int64_t count, bool live,
                       bool highest, bool magnitude) {
  STD_TORCH_CHECK(!masks.empty(), "masks must be at least one on a device, got none");
  const std::vector<Scored> tensors = checked_selection(masks, scores, count);
  const Tensor& like = masks[0];
  Tensor facts = torch::stable::new_zeros(like, {2}, ScalarType::Long);
  SelectionPass pass{};
  pass.ranking = {scores.empty() ? ScoreType::random : score_type(scores[0]), live, highest, magnitude, uint64_t(seed)};
  pass.count = count;
  pass.tensors = tensors.data();
  pass.tensor_count = int64_t(tensors.size());
  int64_t chunks = 0;
  for (const Scored& scored : tensors) chunks += chunks_of(scored.size);
  const Tensor zeros =
      torch::stable::new_zeros(like, {kDigits + int64_t(sizeof(Known) / sizeof(int64_t))}, ScalarType::Long);
  pass.histogram = reinterpret_cast<uint64_t*>(zeros.mutable_data_ptr<int64_t>());
  pass.known = reinterpret_cast<Known*>(pass.histogram + kDigits);
  Workspace workspace(like);
  pass.ties = workspace.room<int32_t>({chunks});
  pass.facts = facts.mutable_data_ptr<int64_t>();
  launch_on(like, [&](cudaStream_t stream) { return select_on_device(pass, stream); });
  return facts;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(lsh, CUDA, m) { m.impl("toggle_", TORCH_BOX(&toggle_on_cuda_)); }

}  // namespace lsh
