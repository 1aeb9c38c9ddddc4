// Setting to zero what masks leave out: the kernel's interface.
#pragma once

#include <cstdint>

namespace lsh {

struct ZeroDeadTable {
  // Zeroes the entries [begin, end) of numbers of 2, 4 or 8 bytes whose mask is false; touches no other memory.
  void (*zero)(void* values, int64_t bytes, const uint8_t* mask, int64_t begin, int64_t end);
  // Copies those entries to `out`, zero where the mask is false.
  void (*copy)(const void* values, int64_t bytes, const uint8_t* mask, int64_t begin, int64_t end, void* out);
};

}  // namespace lsh
