// Packs whole matrices at one SIMD level.
#include "sparsity/packed.h"
#include "sparsity/lookup.simd.h"
#include "sparsity/panels.simd.h"

namespace lsh {
namespace LSH_LEVEL {
namespace {

template <class T>
void panels(const SparseMatrix<T>& matrix, const PanelMatrix<T>& out) {
  pack_rows(matrix, out, {0, out.plan.chunks});
}

template <class T>
void lookup(const SparseMatrix<T>& matrix, const LookupMatrix<T>& out) {
  pack_slices(matrix, out, {0, out.plan.slices()});
}

}  // namespace

extern const PackTable pack_weight;
const PackTable pack_weight = {{panels<float>, lookup<float>}, {panels<double>, lookup<double>}};

}  // namespace LSH_LEVEL
}  // namespace lsh
