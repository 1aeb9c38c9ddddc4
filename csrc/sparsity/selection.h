// Choosing exactly k entries by score: what the op and the kernels of the three SIMD levels share.
//
// Scores become unsigned keys that order as they do. The key of rank k is searched for in a bracket of keys that a
// sample suggests: a pass over the entries counts those below it and keeps the keys inside, of which one is the key.
// Where there are too many to keep, the median of those kept, which is the key itself where many are equal, is tried
// alone and parts the bracket. All counts are whole numbers, so no order of adding matters.
#pragma once

#include <cstdint>

namespace lsh {

enum class ScoreType : int32_t { float32, float64, bfloat16, random };

// One tensor of the selection: a mask, and the scores of its entries, null where they are drawn at random.
struct Scored {
  uint8_t* mask;
  const void* scores;
  int64_t size;
  int64_t first;  // index of its first entry among those of all tensors
};

struct Ranking {
  ScoreType type;
  bool live;       // whether entries are chosen among the true or the false ones
  bool highest;    // whether the highest scores go first
  bool magnitude;  // whether the sign of a score is ignored
  uint64_t seed;   // of random scores
};

// Keys low … high, both included.
struct Bracket {
  uint64_t low;
  uint64_t high;
};

// What one worker counts, on a cache line of its own.
struct alignas(64) Census {
  int64_t eligible;
  int64_t nans;
  int64_t below;   // eligible entries with a key below the bracket
  int64_t inside;  // eligible entries with a key in the bracket
  uint64_t* keys;  // their keys, counted from the bracket's low end, the first ones while there is room
  int64_t kept;
  int64_t room;
};

struct SelectionTable {
  // Adds the entries [begin, end) of a tensor to the census.
  void (*count)(const Scored& scored, const Ranking& ranking, int64_t begin, int64_t end, const Bracket& bracket,
                Census& census);
  // Writes the keys of the eligible entries at begin, begin + stride, …; returns how many.
  int64_t (*sample)(const Scored& scored, const Ranking& ranking, int64_t begin, int64_t stride, uint64_t* keys);
  // Toggles the mask at every eligible entry below the key, and at the first `ties` that equal it; returns the ties
  // left.
  int64_t (*toggle)(const Scored& scored, const Ranking& ranking, int64_t begin, int64_t end, uint64_t key,
                    int64_t ties);
};

}  // namespace lsh
