// lsh::pack_panels: a sparse weight made ready for many products with lanes.
#include "sparsity/packed_panels.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>

#include "common/simd_level.h"
#include "common/team.h"
#include "sparsity/cpu_patterns.h"
#include "sparsity/prepare_panels.h"

namespace lsh {

LSH_DISPATCH(PackPanelsTable, pack_panels)

namespace {

constexpr int64_t kPanelsMark = 0x4c53484e;
constexpr int64_t kPanelsHeader = 8;
enum PanelsField { kPanelsMarkAt, kRowsAt, kColumnsAt, kGatesAt, kBytesAt, kLanesAt, kNonZerosAt, kBundlesAt };

// Bundles as one number.
int64_t number_of(Bundles bundles) { return 2 * bundles.rows + bundles.of_gates; }
Bundles bundles_of(int64_t number) { return {number / 2, number % 2 != 0}; }

bool can_bundle(Bundles bundles, int64_t gates, int64_t units) {
  if (bundles.rows == 1 && !bundles.of_gates) return true;
  if (bundles.of_gates) return bundles.rows == gates && gates >= 2 && gates <= 4;
  return (bundles.rows == 4 || bundles.rows == most_group_rows()) && units % bundles.rows == 0;
}

const auto& kernel(float) { return pack_panels_table().float32; }
const auto& kernel(double) { return pack_panels_table().float64; }

// Where everything stands, and how long the tensor is.
template <class T>
struct Layout {
  PanelPlan plan;
  int64_t values, offsets, starts, slots, bases, bytes;

  static Layout of(int64_t gates, int64_t units, int64_t columns, int64_t lanes, int64_t non_zeros, Bundles bundles) {
    const double entries = double(gates) * double(units) * double(columns);
    const double density = double(non_zeros) / std::max(entries, 1.0);
    Layout layout{};
    layout.plan = plan_panels(units, gates, columns, slab_lanes(lanes) * int64_t(sizeof(T)), density, bundles);
    int64_t at = kPanelsHeader * int64_t(sizeof(int64_t));
    const auto add = [&at](int64_t count, int64_t size) {
      const int64_t begin = at;
      at += (count * size + 63) / 64 * 64;
      return begin;
    };
    layout.values = add(layout.plan.entries(non_zeros), sizeof(T));
    layout.offsets = add(layout.plan.places(non_zeros), sizeof(uint16_t));
    layout.starts = add(layout.plan.starts(), sizeof(int32_t));
    layout.slots = add(layout.plan.slots(), sizeof(uint8_t));
    layout.bases = add(layout.plan.chunks, sizeof(int64_t));
    layout.bytes = at;
    return layout;
  }

