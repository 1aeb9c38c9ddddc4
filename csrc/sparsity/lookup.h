// A sparse matrix made ready for products with a few vectors: a step of one to seven batch items.
//
// The lanes of a register are rows. A slice holds as many units as a register has lanes, all gates of them; its
// non-zeros are cut into groups of one non-zero a row, which lie in a window of columns that starts at a multiple of
// the register's width. The window of the operand sits in registers, and a group's operands are looked up there by an
// index of one byte. A row that has nothing left in a group's window skips the group: its index says so, and nothing
// is read for it.
//
// Groups are made greedily: the window starts where the slice's first non-zero stands that is not taken yet, and every
// row gives its first one if it lies inside. A row may so run ahead of the others by a window, which evens out rows
// that are filled unevenly: at 90 % sparsity and 1024 columns 1.4 places a non-zero instead of 2.0.
#pragma once

#include <cstdint>

namespace lsh {

constexpr int64_t kFewItems = 7;         // from eight on, lanes are batch items (panels.h)
constexpr uint8_t kNothing = 0x80;       // the index of a row that skips the group
constexpr int64_t kWidestWindow = 0x80;  // columns; what an index can say beside that

// Units of G rows each, as in PanelPlan.
struct LookupPlan {
  int64_t units, gates, columns;
  int64_t width;  // units of a slice: the lanes of a register

  int64_t slices() const { return (units + width - 1) / width; }
  // Room for the groups of a slice: with one window of W columns, no row gives more than W.
  int64_t groups() const { return (columns + width - 1) / width * width; }
  // How far apart the operand's vectors stand, so that a window can be read from any of its columns.
  int64_t stored_columns() const { return groups() + kWidestWindow; }
  int64_t units_in(int64_t slice) const {
    const int64_t left = units - slice * width;
    return left < width ? left : width;
  }
};

// The matrix itself, in workspaces; each slice is written and read by one worker.
template <class T>
struct LookupMatrix {
  LookupPlan plan;
  T* values;         // (all groups, gates, width)
  uint8_t* indices;  // likewise: the column within the group's window
  int32_t* bases;    // (all groups): the window's first column over the width
  int32_t* counts;   // (slices): the groups in use
  int64_t* starts;   // (slices): where a slice's groups begin
  bool ready;        // packed before this call
};

}  // namespace lsh
