// Passes over scores and masks at one SIMD level. Memory-bound: a block's keys are made by straight loops that the
// compiler vectorises, and single entries are looked at only where a block holds some inside the bracket.
#include "sparsity/selection.h"

namespace lsh {
namespace LSH_LEVEL {
namespace {

constexpr int kBlock = 512;

// Calls visit(i) for each i whose flag is set; sets of eight flags without one are skipped at once.
template <class Visit>
void for_each_set(const uint8_t* flags, const Visit& visit) {
  for (int i = 0; i < kBlock; i += 8) {
    uint64_t eight;
    __builtin_memcpy(&eight, flags + i, 8);
    for (; eight; eight &= eight - 1) visit(i + __builtin_ctzll(eight) / 8);
  }
}

// A sorts-like-the-score key of an IEEE number's bits; zero has no sign.
template <class Unsigned, int kBits, Unsigned kInfinity>
struct Order {
  static constexpr Unsigned kSign = Unsigned(1) << (kBits - 1);
  static bool nan(Unsigned bits) { return (bits & ~kSign) > kInfinity; }
  static Unsigned key(Unsigned bits, bool magnitude) {
    if (magnitude) return bits & ~kSign;
    bits = bits == kSign ? 0 : bits;
    return bits & kSign ? ~bits : bits | kSign;
  }
};

struct Float32 {
  using Key = uint32_t;
  using Bits = Order<uint32_t, 32, 0x7f800000u>;
  const uint32_t* bits;
  Float32(const Scored& scored, const Ranking&, int64_t begin)
      : bits(static_cast<const uint32_t*>(scored.scores) + begin) {}
  bool nan(int i) const { return Bits::nan(bits[i]); }
  Key key(int i, bool magnitude) const { return Bits::key(bits[i], magnitude); }
};

struct Float64 {
  using Key = uint64_t;
  using Bits = Order<uint64_t, 64, 0x7ff0000000000000u>;
  const uint64_t* bits;
  Float64(const Scored& scored, const Ranking&, int64_t begin)
      : bits(static_cast<const uint64_t*>(scored.scores) + begin) {}
  bool nan(int i) const { return Bits::nan(bits[i]); }
  Key key(int i, bool magnitude) const { return Bits::key(bits[i], magnitude); }
};

struct BFloat16 {
  using Key = uint32_t;
  using Bits = Order<uint32_t, 32, 0x7f800000u>;
  const uint16_t* bits;
  BFloat16(const Scored& scored, const Ranking&, int64_t begin)
      : bits(static_cast<const uint16_t*>(scored.scores) + begin) {}
  uint32_t wide(int i) const { return uint32_t(bits[i]) << 16; }
  bool nan(int i) const { return Bits::nan(wide(i)); }
  Key key(int i, bool magnitude) const { return Bits::key(wide(i), magnitude); }
};

// A hash of the index and the seed: two rounds of a 32-bit mixer, so that the first 2^32 entries have distinct keys.
struct Random {
  using Key = uint32_t;
  uint32_t low, high;  // halves of the first index, so that 32-bit lanes do
  uint32_t seed[2];
  Random(const Scored& scored, const Ranking& ranking, int64_t begin)
      : low(uint32_t(scored.first + begin)),
        high(uint32_t((scored.first + begin) >> 32)),
        seed{uint32_t(ranking.seed), uint32_t(ranking.seed >> 32)} {}
  static uint32_t mixed(uint32_t x) {
    x = (x ^ (x >> 16)) * 0x21f0aaadu;
    x = (x ^ (x >> 15)) * 0x735a2d97u;
    return x ^ (x >> 15);
  }
  bool nan(int) const { return false; }
  Key key(int i, bool) const {
    const uint32_t index = low + uint32_t(i);
    return mixed(mixed(index ^ seed[0]) ^ seed[1] ^ (high + (index < low)));
  }
};

template <class Scores, bool kMagnitude>
void count_of(const Scored& scored, const Ranking& ranking, int64_t begin, int64_t end, const Bracket& bracket,
              Census& census) {
  using Key = typename Scores::Key;
  const Key flip = ranking.highest ? ~Key(0) : Key(0);
  const uint8_t dead = !ranking.live;
  const Key low = Key(bracket.low), width = Key(bracket.high - bracket.low);
  Key offset[kBlock];
  alignas(64) uint8_t inside[kBlock] = {};
  const auto block = [&](int64_t base, int size) {
    const Scores scores(scored, ranking, base);
    const uint8_t* const mask = scored.mask + base;
    Key eligible = 0, nans = 0, below = 0, any = 0;
    for (int i = 0; i < size; ++i) {
      const Key chosen = Key((mask[i] != 0) ^ dead);
      const Key key = scores.key(i, kMagnitude) ^ flip;
      const Key above = key - low;
      const Key within = Key(above <= width) & chosen;
      offset[i] = above;
      inside[i] = uint8_t(within);
      eligible += chosen;
      nans += Key(scores.nan(i)) & chosen;
      below += Key(key < low) & chosen;
      any += within;
    }
    census.eligible += int64_t(eligible);
    census.nans += int64_t(nans);
    census.below += int64_t(below);
    census.inside += int64_t(any);
    if (any && census.kept < census.room) {
      for_each_set(inside, [&](int i) {
        if (census.kept < census.room) census.keys[census.kept++] = offset[i];
      });
    }
  };
  int64_t base = begin;
  for (; base + kBlock <= end; base += kBlock) block(base, kBlock);
  __builtin_memset(inside, 0, kBlock);
  block(base, int(end - base));
}

template <class Scores>
void count(const Scored& scored, const Ranking& ranking, int64_t begin, int64_t end, const Bracket& bracket,
           Census& census) {
  (ranking.magnitude ? count_of<Scores, true> : count_of<Scores, false>)(scored, ranking, begin, end, bracket, census);
}

template <class Scores>
int64_t sample(const Scored& scored, const Ranking& ranking, int64_t begin, int64_t stride, uint64_t* keys) {
  using Key = typename Scores::Key;
  const Key flip = ranking.highest ? ~Key(0) : Key(0);
  int64_t found = 0;
  for (int64_t i = begin; i < scored.size; i += stride) {
    if ((scored.mask[i] != 0) != ranking.live) continue;
    keys[found++] = Scores(scored, ranking, i).key(0, ranking.magnitude) ^ flip;
  }
  return found;
}

template <class Scores, bool kMagnitude>
int64_t toggle_of(const Scored& scored, const Ranking& ranking, int64_t begin, int64_t end, uint64_t last,
                  int64_t ties) {
  using Key = typename Scores::Key;
  const Key flip = ranking.highest ? ~Key(0) : Key(0), limit = Key(last);
  const uint8_t dead = !ranking.live;
  alignas(64) uint8_t equal[kBlock] = {};
  const auto block = [&](int64_t base, int size) {
    const Scores scores(scored, ranking, base);
    uint8_t* const __restrict mask = scored.mask + base;
    Key any = 0;
    for (int i = 0; i < size; ++i) {
      const Key chosen = Key((mask[i] != 0) ^ dead);
      const Key key = scores.key(i, kMagnitude) ^ flip;
      const Key tie = Key(key == limit) & chosen;
      mask[i] ^= uint8_t(Key(key < limit) & chosen);
      equal[i] = uint8_t(tie);
      any += tie;
    }
    if (any && ties) {
      for_each_set(equal, [&](int i) {
        if (ties) mask[i] ^= 1, --ties;
      });
    }
  };
  int64_t base = begin;
  for (; base + kBlock <= end; base += kBlock) block(base, kBlock);
  __builtin_memset(equal, 0, kBlock);
  block(base, int(end - base));
  return ties;
}

template <class Scores>
int64_t toggle(const Scored& scored, const Ranking& ranking, int64_t begin, int64_t end, uint64_t last, int64_t ties) {
  return (ranking.magnitude ? toggle_of<Scores, true> : toggle_of<Scores, false>)(scored, ranking, begin, end, last,
                                                                                  ties);
}

template <class Scores>
constexpr SelectionTable table = {count<Scores>, sample<Scores>, toggle<Scores>};

}  // namespace

extern const SelectionTable select_float32, select_float64, select_bfloat16, select_random;
const SelectionTable select_float32 = table<Float32>, select_float64 = table<Float64>,
                     select_bfloat16 = table<BFloat16>, select_random = table<Random>;

}  // namespace LSH_LEVEL
}  // namespace lsh
