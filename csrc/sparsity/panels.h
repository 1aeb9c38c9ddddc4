// A sparse matrix made ready for products with lanes: panels of columns, groups of rows.
//
// The operand's lanes of a panel of columns fit in the first-level cache. The rows are cut into chunks. Rows that share
// their columns make a bundle (bundles.h), of one row each where they do not. Within a chunk and a panel, bundles are
// sorted by how many non-zeros a row of theirs has there, and as many taken at a time as sums fit in registers: a
// group. The group's k-th values stand side by side, and beside them the places in the panel, one a bundle, so that
// lanes are loaded once for all rows of a bundle. A bundle with fewer non-zeros than the longest of its group repeats
// its last column with the value zero; one with none at all is replaced by a row of sums that nobody reads. Made anew
// in a call of training, as the values change with every step: it costs as much as a few steps' products. Where weights
// stay as they are it is kept (packed.h).
#pragma once

#include <cstdint>

#include "common/parallel.h"
#include "sparsity/bundles.h"
#include "sparsity/matrix.h"

namespace lsh {

// Units of G rows each: row g * units + u is gate g of unit u, and a chunk holds all gates of its units. A plain
// matrix has one gate.
struct PanelPlan {
  int64_t units, gates, columns;
  int64_t chunk_units, chunks;
  int64_t panel_columns, panels;
  int64_t bundle_rows, bundles;  // rows of a bundle, bundles of a group
  int64_t gate_bundles;          // whether a bundle is a unit's rows of all gates; else units side by side

  int64_t chunk_rows() const { return gates * chunk_units; }
  int64_t group_rows() const { return bundles * bundle_rows; }
  int64_t groups() const { return (chunk_rows() + group_rows() - 1) / group_rows(); }
  // The row within a chunk of `units` units that is the r-th of the b-th bundle.
  int64_t row_of_bundle(int64_t b, int64_t r, int64_t units) const {
    return gate_bundles ? r * units + b : b * bundle_rows + r;
  }
  int64_t units_in(int64_t chunk) const {
    const int64_t left = units - chunk * chunk_units;
    return left < chunk_units ? left : chunk_units;
  }
  // Room for the entries of all chunks when the matrix has at most `capacity` non-zeros: a group is as long as its
  // longest row, which is at most as long as the shortest of the group before; the first group of each chunk and panel
  // has nothing before it.
  int64_t entries(int64_t capacity) const { return capacity + group_rows() * columns * chunks; }
  int64_t places(int64_t capacity) const { return entries(capacity) / bundle_rows; }
  int64_t starts() const { return chunks * (panels * groups() + 1); }
  int64_t slots() const { return chunks * panels * groups() * group_rows(); }
};

constexpr int64_t kChunkRows = 128;          // so that a row of a chunk is numbered by a byte
constexpr int64_t kMostPanelColumns = 8191;  // so that eight times a column is numbered by two bytes

// Rows whose sums fit in the registers of the level in use, with a slab of lanes each.
int64_t most_group_rows();

// `lane_bytes`: what the lanes of one column take that are multiplied at once; `density` in [0, 1].
PanelPlan plan_panels(int64_t units, int64_t gates, int64_t columns, int64_t lane_bytes, double density,
                      Bundles bundles = {});

// The matrix itself, in workspaces; each chunk is written and read by one worker.
template <class T>
struct PanelMatrix {
  PanelPlan plan;
  T* values;          // (entries)
  uint16_t* offsets;  // (places): eight times the column within the panel
  int32_t* starts;    // (chunks, panels * groups + 1): where a group's columns begin, counted within the chunk
  uint8_t* slots;     // (chunks, panels, groups, group_rows): the row of the chunk that a slot belongs to
  int64_t* bases;     // (chunks): where a chunk's entries begin
  bool ready;         // packed before this call
};

// Columns whose lanes, `lane_bytes` a column, stay in the first-level cache; or more, at most so many times as many,
// where a row would not have `enough` non-zeros among them.
int64_t cached_columns(int64_t lane_bytes, double density, double enough, double times);

}  // namespace lsh
