#include "lattice/condense.h"

#include <algorithm>
#include <numeric>

namespace lsh {

namespace {

// Depth-first search through the elements not visited yet.
class Search {
 public:
  explicit Search(const BitMatrix& relation) : relation_(relation), unvisited_(relation.words(), ~uint64_t{0}) {
    if (relation.columns() & 63) unvisited_.back() = (uint64_t{1} << (relation.columns() & 63)) - 1;
  }

  // Visits what `root` reaches; calls leave(element) in the order of finishing.
  template <class Leave>
  void from(int64_t root, const Leave& leave) {
    if ((unvisited_[root >> 6] >> (root & 63) & 1) == 0) return;
    enter(root);
    while (!path_.empty()) {
      auto& [element, word] = path_.back();
      const uint64_t* row = relation_.row(element);
      while (word < relation_.words() && (row[word] & unvisited_[word]) == 0) ++word;
      if (word < relation_.words()) {
        enter(word * 64 + std::countr_zero(row[word] & unvisited_[word]));
      } else {
        leave(element);
        path_.pop_back();
      }
    }
  }

 private:
  void enter(int64_t element) {
    unvisited_[element >> 6] &= ~(uint64_t{1} << (element & 63));
    path_.emplace_back(element, 0);
  }

  const BitMatrix& relation_;
  std::vector<uint64_t> unvisited_;
  std::vector<std::pair<int64_t, int64_t>> path_;  // element, and the word of its row to go on from
};

}  // namespace

Condensed condense(const BitMatrix& relation) {
  const int64_t n = relation.rows(), words = relation.words();
  std::vector<int64_t> finished;
  finished.reserve(n);
  Search forwards(relation);
  for (int64_t root = 0; root < n; ++root) {
    forwards.from(root, [&](int64_t element) { finished.push_back(element); });
  }

  const BitMatrix reversed = transposed(relation);
  Search backwards(reversed);
  std::vector<int64_t> component(n), elements, begin{0};
  elements.reserve(n);
  for (auto root = finished.rbegin(); root != finished.rend(); ++root) {
    backwards.from(*root, [&](int64_t element) {
      component[element] = int64_t(begin.size()) - 1;
      elements.push_back(element);
    });
    if (int64_t(elements.size()) == begin.back()) continue;
    std::sort(elements.begin() + begin.back(), elements.end());
    begin.push_back(int64_t(elements.size()));
  }

  const int64_t count = int64_t(begin.size()) - 1;
  std::vector<bool> cyclic(count);
  BitMatrix edges(count, count);
  std::vector<uint64_t> targets(words);
  for (int64_t c = 0; c < count; ++c) {
    cyclic[c] = begin[c + 1] - begin[c] > 1 || relation.test(elements[begin[c]], elements[begin[c]]);
    std::fill(targets.begin(), targets.end(), 0);
    for (int64_t k = begin[c]; k < begin[c + 1]; ++k) {
      for (int64_t w = 0; w < words; ++w) targets[w] |= relation.row(elements[k])[w];
    }
    for (int64_t k = begin[c]; k < begin[c + 1]; ++k) targets[elements[k] >> 6] &= ~(uint64_t{1} << (elements[k] & 63));
    for_each_bit(targets.data(), words, [&](int64_t target) { edges.set(c, component[target]); });
  }
  return {std::move(component), std::move(elements), std::move(begin), std::move(cyclic), std::move(edges)};
}

std::pair<int64_t, int64_t> cycle(const Condensed& condensed) {
  for (int64_t c = 0; c < condensed.count(); ++c) {
    if (condensed.begin[c + 1] - condensed.begin[c] > 1) {
      return {condensed.first(c), condensed.elements[condensed.begin[c] + 1]};
    }
  }
  return {-1, -1};
}

Sorted sort_by_height(const BitMatrix& relation) {
  const int64_t n = relation.rows(), words = relation.words();
  BitMatrix above = relation;
  std::vector<int64_t> size(n), elements(n);
  for (int64_t m = 0; m < n; ++m) {
    above.reset(m, m);
    size[m] = count_bits(above.row(m), words);
  }
  std::iota(elements.begin(), elements.end(), 0);
  std::stable_sort(elements.begin(), elements.end(), [&](int64_t a, int64_t b) { return size[a] > size[b]; });
  const auto sorted_rows = [&](const BitMatrix& matrix) {
    BitMatrix sorted(n, n);
    for (int64_t k = 0; k < n; ++k) std::copy_n(matrix.row(elements[k]), words, sorted.row(k));
    return sorted;
  };
  BitMatrix below = sorted_rows(transposed(sorted_rows(above)));
  above = transposed(below);
  return {std::move(elements), std::move(above), std::move(below)};
}

bool is_order(const Sorted& sorted) {
  for (int64_t m = 0; m < sorted.above.rows(); ++m) {
    const uint64_t* row = sorted.above.row(m);
    if (std::any_of(row, row + (m >> 6), [](uint64_t word) { return word != 0; })) return false;
    if (row[m >> 6] & ((uint64_t{2} << (m & 63)) - 1)) return false;
  }
  return reach(sorted.above).above == sorted.above;
}

Order reach(const BitMatrix& ascending) {
  const int64_t n = ascending.rows(), words = ascending.words();
  Order order{BitMatrix(n, n), BitMatrix(n, n)};
  std::vector<uint64_t> rest(words);
  for (int64_t m = n - 1; m >= 0; --m) {
    std::copy_n(ascending.row(m), words, rest.begin());
    uint64_t* above = order.above.row(m);
    // The least of what is left lies above nothing else that is left: it is a cover, and takes all above it along.
    for (int64_t w = m >> 6; w < words; ++w) {
      while (rest[w] != 0) {
        const int64_t x = w * 64 + std::countr_zero(rest[w]);
        order.covers.set(m, x);
        order.above.set(m, x);
        rest[w] &= rest[w] - 1;
        const uint64_t* beyond = order.above.row(x);
        for (int64_t v = w; v < words; ++v) {
          above[v] |= beyond[v];
          rest[v] &= ~beyond[v];
        }
      }
    }
  }
  return order;
}

}  // namespace lsh
