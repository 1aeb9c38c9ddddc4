#include "common/bits.h"

#include <algorithm>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace lsh {

BitMatrix pack(const unsigned char* bytes, int64_t rows, int64_t columns) {
  BitMatrix bits(rows, columns);
  for (int64_t r = 0; r < rows; ++r) pack_row(bytes + r * columns, columns, bits.row(r));
  return bits;
}

void pack_row(const unsigned char* bytes, int64_t columns, uint64_t* row) {
  std::fill_n(row, (columns + 63) / 64, 0);
  int64_t c = 0;
#ifdef __SSE2__
  for (; c + 16 <= columns; c += 16) {
    const __m128i sixteen = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes + c));
    const int zeros = _mm_movemask_epi8(_mm_cmpeq_epi8(sixteen, _mm_setzero_si128()));
    row[c >> 6] |= uint64_t(~zeros & 0xffff) << (c & 63);
  }
#endif
  for (; c + 8 <= columns; c += 8) {
    constexpr uint64_t low = 0x7f7f7f7f7f7f7f7f, first_bits = 0x0101010101010101;
    uint64_t eight;
    std::memcpy(&eight, bytes + c, 8);
    const uint64_t truth = (((eight & low) + low) | eight) >> 7 & first_bits;
    row[c >> 6] |= (truth * 0x0102040810204080 >> 56) << (c & 63);  // byte k becomes bit k
  }
  for (; c < columns; ++c) row[c >> 6] |= uint64_t{bytes[c] != 0} << (c & 63);
}

namespace {

// Transposes 64 x 64 bits in place: halves swap across the diagonal, then quarters, down to single bits.
void transpose_block(uint64_t block[64]) {
  uint64_t mask = 0x00000000ffffffff;
  for (int half = 32; half != 0; half >>= 1, mask ^= mask << half) {
    for (int first = 0; first < 64; first += 2 * half) {
      for (int k = first; k < first + half; ++k) {
        const uint64_t swap = (block[k] >> half ^ block[k + half]) & mask;
        block[k] ^= swap << half;
        block[k + half] ^= swap;
      }
    }
  }
}

}  // namespace

BitMatrix transposed(const BitMatrix& bits) {
  BitMatrix result(bits.columns(), bits.rows());
  transpose_words(bits, 0, bits.words(), result);
  return result;
}

void transpose_words(const BitMatrix& bits, int64_t begin, int64_t end, BitMatrix& result) {
  for (int64_t w = begin; w < end; ++w) {
    const int64_t width = std::min<int64_t>(64, bits.columns() - w * 64);
    for (int64_t r = 0; r < bits.rows(); r += 64) {
      uint64_t block[64] = {};
      const int64_t height = std::min<int64_t>(64, bits.rows() - r);
      for (int64_t k = 0; k < height; ++k) block[k] = bits.row(r + k)[w];
      transpose_block(block);
      for (int64_t k = 0; k < width; ++k) result.row(w * 64 + k)[r >> 6] = block[k];
    }
  }
}

}  // namespace lsh
