// Choosing exactly k entries by score on a device: a radix select, without a word to the host.
//
// Scores become unsigned keys that order as they do (selection.h). Each pass over the entries counts, among the keys
// that begin like the key of rank k, how often each next digit occurs; one block then finds the digit that holds the
// rank. Three passes fix a key of 32 bits, six one of 64. Entries below it are toggled, and of those that equal it the
// earliest: chunks count theirs, the counts are added up, and every chunk knows how many of its own are among them.
//
// Bound by memory: a score and a mask byte per entry and pass. Counts are whole numbers, so no order of adding matters.
#include "common/launch.cuh"
#include "sparsity/selection_launch.h"

namespace lsh {
namespace {

constexpr int64_t kMostBlocks = 1024;

template <class Unsigned>
__device__ uint64_t ordered(Unsigned bits, bool magnitude) {
  constexpr Unsigned kSign = Unsigned(1) << (sizeof(Unsigned) * 8 - 1);
  if (magnitude) return bits & Unsigned(~kSign);
  if (bits == kSign) bits = 0;  // zero has no sign
  return bits & kSign ? Unsigned(~bits) : Unsigned(bits | kSign);
}

__device__ inline uint32_t mixed(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x21f0aaadu;
  x = (x ^ (x >> 15)) * 0x735a2d97u;
  return x ^ (x >> 15);
}

struct Key {
  uint64_t value;
  bool nan;
};

// The key of entry i: lower ones go first.
template <ScoreType type>
__device__ Key key_of(const Scored& scored, const Ranking& ranking, int64_t i) {
  constexpr uint64_t kAll = key_bits(type) == 64 ? ~uint64_t(0) : uint64_t(~uint32_t(0));
  const uint64_t flip = ranking.highest ? kAll : 0;
  if constexpr (type == ScoreType::random) {
    const uint64_t index = uint64_t(scored.first + i);
    const uint32_t first = mixed(uint32_t(index) ^ uint32_t(ranking.seed));
    return {mixed(first ^ uint32_t(ranking.seed >> 32) ^ uint32_t(index >> 32)) ^ flip, false};
  } else if constexpr (type == ScoreType::float64) {
    const uint64_t bits = static_cast<const uint64_t*>(scored.scores)[i];
    return {ordered(bits, ranking.magnitude) ^ flip, (bits & ~(uint64_t(1) << 63)) > 0x7ff0000000000000u};
  } else {
    uint32_t bits;
    if constexpr (type == ScoreType::bfloat16) {
      bits = uint32_t(static_cast<const uint16_t*>(scored.scores)[i]) << 16;
    } else {
      bits = static_cast<const uint32_t*>(scored.scores)[i];
    }
    return {ordered(bits, ranking.magnitude) ^ flip, (bits & 0x7fffffffu) > 0x7f800000u};
  }
}

struct DigitCounts {
  unsigned of[kDigits];
  unsigned nans;
};

template <ScoreType type>
__global__ void count_digits(Scored scored, Ranking ranking, Known* known, uint64_t* histogram, Digit digit,
                             bool first) {
  LSH_SHARED(DigitCounts, counts);
  for (int i = threadIdx.x; i < kDigits; i += kThreads) counts.of[i] = 0;
  if (threadIdx.x == 0) counts.nans = 0;
  __syncthreads();
  const uint64_t prefix = known->prefix;
  const int64_t stride = int64_t(gridDim.x) * kThreads;
  for (int64_t i = this_item(); i < scored.size; i += stride) {
    if ((scored.mask[i] != 0) != ranking.live) continue;
    const Key key = key_of<type>(scored, ranking, i);
    if (first && key.nan) atomicAdd(&counts.nans, 1u);
    if (!first && key.value >> (digit.shift + digit.bits) != prefix) continue;
    atomicAdd(&counts.of[key.value >> digit.shift & ((1u << digit.bits) - 1)], 1u);
  }
  __syncthreads();
  using Counter = unsigned long long;
  for (int i = threadIdx.x; i < kDigits; i += kThreads) {
    if (counts.of[i]) atomicAdd(reinterpret_cast<Counter*>(histogram + i), Counter(counts.of[i]));
  }
  if (threadIdx.x == 0 && counts.nans) {
    atomicAdd(reinterpret_cast<Counter*>(&known->nans), Counter(counts.nans));
  }
}

constexpr int kWarps = kThreads / kWarp;

struct PartSums {
  int64_t of[kWarps];
};

// The sum of `own` over the threads before this one, and over all of them.
__device__ inline int64_t sum_before(int64_t own, PartSums& parts, int64_t& all) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  int64_t sum = own;
  for (int by = 1; by < kWarp; by *= 2) {
    const int64_t other = __shfl_up_sync(kWholeWarp, sum, by);
    if (lane >= by) sum += other;
  }
  if (lane == kWarp - 1) parts.of[warp] = sum;
  __syncthreads();
  all = 0;
  for (int other = 0; other < kWarps; ++other) {
    if (other == warp) sum += all;
    all += parts.of[other];
  }
  __syncthreads();
  return sum - own;
}

// The same of flags.
__device__ inline int64_t count_before(bool own, PartSums& parts, int64_t& all) {
  const int warp = threadIdx.x / kWarp, lane = threadIdx.x % kWarp;
  const unsigned flags = __ballot_sync(kWholeWarp, own);
  if (lane == 0) parts.of[warp] = __popc(flags);
  __syncthreads();
  int64_t before = __popc(flags & ((1u << lane) - 1));
  all = 0;
  for (int other = 0; other < kWarps; ++other) {
    if (other == warp) before += all;
    all += parts.of[other];
  }
  __syncthreads();
  return before;
}

// One block: the digit whose keys hold the rank; leaves the histogram at zero.
__global__ void choose_digit(Known* known, uint64_t* histogram, Digit digit, int64_t count, bool first,
                             int64_t* facts) {
  LSH_SHARED(PartSums, parts);
  constexpr int kEach = kDigits / kThreads;
  const int64_t rank = first ? count - 1 : known->rank;
  const uint64_t prefix = known->prefix;
  const bool may = first || known->possible;
  int64_t own = 0, all = 0;
  for (int i = 0; i < kEach; ++i) own += int64_t(histogram[threadIdx.x * kEach + i]);
  int64_t before = sum_before(own, parts, all);  // after its barriers `known` is read no more
  const bool possible = may && (!first || (known->nans == 0 && 0 < count && count <= all));
  for (int i = 0; i < kEach; ++i) {
    uint64_t& bin = histogram[threadIdx.x * kEach + i];
    const int64_t here = int64_t(bin);
    bin = 0;
    if (possible && before <= rank && rank < before + here) {
      known->prefix = prefix << digit.bits | uint64_t(threadIdx.x * kEach + i);
      known->rank = rank - before;
    }
    before += here;
  }
  if (first && threadIdx.x == 0) {
    known->possible = possible;
    facts[0] = all;
    facts[1] = known->nans;
  }
}

// How many entries of each chunk have the last key.
template <ScoreType type>
__global__ void count_ties(Scored scored, Ranking ranking, const Known* known, int32_t* ties) {
  LSH_SHARED(PartSums, parts);
  const int64_t begin = int64_t(blockIdx.x) * kChunk;
  const int64_t end = begin + kChunk < scored.size ? begin + kChunk : scored.size;
  int64_t own = 0, all = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kThreads) {
    own += (scored.mask[i] != 0) == ranking.live && key_of<type>(scored, ranking, i).value == known->prefix;
  }
  sum_before(own, parts, all);
  if (threadIdx.x == 0) ties[blockIdx.x] = int32_t(all);
}

