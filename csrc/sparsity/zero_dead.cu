// Zeroing by mask on a device: one thread per entry. Bound by memory: reads the mask, writes the dead entries.
#include "common/launch.cuh"
#include "sparsity/zero_dead_launch.h"

namespace lsh {
namespace {

template <class Bits>
__global__ void zero_where_dead(Bits* values, const uint8_t* mask, int64_t size) {
  const int64_t item = this_item();
  if (item < size && !mask[item]) values[item] = 0;
}

template <class Bits>
cudaError_t zero_bits(void* values, const uint8_t* mask, int64_t size, cudaStream_t stream) {
  Launches on(stream);
  on.items(size, zero_where_dead<Bits>, static_cast<Bits*>(values), mask, size);
  return on.error();
}

}  // namespace

cudaError_t zero_dead_on_device(void* values, int64_t bytes, const uint8_t* mask, int64_t size, cudaStream_t stream) {
  if (bytes == 2) return zero_bits<uint16_t>(values, mask, size, stream);
  if (bytes == 4) return zero_bits<uint32_t>(values, mask, size, stream);
  return zero_bits<uint64_t>(values, mask, size, stream);
}

}  // namespace lsh
