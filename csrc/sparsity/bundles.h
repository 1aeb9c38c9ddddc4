// Bundles: rows of a matrix that share their columns, as those of block formats and of masks that gates share.
#pragma once

#include "sparsity/pattern.h"

namespace lsh {

// Every row is in one bundle of `rows` rows: those of `rows` units side by side in a gate, or, with `of_gates`, those
// of one unit in all gates.
struct Bundles {
  int64_t rows = 1;
  bool of_gates = false;
};

// Whether there are bundles like that in a matrix of so many units and gates.
bool can_bundle(Bundles bundles, int64_t gates, int64_t units, int64_t most);

// The largest bundles of at most `most` rows that all of a pattern's rows come in. Reads little of a pattern that has
// none.
Bundles find_bundles(const PatternView& pattern, int64_t gates, int64_t most);

}  // namespace lsh
