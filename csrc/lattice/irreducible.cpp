#include "lattice/irreducible.h"

#include <algorithm>
#include <numeric>

namespace lsh {

std::vector<bool> irreducible(const BitMatrix& sets, const BitMatrix& above) {
  const int64_t words = sets.words();
  std::vector<bool> result(sets.rows());
  std::vector<uint64_t> rest(above.words()), meet(words);
  for (int64_t m = 0; m < sets.rows(); ++m) {
    std::copy_n(above.row(m), above.words(), rest.begin());
    std::fill(meet.begin(), meet.end(), ~uint64_t{0});
    if (sets.columns() & 63) meet.back() = (uint64_t{1} << (sets.columns() & 63)) - 1;
    for (int64_t w = 0; w < above.words(); ++w) {
      while (rest[w] != 0) {
        // What lies above a set that was met already takes nothing more away.
        const int64_t x = w * 64 + std::countr_zero(rest[w]);
        rest[w] &= rest[w] - 1;
        for (int64_t v = w; v < above.words(); ++v) rest[v] &= ~above.row(x)[v];
        for (int64_t v = 0; v < words; ++v) meet[v] &= sets.row(x)[v];
      }
    }
    result[m] = !std::equal(meet.begin(), meet.end(), sets.row(m));
  }
  return result;
}

std::vector<int64_t> first_equal(const BitMatrix& sets) {
  std::vector<int64_t> by_content(sets.rows());
  std::iota(by_content.begin(), by_content.end(), 0);
  const auto compare = [&](int64_t a, int64_t b) {
    return std::lexicographical_compare_three_way(sets.row(a), sets.row(a) + sets.words(), sets.row(b),
                                                  sets.row(b) + sets.words());
  };
  std::sort(by_content.begin(), by_content.end(), [&](int64_t a, int64_t b) {
    const auto order = compare(a, b);
    return order != 0 ? order < 0 : a < b;
  });
  std::vector<int64_t> first(sets.rows());
  for (int64_t k = 0; k < sets.rows(); ++k) {
    const int64_t set = by_content[k];
    const bool equal = k > 0 && compare(by_content[k - 1], set) == 0;
    first[set] = equal ? first[by_content[k - 1]] : set;
  }
  return first;
}

std::vector<bool> irreducible(const BitMatrix& sets, bool shared) {
  const std::vector<int64_t> first = first_equal(sets);
  std::vector<int64_t> size(sets.rows()), kept;
  for (int64_t m = 0; m < sets.rows(); ++m) {
    size[m] = count_bits(sets.row(m), sets.words());
    if (first[m] == m) kept.push_back(m);
  }
  // A set lies below larger ones only, so that by size the order ascends.
  std::stable_sort(kept.begin(), kept.end(), [&](int64_t a, int64_t b) { return size[a] < size[b]; });
  const int64_t count = int64_t(kept.size());
  BitMatrix ascending(count, sets.columns()), above(count, count);
  for (int64_t k = 0; k < count; ++k) std::copy_n(sets.row(kept[k]), sets.words(), ascending.row(k));
  for (int64_t k = 0; k < count; ++k) {
    for (int64_t j = k + 1; j < count; ++j) {
      if (is_subset(ascending.row(k), ascending.row(j), sets.words())) above.set(k, j);
    }
  }
  const std::vector<bool> of_kept = irreducible(ascending, above);
  std::vector<bool> result(sets.rows());
  for (int64_t k = 0; k < count; ++k) result[kept[k]] = of_kept[k];
  for (int64_t m = 0; shared && m < sets.rows(); ++m) result[m] = result[first[m]];
  return result;
}

}  // namespace lsh
