// A sparse matrix made ready for products with a few vectors: a step of one to seven batch items.
//
// The lanes of a register are rows. A slice holds as many units as a register has lanes, all gates of them; its
// non-zeros are cut into groups of one non-zero a row, which lie in a window of columns, one, two or four registers of
// them. That of the operand sits in registers, and a group's operands are looked up there by an index of one byte. A
// row that has nothing left in a group's window skips the group: its index leads to a zero. Gates share windows of two
// or four registers; of one, which are loaded for less than a choice between two costs, each gate has its own.
//
// A lane's indices of four registers of rows, of one group or of several, are the bytes of one word, so that a register
// of words needs a shift for each of them instead of being widened.
//
// Groups are made greedily: the window starts where the first non-zero stands that is not taken yet, and every
// row gives its first one if it lies inside. A row may so run ahead of the others by a window, which evens out rows
// that are filled unevenly: at 90 % sparsity and 1024 columns 1.4 places a non-zero instead of 2.0.
#pragma once

#include <cstdint>

namespace lsh {

constexpr int64_t kFewItems = 7;         // from eight on, lanes are batch items (panels.h)
constexpr int64_t kWidestWindow = 0x80;  // columns; an index says no more

// Units of G rows each, as in PanelPlan.
struct LookupPlan {
  int64_t units, gates, columns;
  int64_t width;      // units of a slice: the lanes of a register
  int64_t registers;  // of a window

  int64_t slices() const { return (units + width - 1) / width; }
  // Gates that share windows, and lists of groups that a slice so has.
  int64_t sharing() const { return registers == 1 ? 1 : gates; }
  int64_t lists() const { return gates / sharing(); }
  // Groups whose indices share a word.
  int64_t together() const { return 4 / sharing(); }
  // Room for the groups of a list, each of which begins beyond the column where the last one did. Whole words of
  // indices.
  int64_t groups() const {
    const int64_t step = width < 4 ? 4 : width;
    return (columns + step - 1) / step * step;
  }
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
  T* values;          // (all groups, sharing, width)
  uint32_t* indices;  // (all groups / together, width): bytes (group, gate), the column within the group's window
  int32_t* bases;     // (all groups): the window's first column
  int32_t* counts;    // (slices, lists): the groups in use, a multiple of together
  int64_t* starts;    // (slices, lists): where a list's groups begin, likewise
  bool ready;         // packed before this call
};

}  // namespace lsh
