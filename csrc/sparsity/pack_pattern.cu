// Packing a mask into its pattern on a device, by counting and adding up; no step waits for the host.
//
//   rows     a warp a row: its words of bits, and how many connections stand before each
//   columns  a thread a column and strip: connections of the column in the strip, then above it
//   offsets  both counts added up by one block
//   fill     each connection's place is an offset and two counts, so all are written at once
//
// Bound by memory: the mask is read once, everything after that reads bits. All sums are of whole numbers and every
// number has one writer. A mask with more connections than there is room for leaves a pattern that is none: its header
// tells how many there are, and its indices are all -1, which products turn into NaN.
#include "common/launch.cuh"
#include "sparsity/pack_pattern_launch.h"
#include "sparsity/pattern.h"

namespace lsh {
namespace {

constexpr int64_t kMost = 0x7fffffff;

struct Parts {
  int32_t *header, *row_offsets, *column_of, *column_offsets, *row_of, *source;

  __host__ __device__ explicit Parts(const PackPass& pass)
      : header(pass.pattern),
        row_offsets(header + kPatternHeader),
        column_of(row_offsets + pass.rows + 1),
        column_offsets(column_of + pass.capacity),
        row_of(column_offsets + pass.columns + 1),
        source(row_of + pass.capacity) {}
};

__global__ void pack_rows(PackPass pass, int64_t words) {
  const int64_t row = this_item() / kWarp, lane = threadIdx.x % kWarp;
  if (row >= pass.rows) return;
  int32_t count = 0;
  for (int64_t word = 0; word < words; ++word) {
    const int64_t column = word * kWordColumns + lane;
    const bool connected = column < pass.columns && pass.mask[row * pass.columns + column];
    const uint32_t bits = __ballot_sync(kWholeWarp, connected);
    if (lane == 0) {
      pass.bits[row * words + word] = bits;
      pass.before[row * words + word] = count;
    }
    count += __popc(bits);
  }
  if (lane == 0) Parts(pass).row_offsets[row + 1] = count;
}

__global__ void count_columns(PackPass pass, int64_t words, int64_t strips) {
  const int64_t item = this_item();
  if (item >= strips * pass.columns) return;
  const int64_t column = item % pass.columns, first = item / pass.columns * kStripRows;
  const int64_t last = first + kStripRows < pass.rows ? first + kStripRows : pass.rows;
  int32_t count = 0;
  for (int64_t row = first; row < last; ++row) {
    count += pass.bits[row * words + column / kWordColumns] >> (column % kWordColumns) & 1;
  }
  pass.above[item] = count;
}

__global__ void stack_columns(PackPass pass, int64_t strips) {
  const int64_t column = this_item();
  if (column >= pass.columns) return;
  int32_t count = 0;
  for (int64_t strip = 0; strip < strips; ++strip) {
    int32_t& above = pass.above[strip * pass.columns + column];
    const int32_t own = above;
    above = count;
    count += own;
  }
  Parts(pass).column_offsets[column + 1] = count;
}

struct WarpSums {
  int64_t sums[kThreads / kWarp];
};

// Turns counts, one place behind, into offsets, by one block; sums beyond int32 stay at its end.
__global__ void add_up(int32_t* offsets, int64_t count) {
  LSH_SHARED(WarpSums, warps);
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  int64_t total = 0;
  for (int64_t base = 0; base < count; base += kThreads) {
    const int64_t place = base + threadIdx.x;
    int64_t sum = place < count ? offsets[place + 1] : 0;
    for (int by = 1; by < kWarp; by *= 2) {
      const int64_t other = __shfl_up_sync(kWholeWarp, sum, by);
      if (lane >= by) sum += other;
    }
    if (lane == kWarp - 1) warps.sums[warp] = sum;
    __syncthreads();
    int64_t all = 0;
    for (int other = 0; other < kThreads / kWarp; ++other) {
      if (other == warp) sum += all;
      all += warps.sums[other];
    }
    sum += total;
    if (place < count) offsets[place + 1] = int32_t(sum < kMost ? sum : kMost);
    total += all;
    __syncthreads();
  }
  if (threadIdx.x == 0) offsets[0] = 0;
}

__global__ void write_header(PackPass pass) {
  const Parts parts(pass);
  parts.header[kMark] = kPatternMark;
  parts.header[kVersion] = kPatternVersion;
  parts.header[kRows] = int32_t(pass.rows);
  parts.header[kColumns] = int32_t(pass.columns);
  parts.header[kNonZeros] = parts.row_offsets[pass.rows];
  parts.header[kCapacity] = int32_t(pass.capacity);
  parts.header[6] = parts.header[7] = 0;
}

__global__ void fill_rows(PackPass pass, int64_t words) {
  const int64_t item = this_item();
  if (item >= pass.rows * words) return;
  const Parts parts(pass);
  if (parts.row_offsets[pass.rows] > pass.capacity) return;
  const int64_t row = item / words, word = item % words;
  int32_t* next = parts.column_of + parts.row_offsets[row] + pass.before[item];
  for (uint32_t bits = pass.bits[item]; bits; bits &= bits - 1) {
    *next++ = int32_t(word * kWordColumns) + __ffs(int(bits)) - 1;
  }
}

__global__ void fill_columns(PackPass pass, int64_t words, int64_t strips) {
  const int64_t item = this_item();
  if (item >= strips * pass.columns) return;
  const Parts parts(pass);
  if (parts.row_offsets[pass.rows] > pass.capacity) return;
  const int64_t column = item % pass.columns, first = item / pass.columns * kStripRows;
  const int64_t last = first + kStripRows < pass.rows ? first + kStripRows : pass.rows;
  const uint32_t bit = uint32_t(1) << (column % kWordColumns);
  int32_t place = parts.column_offsets[column] + pass.above[item];
  for (int64_t row = first; row < last; ++row) {
    const int64_t word = row * words + column / kWordColumns;
    const uint32_t bits = pass.bits[word];
    if (!(bits & bit)) continue;
    parts.row_of[place] = int32_t(row);
    parts.source[place++] = parts.row_offsets[row] + pass.before[word] + __popc(bits & (bit - 1));
  }
}

__global__ void spoil_if_overfull(PackPass pass) {
  const int64_t item = this_item();
  const Parts parts(pass);
  if (item >= pass.capacity || parts.row_offsets[pass.rows] <= pass.capacity) return;
  parts.column_of[item] = parts.row_of[item] = parts.source[item] = -1;
}

}  // namespace

cudaError_t pack_pattern_on_device(const PackPass& pass, cudaStream_t stream) {
  const int64_t words = mask_words(pass.columns), strips = mask_strips(pass.rows);
  const Parts parts(pass);
  Launches on(stream);
  on.items(pass.rows * kWarp, pack_rows, pass, words);
  on.items(strips * pass.columns, count_columns, pass, words, strips);
  on.items(pass.columns, stack_columns, pass, strips);
  on.blocks(dim3(1), kThreads, add_up, parts.row_offsets, pass.rows);
  on.blocks(dim3(1), kThreads, add_up, parts.column_offsets, pass.columns);
  on.blocks(dim3(1), 1, write_header, pass);
  on.items(pass.rows * words, fill_rows, pass, words);
  on.items(strips * pass.columns, fill_columns, pass, words, strips);
  on.items(pass.capacity, spoil_if_overfull, pass);
  return on.error();
}

}  // namespace lsh
