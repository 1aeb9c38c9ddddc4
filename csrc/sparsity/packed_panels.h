// Panel matrices (panels.h) that outlive a call: one byte tensor, made by lsh::pack_panels and checked where it is
// read.
//
//   header, 8 int64    mark, rows, columns, gates, bytes of a number, lanes, non-zeros, bundles
//   values, offsets, starts, slots, bases, as in PanelMatrix, each aligned to a cache line
#pragma once

#include "common/check.h"
#include "sparsity/panels.h"

namespace lsh {

// The panels in a tensor, for products of (gates * units, columns) with `lanes` lanes; throws unless they were packed
// for that. All that a product reads is checked, in O(non-zeros): no place beyond a panel, no group beyond its chunk.
// Products may read, not use, up to `plan.panels * plan.panel_columns - plan.columns` channels behind the last one.
template <class T>
PanelMatrix<T> checked_panels(const torch::stable::Tensor& packed, int64_t gates, int64_t units, int64_t columns,
                              int64_t lanes, const char* name);

}  // namespace lsh
