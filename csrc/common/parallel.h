// One parallel region per op call: a team of workers that meet at a barrier between time steps.
//
// Rule for kernels: every output is computed by one worker in a fixed order, so results do not depend on how many
// workers there are or who takes what.
#pragma once

#include <atomic>
#include <cstdint>

namespace lsh {

// On a line each: who arrives must not take the other from those who watch it.
struct Barrier {
  alignas(64) std::atomic<int> waiting{0};
  alignas(64) std::atomic<int> generation{0};
};

// One member of the team: `index` of `count`, and the barrier that they share.
struct Worker {
  int index;
  int count;
  Barrier* barrier;
};

// Returns once all `worker.count` workers have arrived.
void wait_for_team(const Worker& worker);

// What to do in each turn of a loop that waits for another worker: spins briefly, then lets others run.
void wait_a_turn(int turn);

// The worker's share [begin, end) of `total` equal items.
struct Range {
  int64_t begin;
  int64_t end;
};
Range share(const Worker& worker, int64_t total);

// The worker's share of `total` items whose cumulative cost is `cost` (total + 1 entries, ascending): shares of equal
// cost. With several groups, `cost` runs through `groups` * `total` rows and item i owns row i + g * total of each
// group g, as a unit owns a row of every gate.
Range share_by_cost(const Worker& worker, int64_t total, const int32_t* cost, int groups);

// The same in whole blocks of `block` items, the last one perhaps smaller: the worker's share of blocks.
Range share_blocks_by_cost(const Worker& worker, int64_t total, int64_t block, const int32_t* cost, int groups);

}  // namespace lsh