// One block: how many entries with the last key each chunk has, and how many of these are chosen, the earliest ones.
__global__ void share_ties(const Known* known, int32_t* ties, int64_t chunks) {
  LSH_SHARED(PartSums, parts);
  const int64_t wanted = known->rank + 1;
  int64_t total = 0;
  for (int64_t base = 0; base < chunks; base += kThreads) {
    const int64_t chunk = base + threadIdx.x, own = chunk < chunks ? ties[chunk] : 0;
    int64_t all = 0;
    const int64_t left = wanted - total - sum_before(own, parts, all);
    if (chunk < chunks) ties[chunk] = int32_t(left < 0 ? 0 : left < own ? left : own);
    total += all;
  }
}

// Toggles a chunk: entries below the last key, and the first `ties[chunk]` that equal it.
template <ScoreType type>
__global__ void toggle_chunk(Scored scored, Ranking ranking, const Known* known, const int32_t* ties) {
  LSH_SHARED(PartSums, parts);
  if (!known->possible) return;
  const int64_t begin = int64_t(blockIdx.x) * kChunk;
  const int64_t end = begin + kChunk < scored.size ? begin + kChunk : scored.size;
  const uint64_t last = known->prefix;
  int64_t left = ties[blockIdx.x];
  for (int64_t base = begin; base < end; base += kThreads) {
    const int64_t i = base + threadIdx.x;
    const bool chosen = i < end && (scored.mask[i] != 0) == ranking.live;
    const uint64_t key = chosen ? key_of<type>(scored, ranking, i).value : 0;
    bool toggled = chosen && key < last;
    if (left > 0) {  // the same for all threads
      const bool equal = chosen && key == last;
      int64_t all = 0;
      const int64_t before = count_before(equal, parts, all);
      toggled = toggled || (equal && before < left);
      left = left > all ? left - all : 0;
    }
    if (toggled) scored.mask[i] ^= 1;
  }
}

