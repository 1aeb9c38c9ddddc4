// A matrix of bits, one row of 64-bit words after the other; bits past the last column stay zero.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <vector>

namespace lsh {

class BitMatrix {
 public:
  BitMatrix(int64_t rows, int64_t columns)
      : rows_(rows), columns_(columns), words_((columns + 63) / 64), bits_(rows * words_) {}

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }
  int64_t words() const { return words_; }
  uint64_t* row(int64_t r) { return bits_.data() + r * words_; }
  const uint64_t* row(int64_t r) const { return bits_.data() + r * words_; }
  bool test(int64_t r, int64_t c) const { return row(r)[c >> 6] >> (c & 63) & 1; }
  void set(int64_t r, int64_t c) { row(r)[c >> 6] |= uint64_t{1} << (c & 63); }
  void reset(int64_t r, int64_t c) { row(r)[c >> 6] &= ~(uint64_t{1} << (c & 63)); }
  bool operator==(const BitMatrix&) const = default;

 private:
  int64_t rows_, columns_, words_;
  std::vector<uint64_t> bits_;
};

// Calls visit(bit) for each set bit of a row, in ascending order.
template <class Visit>
void for_each_bit(const uint64_t* row, int64_t words, const Visit& visit) {
  for (int64_t w = 0; w < words; ++w) {
    for (uint64_t word = row[w]; word != 0; word &= word - 1) visit(w * 64 + std::countr_zero(word));
  }
}

inline bool is_subset(const uint64_t* a, const uint64_t* b, int64_t words) {
  for (int64_t w = 0; w < words; ++w) {
    if (a[w] & ~b[w]) return false;
  }
  return true;
}

inline int64_t count_bits(const uint64_t* row, int64_t words) {
  int64_t count = 0;
  for (int64_t w = 0; w < words; ++w) count += std::popcount(row[w]);
  return count;
}

// Row-major bytes of bools, any of which but 0 counts as true, to bits: all of them, or one row.
BitMatrix pack(const unsigned char* bytes, int64_t rows, int64_t columns);
void pack_row(const unsigned char* bytes, int64_t columns, uint64_t* row);

// All of a matrix, or those rows of the result that come from its words [begin, end).
BitMatrix transposed(const BitMatrix& bits);
void transpose_words(const BitMatrix& bits, int64_t begin, int64_t end, BitMatrix& result);

}  // namespace lsh
