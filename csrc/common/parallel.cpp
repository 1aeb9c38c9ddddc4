#include "common/parallel.h"

#include <sched.h>

#include <algorithm>

namespace lsh {

void wait_a_turn(int turn) {
  if (turn < 2000) {
    __builtin_ia32_pause();
  } else {
    sched_yield();  // more workers than free cores
  }
}

void wait_for_team(const Worker& worker) {
  if (worker.count == 1) return;
  Barrier& barrier = *worker.barrier;
  const int generation = barrier.generation.load(std::memory_order_acquire);
  if (barrier.waiting.fetch_add(1, std::memory_order_acq_rel) + 1 == worker.count) {
    barrier.waiting.store(0, std::memory_order_relaxed);
    barrier.generation.store(generation + 1, std::memory_order_release);
    return;
  }
  for (int turn = 0; barrier.generation.load(std::memory_order_acquire) == generation; ++turn) wait_a_turn(turn);
}

Range share(const Worker& worker, int64_t total) {
  return {total * worker.index / worker.count, total * (worker.index + 1) / worker.count};
}

Range share_by_cost(const Worker& worker, int64_t total, const int32_t* cost, int groups) {
  if (worker.count == 1) return {0, total};
  int64_t sum = total;  // one per item, so that empty rows are shared out too
  for (int g = 0; g < groups; ++g) sum += cost[(g + 1) * total] - cost[g * total];
  const auto boundary = [&](int index) {
    const int64_t goal = sum * index / worker.count;
    int64_t low = 0, high = total;  // cost up to item i ascends with i, so its place is found by halving
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      int64_t before = middle;
      for (int g = 0; g < groups; ++g) before += cost[g * total + middle] - cost[g * total];
      if (before < goal) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  };
  return {boundary(worker.index), boundary(worker.index + 1)};
}

Range share_blocks_by_cost(const Worker& worker, int64_t total, int64_t block, const int32_t* cost, int groups) {
  const Range items = share_by_cost(worker, total, cost, groups);
  const auto nearest = [&](int64_t item) {
    return item == total ? (total + block - 1) / block : (item + block / 2) / block;
  };
  return {nearest(items.begin), nearest(items.end)};
}

}  // namespace lsh