template <ScoreType type>
cudaError_t select_as(const SelectionPass& pass, cudaStream_t stream) {
  constexpr int bits = key_bits(type);
  Launches on(stream);
  for (int place = 0; place < digit_count(bits); ++place) {
    const Digit digit = digit_at(place, bits);
    for (int64_t i = 0; i < pass.tensor_count; ++i) {
      const int64_t blocks = blocks_for(pass.tensors[i].size);
      on.blocks(dim3(unsigned(blocks < kMostBlocks ? blocks : kMostBlocks)), kThreads, count_digits<type>,
                pass.tensors[i], pass.ranking, pass.known, pass.histogram, digit, place == 0);
    }
    on.blocks(dim3(1), kThreads, choose_digit, pass.known, pass.histogram, digit, pass.count, place == 0, pass.facts);
  }
  const auto over_chunks = [&](auto kernel) {
    int64_t first = 0;
    for (int64_t i = 0; i < pass.tensor_count; ++i) {
      const int64_t chunks = chunks_of(pass.tensors[i].size);
      on.blocks(dim3(unsigned(chunks)), kThreads, kernel, pass.tensors[i], pass.ranking, pass.known, pass.ties + first);
      first += chunks;
    }
    return first;
  };
  const int64_t chunks = over_chunks(count_ties<type>);
  on.blocks(dim3(1), kThreads, share_ties, pass.known, pass.ties, chunks);
  over_chunks(toggle_chunk<type>);
  return on.error();
}

}  // namespace

cudaError_t select_on_device(const SelectionPass& pass, cudaStream_t stream) {
  switch (pass.ranking.type) {
    case ScoreType::float32:
      return select_as<ScoreType::float32>(pass, stream);
    case ScoreType::float64:
      return select_as<ScoreType::float64>(pass, stream);
    case ScoreType::bfloat16:
      return select_as<ScoreType::bfloat16>(pass, stream);
    default:
      return select_as<ScoreType::random>(pass, stream);
  }
}

}  // namespace lsh
