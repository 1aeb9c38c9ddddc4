// The packing of matrices at one SIMD level.
#include "sparsity/packed.h"
#include "sparsity/lookup.simd.h"
#include "sparsity/panels.simd.h"

namespace lsh {
namespace LSH_LEVEL {

extern const PackTable pack_weight;
const PackTable pack_weight = {{pack_rows<float>, pack_slices<float>}, {pack_rows<double>, pack_slices<double>}};

}  // namespace LSH_LEVEL
}  // namespace lsh