  PanelMatrix<T> in(char* memory) const {
    return {plan,
            reinterpret_cast<T*>(memory + values),
            reinterpret_cast<uint16_t*>(memory + offsets),
            reinterpret_cast<int32_t*>(memory + starts),
            reinterpret_cast<uint8_t*>(memory + slots),
            reinterpret_cast<int64_t*>(memory + bases)};
  }
};

template <class T>
Tensor pack_panels_as(const Tensor& weight, const Tensor& pattern, int64_t gates, int64_t lanes, int64_t rows,
                      int64_t columns) {
  Workspace workspace(weight);
  const SparseMatrix<T> matrix =
      prepare_matrix<T, CpuPatterns>(weight, pattern, rows, columns, weight, "weight", "pattern", workspace);
  const int64_t non_zeros = matrix.pattern.non_zeros;
  const Bundles bundles = find_bundles(matrix.pattern, gates, most_group_rows());
  const Layout<T> layout = Layout<T>::of(gates, rows / gates, columns, lanes, non_zeros, bundles);
  Tensor packed = torch::stable::new_zeros(weight, {layout.bytes}, ScalarType::Byte);
  char* memory = reinterpret_cast<char*>(packed.mutable_data_ptr());
  const int64_t header[kPanelsHeader] = {kPanelsMark,        rows,  columns,   gates,
                                         int64_t(sizeof(T)), lanes, non_zeros, number_of(bundles)};
  std::copy(header, header + kPanelsHeader, reinterpret_cast<int64_t*>(memory));
  const PanelMatrix<T> panels = layout.in(memory);
  run_team(1 + non_zeros / 65536,
           [&](const Worker& worker) { kernel(T())(matrix, panels, share(worker, layout.plan.chunks)); });
  return packed;
}

Tensor pack_panels(Tensor weight, Tensor pattern, int64_t rows, int64_t columns, int64_t gates, int64_t lanes) {
  check_floating(weight, "weight");
  STD_TORCH_CHECK(gates >= 1 && gates <= kChunkRows && rows >= gates && rows % gates == 0 && columns >= 1 && lanes >= 1,
                  "rows must be a positive multiple of gates, columns and lanes positive, got rows ", rows, ", gates ",
                  gates, ", columns ", columns, ", lanes ", lanes);
  return weight.scalar_type() == ScalarType::Float
             ? pack_panels_as<float>(weight, pattern, gates, lanes, rows, columns)
             : pack_panels_as<double>(weight, pattern, gates, lanes, rows, columns);
}

}  // namespace

template <class T>
PanelMatrix<T> checked_panels(const Tensor& packed, int64_t gates, int64_t units, int64_t columns, int64_t lanes,
                              const char* name) {
  const bool readable = packed.is_cpu() && packed.is_contiguous() && packed.dim() == 1 &&
                        packed.scalar_type() == ScalarType::Byte &&
                        packed.size(0) >= kPanelsHeader * int64_t(sizeof(int64_t));
  STD_TORCH_CHECK(readable, name, " must be a tensor that lsh::pack_panels returned, got ",
                  dtype_name(packed.scalar_type()), " of shape ", shape_text(packed));
  char* memory = const_cast<char*>(reinterpret_cast<const char*>(packed.const_data_ptr()));
  const int64_t* header = reinterpret_cast<const int64_t*>(memory);
  const bool fits = header[kPanelsMarkAt] == kPanelsMark && header[kRowsAt] == gates * units &&
                    header[kColumnsAt] == columns && header[kGatesAt] == gates &&
                    header[kBytesAt] == int64_t(sizeof(T)) && slab_lanes(header[kLanesAt]) == slab_lanes(lanes);
  STD_TORCH_CHECK(fits, name, " must be packed for ", gates, " gates of ", units, " units, ", columns, " columns and ",
                  lanes, " lanes of this dtype");
  const int64_t non_zeros = header[kNonZerosAt];
  const Bundles bundles = bundles_of(header[kBundlesAt]);
  const bool possible = non_zeros >= 0 && non_zeros <= gates * units * columns && can_bundle(bundles, gates, units);
  const Layout<T> layout =
      Layout<T>::of(gates, units, columns, lanes, possible ? non_zeros : 0, possible ? bundles : Bundles{});
  STD_TORCH_CHECK(possible && packed.size(0) == layout.bytes, name, " must be as long as it was packed, got ",
                  packed.size(0), " bytes");
  const PanelMatrix<T> panels = layout.in(memory);
  const PanelPlan& plan = layout.plan;
  const int64_t room = plan.entries(non_zeros), per_chunk = plan.panels * plan.groups();
  int64_t end = 0;  // of what products read of the entries
  bool ascending = true;
  for (int64_t c = 0; c < plan.chunks; ++c) {
    const int32_t* starts = panels.starts + c * (per_chunk + 1);
    ascending = ascending && starts[0] == 0 && panels.bases[c] >= 0 && panels.bases[c] <= room &&
                panels.bases[c] % plan.bundle_rows == 0;
    for (int64_t g = 0; g < per_chunk; ++g) ascending = ascending && starts[g] <= starts[g + 1];
    if (ascending) end = std::max(end, panels.bases[c] + plan.group_rows() * int64_t(starts[per_chunk]));
  }
  uint16_t furthest = 0;
  if (ascending && end <= room) {
    for (int64_t i = 0; i < end / plan.bundle_rows; ++i) furthest = std::max(furthest, panels.offsets[i]);
  }
  uint8_t last_slot = 0;
  for (int64_t i = 0; i < plan.slots(); ++i) last_slot = std::max(last_slot, panels.slots[i]);
  STD_TORCH_CHECK(ascending && end <= room && furthest < 8 * plan.panel_columns && last_slot <= kChunkRows, name,
                  " must be as lsh::pack_panels left it");
  return panels;
}

template PanelMatrix<float> checked_panels<float>(const Tensor&, int64_t, int64_t, int64_t, int64_t, const char*);
template PanelMatrix<double> checked_panels<double>(const Tensor&, int64_t, int64_t, int64_t, int64_t, const char*);

STABLE_TORCH_LIBRARY_FRAGMENT(lsh, m) {
  m.def("pack_panels(Tensor weight, Tensor pattern, int rows, int columns, int gates, int lanes) -> Tensor");
}
STABLE_TORCH_LIBRARY_IMPL(lsh, CPU, m) { m.impl("pack_panels", TORCH_BOX(&pack_panels)); }

}  // namespace lsh
