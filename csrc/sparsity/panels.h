// A sparse matrix made ready for products with lanes: panels of columns, groups of rows.
//
// The operand's lanes of a panel of columns fit in the first-level cache. The rows are cut into chunks; within a chunk
// and a panel they are sorted by how many non-zeros they have there and taken four at a time, with the four rows' k-th
// values side by side, so that one load gives four values and one more their four places in the panel. A row with fewer
// non-zeros than its group repeats its last column with the value zero; one with none at all is replaced by a row of
// sums that nobody reads. Made for every call from the pattern, as the values change with every step: it costs as much
// as a few steps' products.
#pragma once

#include <cstdint>

#include "common/parallel.h"
#include "sparsity/matrix.h"

namespace lsh {

// Units of G rows each: row g * units + u is gate g of unit u, and a chunk holds all gates of its units. A plain
// matrix has one gate.
struct PanelPlan {
  int64_t units, gates, columns;
  int64_t chunk_units, chunks;
  int64_t panel_columns, panels;

  int64_t chunk_rows() const { return gates * chunk_units; }
  int64_t groups() const { return (chunk_rows() + 3) / 4; }
  int64_t units_in(int64_t chunk) const {
    const int64_t left = units - chunk * chunk_units;
    return left < chunk_units ? left : chunk_units;
  }
  // Room for the entries of all chunks when the matrix has at most `capacity` non-zeros: a group is as long as its
  // longest row, which is at most as long as the shortest of the group before; the first group of each chunk and panel
  // has nothing before it.
  int64_t entries(int64_t capacity) const { return capacity + 4 * columns * chunks; }
  int64_t starts() const { return chunks * (panels * groups() + 1); }
  int64_t slots() const { return chunks * panels * groups() * 4; }
};

constexpr int64_t kChunkRows = 128;          // so that a row of a chunk is numbered by a byte
constexpr int64_t kMostPanelColumns = 8191;  // so that eight times a column is numbered by two bytes

// `lane_bytes`: what the lanes of one column take that are multiplied at once; `density` in [0, 1].
PanelPlan plan_panels(int64_t units, int64_t gates, int64_t columns, int64_t lane_bytes, double density);

// The matrix itself, in workspaces; each chunk is written and read by one worker.
template <class T>
struct PanelMatrix {
  PanelPlan plan;
  T* values;          // (entries)
  uint16_t* offsets;  // (entries): eight times the column within the panel
  int32_t* starts;    // (chunks, panels * groups + 1): where a group's entries begin, in fours, within the chunk
  uint8_t* slots;     // (chunks, panels, groups, 4): the row of the chunk that a slot belongs to
  int64_t* bases;     // (chunks): where a chunk's entries begin
  bool ready;         // packed before this call
};

// Packs chunks of a matrix by rows, at one SIMD level.
struct PackPanelsTable {
  void (*float32)(const SparseMatrix<float>&, const PanelMatrix<float>&, Range chunks);
  void (*float64)(const SparseMatrix<double>&, const PanelMatrix<double>&, Range chunks);
};

// The panels of columns in which a weight's gradient is made: their widths, and where each row's non-zeros of each
// begin.
struct SampledPanels {
  int64_t panel_columns;
  int32_t* edges;  // workspace (R, panels + 1), or null for a dense gradient
};

// `lane_bytes`: what the lanes of one column take that are summed at once.
int64_t sampled_panel_columns(int64_t columns, int64_t lane_bytes, double density);

}  // namespace lsh
