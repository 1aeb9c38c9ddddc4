#include "lattice/condense.h"

#include <algorithm>

namespace lsh {

namespace {

// Depth-first search from `root` through unvisited elements; calls leave(element) in the order of finishing.
template <class Leave>
void search(const BitMatrix& relation, int64_t root, std::vector<uint64_t>& unvisited, const Leave& leave) {
  std::vector<std::pair<int64_t, int64_t>> path;  // element, and the word of its row to go on from
  const auto enter = [&](int64_t element) {
    unvisited[element >> 6] &= ~(uint64_t{1} << (element & 63));
    path.emplace_back(element, 0);
  };
  enter(root);
  while (!path.empty()) {
    auto& [element, word] = path.back();
    const uint64_t* row = relation.row(element);
    while (word < relation.words() && (row[word] & unvisited[word]) == 0) ++word;
    if (word < relation.words()) {
      enter(word * 64 + std::countr_zero(row[word] & unvisited[word]));
    } else {
      leave(element);
      path.pop_back();
    }
  }
}

std::vector<uint64_t> all_bits(int64_t count) {
  std::vector<uint64_t> bits((count + 63) / 64, ~uint64_t{0});
  if (count & 63) bits.back() = (uint64_t{1} << (count & 63)) - 1;
  return bits;
}

}  // namespace

Condensed condense(const BitMatrix& relation) {
  const int64_t n = relation.rows();
  std::vector<int64_t> finished;
  finished.reserve(n);
  std::vector<uint64_t> unvisited = all_bits(n);
  for (int64_t root = 0; root < n; ++root) {
    if (unvisited[root >> 6] >> (root & 63) & 1) {
      search(relation, root, unvisited, [&](int64_t element) { finished.push_back(element); });
    }
  }

  std::vector<int64_t> component(n), first;
  std::vector<std::vector<int64_t>> members;
  const BitMatrix reversed = transposed(relation);
  unvisited = all_bits(n);
  for (auto root = finished.rbegin(); root != finished.rend(); ++root) {
    if ((unvisited[*root >> 6] >> (*root & 63) & 1) == 0) continue;
    auto& found = members.emplace_back();
    search(reversed, *root, unvisited, [&](int64_t element) {
      component[element] = int64_t(members.size()) - 1;
      found.push_back(element);
    });
    first.push_back(*std::min_element(found.begin(), found.end()));
  }

  const int64_t count = int64_t(members.size());
  std::vector<bool> cyclic(count);
  BitMatrix edges(count, count);
  std::vector<uint64_t> targets(relation.words());
  for (int64_t c = 0; c < count; ++c) {
    cyclic[c] = members[c].size() > 1 || relation.test(first[c], first[c]);
    std::fill(targets.begin(), targets.end(), 0);
    for (const int64_t element : members[c]) {
      for (int64_t w = 0; w < relation.words(); ++w) targets[w] |= relation.row(element)[w];
    }
    for (const int64_t element : members[c]) targets[element >> 6] &= ~(uint64_t{1} << (element & 63));
    for_each_bit(targets.data(), relation.words(), [&](int64_t target) { edges.set(c, component[target]); });
  }
  return {std::move(component), std::move(first), std::move(cyclic), std::move(edges)};
}

std::pair<int64_t, int64_t> cycle(const Condensed& condensed) {
  for (int64_t element = 0; element < int64_t(condensed.component.size()); ++element) {
    const int64_t first = condensed.first[condensed.component[element]];
    if (first != element) return {first, element};
  }
  return {-1, -1};
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
