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

template <class Bits>
void copy_of(const Bits* values, const uint8_t* mask, int64_t begin, int64_t end, Bits* out) {
  for (int64_t i = begin; i < end; ++i) out[i] = mask[i] ? values[i] : Bits(0);
}

// Calls body(a number of the bits that numbers have).
template <class Body>
void for_bits(int64_t bytes, const Body& body) {
  if (bytes == 2) {
    body(uint16_t());
  } else if (bytes == 4) {
    body(uint32_t());
  } else {
    body(uint64_t());
  }
}

void zero(void* values, int64_t bytes, const uint8_t* mask, int64_t begin, int64_t end) {
  for_bits(bytes, [&](auto bits) { zero_of(static_cast<decltype(bits)*>(values), mask, begin, end); });
}

void copy(const void* values, int64_t bytes, const uint8_t* mask, int64_t begin, int64_t end, void* out) {
  for_bits(bytes, [&](auto bits) {
    using Bits = decltype(bits);
    copy_of(static_cast<const Bits*>(values), mask, begin, end, static_cast<Bits*>(out));
  });
}

}  // namespace

extern const ZeroDeadTable zero_dead;
const ZeroDeadTable zero_dead = {zero, copy};

}  // namespace LSH_LEVEL
}  // namespace lsh
