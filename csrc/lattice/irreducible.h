// Which columns of a context are not intersections of others: its irreducible attributes.
#pragma once

#include <cstdint>
#include <vector>

#include "common/bits.h"

namespace lsh {

// Whether each of `sets` differs from the intersection of all sets strictly above it, the empty one being everything.
// `above` is the strict order by inclusion and must ascend: row m holds bits > m only.
std::vector<bool> irreducible(const BitMatrix& sets, const BitMatrix& above);

// For each set the least index of an equal one.
std::vector<int64_t> first_equal(const BitMatrix& sets);

// Irreducible sets of a family in any order. Of equal ones either the first stands for all, or all share one fate.
std::vector<bool> irreducible(const BitMatrix& sets, bool shared);

}  // namespace lsh
