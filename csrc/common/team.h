// Starts a team of workers on torch's own threads. For op files, not for kernels.
#pragma once

#include <torch/csrc/stable/ops.h>

#include <algorithm>

#include "common/parallel.h"

namespace lsh {

// As many workers as torch's thread count and `most` allow, at least one.
inline int64_t team_size(int64_t most) {
  return std::max<int64_t>(1, std::min<int64_t>(most, torch::stable::get_num_threads()));
}

// Runs body(worker) on as many workers as torch's thread count and `most` allow, all inside one parallel region.
//
// A body must not throw: the others would wait for it at the next barrier. What it needs of memory is there before.
//
// torch may hand out fewer, larger pieces than asked for (a nested region gets a single one). So each piece joins as
// one worker, and the team is complete when the pieces cover the whole range.
template <class Body>
void run_team(int64_t most, const Body& body) {
  const int64_t wanted = team_size(most);
  Barrier barrier;
  if (wanted == 1) {
    body(Worker{0, 1, &barrier});
    return;
  }
  std::atomic<int> joined{0};
  std::atomic<int64_t> covered{0};
  torch::stable::parallel_for(0, wanted, 1, [&](int64_t begin, int64_t end) {
    const int index = joined.fetch_add(1);
    covered.fetch_add(end - begin);
    for (int turn = 0; covered.load() < wanted; ++turn) wait_a_turn(turn);
    body(Worker{index, joined.load(), &barrier});
  });
}

}  // namespace lsh
