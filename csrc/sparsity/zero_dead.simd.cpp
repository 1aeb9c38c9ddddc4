// Zeroing by mask at one SIMD level. Memory-bound: blocks whose dead entries are zero already are only read.
#include "sparsity/zero_dead.h"

namespace lsh {
namespace LSH_LEVEL {
namespace {

constexpr int64_t kBlock = 256;

template <class Bits>
void zero_of(Bits* values, const uint8_t* mask, int64_t begin, int64_t end) {
  for (int64_t base = begin; base < end; base += kBlock) {
    const int64_t size = end - base < kBlock ? end - base : kBlock;
    Bits* const value = values + base;
    const uint8_t* const live = mask + base;
    Bits found = 0;
    for (int64_t i = 0; i < size; ++i) found |= live[i] ? Bits(0) : value[i];
    if (!found) continue;
    for (int64_t i = 0; i < size; ++i) value[i] = live[i] ? value[i] : Bits(0);
  }
}

void zero(void* values, int64_t bytes, const uint8_t* mask, int64_t begin, int64_t end) {
  if (bytes == 2) {
    zero_of(static_cast<uint16_t*>(values), mask, begin, end);
  } else if (bytes == 4) {
    zero_of(static_cast<uint32_t*>(values), mask, begin, end);
  } else {
    zero_of(static_cast<uint64_t*>(values), mask, begin, end);
  }
}

}  // namespace

extern const ZeroDeadTable zero_dead;
const ZeroDeadTable zero_dead = {zero};

}  // namespace LSH_LEVEL
}  // namespace lsh
