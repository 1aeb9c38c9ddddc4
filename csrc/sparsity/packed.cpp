// lsh::pack_weight: what kernels make of a weight before they multiply, and its way back into them.
#include "sparsity/packed.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cstring>

#include "common/simd_level.h"
#include "common/team.h"
#include "sparsity/cpu_patterns.h"
#include "sparsity/prepare_lookup.h"

namespace lsh {

LSH_DISPATCH(PackTable, pack_weight)

namespace {

const PackKernels<float>& kernels(float) { return pack_weight_table().float32; }
const PackKernels<double>& kernels(double) { return pack_weight_table().float64; }

template <class T>
int64_t workers_for(const SparseMatrix<T>& weight) {
  return 1 + weight.pattern.non_zeros / 65536;
}

// A tensor with a header and room for the arrays of `matrix`, which are laid out in it. Zeros, so that no byte of it is
// left to chance.
template <class T, class Matrix>
Tensor bytes_for(const SparseMatrix<T>& from, Matrix& matrix, int64_t room, PackedKind kind, const Tensor& like) {
  constexpr uintptr_t kHeader = kPackedHeader * sizeof(int64_t);
  Tensor bytes = torch::stable::new_zeros(like, {int64_t(kHeader + lay_out(matrix, room, 0))}, ScalarType::Byte);
  const auto begin = reinterpret_cast<uintptr_t>(bytes.mutable_data_ptr());
  lay_out(matrix, room, begin + kHeader);
  int64_t header[kPackedHeader] = {kPackedMark, kind, int64_t(sizeof(T)), from.pattern.non_zeros};
  static_assert(sizeof(matrix.plan) + (kPackedPlan + 1) * sizeof(int64_t) <= kHeader);
  header[kPackedPlan] = room;
  std::memcpy(header + kPackedPlan + 1, &matrix.plan, sizeof(matrix.plan));
  std::memcpy(reinterpret_cast<void*>(begin), header, kHeader);
  return bytes;
}

// Look-up groups take as much room as a list might need; kept for many calls, they stand close together.
template <class T>
Tensor packed_lookup(const SparseMatrix<T>& weight, int64_t gates, const Tensor& like, Workspace& workspace) {
  const LookupMatrix<T> loose = prepare_lookup(weight, gates, workspace);
  run_team(workers_for(weight),
           [&](const Worker& worker) { kernels(T()).lookup(weight, loose, share(worker, loose.plan.slices())); });
  LookupMatrix<T> tight{loose.plan};
  const int64_t lists = loose.plan.slices() * loose.plan.lists(), places = loose.plan.sharing() * loose.plan.width;
  const int64_t together = loose.plan.together(), words = loose.plan.width;
  int64_t groups = 0;
  for (int64_t l = 0; l < lists; ++l) groups += loose.counts[l];
  Tensor bytes = bytes_for(weight, tight, groups, kLookupKind, like);
  groups = 0;
  for (int64_t l = 0; l < lists; ++l) {
    const int64_t from = loose.starts[l], count = tight.counts[l] = loose.counts[l];
    tight.starts[l] = groups;
    std::copy_n(loose.bases + from, count, tight.bases + groups);
    std::copy_n(loose.values + from * places, count * places, tight.values + groups * places);
    std::copy_n(loose.indices + from / together * words, count / together * words,
                tight.indices + groups / together * words);
    groups += count;
  }
  return bytes;
}

// Panels take as much room as groups might need; likewise.
template <class T>
Tensor packed_panels(const SparseMatrix<T>& weight, int64_t gates, int64_t lanes, const Tensor& like,
                     Workspace& workspace) {
  const PanelMatrix<T> loose = panels_by_rows(weight, gates, lanes, workspace);
  run_team(workers_for(weight),
           [&](const Worker& worker) { kernels(T()).panels(weight, loose, share(worker, loose.plan.chunks)); });
  PanelMatrix<T> tight{loose.plan};
  const PanelPlan& plan = loose.plan;
  const int64_t starts = plan.panels * plan.groups() + 1, R = plan.bundle_rows;
  const auto length = [&](int64_t chunk) {
    return plan.group_rows() * int64_t(loose.starts[(chunk + 1) * starts - 1]);
  };
  int64_t entries = 0;
  for (int64_t c = 0; c < plan.chunks; ++c) entries += length(c);
  Tensor bytes = bytes_for(weight, tight, entries, kPanelKind, like);
  std::copy_n(loose.starts, plan.starts(), tight.starts);
  std::copy_n(loose.slots, plan.slots(), tight.slots);
  entries = 0;
  for (int64_t c = 0; c < plan.chunks; ++c) {
    tight.bases[c] = entries;
    std::copy_n(loose.values + loose.bases[c], length(c), tight.values + entries);
    std::copy_n(loose.offsets + loose.bases[c] / R, length(c) / R, tight.offsets + entries / R);
    entries += length(c);
  }
  return bytes;
}

template <class T>
Tensor pack(const Tensor& weight, const Tensor& pattern, int64_t rows, int64_t columns, int64_t gates, int64_t lanes) {
  Workspace workspace(weight);
  const auto matrix =
      prepare_matrix<T, CpuPatterns>(weight, pattern, rows, columns, weight, "weight", "pattern", workspace);
  if (lanes <= kFewItems) return packed_lookup(matrix, gates, weight, workspace);
  return packed_panels(matrix, gates, lanes, weight, workspace);
}

Tensor pack_weight(Tensor weight, Tensor pattern, int64_t rows, int64_t columns, int64_t gates, int64_t lanes) {
  check_floating(weight, "weight");
  STD_TORCH_CHECK(weight.is_cpu(), "weight must be on the CPU");
  STD_TORCH_CHECK(gates >= 1 && gates <= 4 && rows % gates == 0, "gates must be in [1, 4] and divide ", rows,
                  " rows, got ", gates);
  STD_TORCH_CHECK(lanes >= 1, "lanes must be at least 1, got ", lanes);
  const auto run = weight.scalar_type() == ScalarType::Float ? &pack<float> : &pack<double>;
  return run(weight, pattern, rows, columns, gates, lanes);
}

}  // namespace

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  m.def("pack_weight(Tensor weight, Tensor pattern, int rows, int columns, int gates, int lanes) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { m.impl("pack_weight", TORCH_BOX(&pack_weight)); }

}  // namespace lsh
