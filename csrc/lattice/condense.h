// A relation condensed to the acyclic relation of its strongly connected components, and what that one reaches.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "common/bits.h"

namespace lsh {

struct Condensed {
  std::vector<int64_t> component;  // of each element; numbered in a topological order, so that edges ascend
  std::vector<int64_t> elements;   // component after component, ascending within each
  std::vector<int64_t> begin;      // of each component in `elements`, and their number at the end
  std::vector<bool> cyclic;        // whether a component reaches itself: several elements, or one with a loop
  BitMatrix edges;                 // between different components

  int64_t count() const { return int64_t(begin.size()) - 1; }
  int64_t first(int64_t c) const { return elements[begin[c]]; }
};

// Kosaraju's two searches; a bit row makes each cost n^2 / 64 words.
Condensed condense(const BitMatrix& relation);

// Two different elements that reach each other, or (-1, -1) where there are none.
std::pair<int64_t, int64_t> cycle(const Condensed& condensed);

// A relation with its elements sorted by how many lie above each: of an order, what lies above comes later.
struct Sorted {
  std::vector<int64_t> elements;
  BitMatrix above;  // row m holds those related to the m-th element, but for itself
  BitMatrix below;  // its transpose
};
Sorted sort_by_height(const BitMatrix& relation);

struct Order {
  BitMatrix above;   // strict: row m holds every x > m
  BitMatrix covers;  // row m holds those x > m with nothing in between
};

// Transitive closure and reduction of a relation whose edges ascend; one row operation a cover.
Order reach(const BitMatrix& ascending);

// Whether a sorted relation is the strict part of an order: no element below an earlier one, and transitive.
bool is_order(const Sorted& sorted);

}  // namespace lsh
