// Whether one kernel can stay on the device for all steps of a layer's forward pass, and how it divides the work.
//
// Each block owns some units: the rows of all their gates and micro-steps, whose values and columns it keeps in shared
// memory as far as there is room; rows beyond it are read from memory at every step. Blocks exchange states through
// memory and meet at one barrier a micro-step, so all of them must be on the device at once. Plain arithmetic, the same
// on host and device: tests look at plans without a GPU.
#pragma once

#include <algorithm>
#include <cstdint>

#include "common/host_device.h"

namespace lsh {

constexpr int64_t kMostDepth = 16;             // micro-steps whose matrices a kernel is given
constexpr int64_t kMostResidentUnits = 65536;  // columns are kept in 16 bits
constexpr int64_t kStepsPerLaunch = 8192;      // longer sequences take several launches
constexpr int64_t kLanesTogether = 4;          // of a product that one thread makes

struct DeviceLimits {
  int64_t multiprocessors;
  int64_t shared_bytes;  // that one block may have
  bool cooperative;      // whether blocks can be promised to be there at once
};

struct LayerShape {
  int64_t gates, hidden, lanes, depth, number_bytes;
  bool ragged;  // whether time steps move batches of different sizes
};

struct PersistentPlan {
  bool possible;
  const char* why;  // it is possible, or not
  int64_t units;    // of a block
  int64_t blocks;
  int64_t threads;  // of a block
  bool staged;      // whether a block copies all states to shared memory before a product
  int64_t room;     // connections of a block that its shared memory holds
  int64_t shared_bytes;
};

// Where things lie in a block's shared memory, in bytes: operand (H, P) if staged, gates (G, units, P), values (room),
// starts (D * G * units + 1), columns (room).
struct SharedLayout {
  int64_t gates, values, starts, columns, end;
};

LSH_ON_BOTH inline SharedLayout shared_layout(const LayerShape& shape, int64_t units, bool staged, int64_t room) {
  const int64_t rows = shape.depth * shape.gates * units;
  SharedLayout at{};
  at.gates = staged ? shape.hidden * shape.lanes * shape.number_bytes : 0;
  at.values = at.gates + shape.gates * units * shape.lanes * shape.number_bytes;
  at.starts = at.values + room * shape.number_bytes;
  at.columns = at.starts + (rows + 1) * int64_t(sizeof(int32_t));
  at.end = at.columns + room * int64_t(sizeof(uint16_t));
  return at;
}

inline PersistentPlan plan_persistent(const LayerShape& shape, const DeviceLimits& limits) {
  const auto refused = [](const char* why) { return PersistentPlan{false, why, 0, 0, 0, false, 0, 0}; };
  if (!limits.cooperative) return refused("the device must be able to hold all blocks of a launch at once");
  if (shape.ragged) return refused("all time steps must move the whole batch");
  if (shape.depth > kMostDepth) return refused("there must be at most 16 micro-steps");
  if (shape.hidden > kMostResidentUnits) return refused("there must be at most 65536 units");
  if (shape.lanes == 0) return refused("there must be a batch");
  PersistentPlan plan{};
  plan.units = (shape.hidden + limits.multiprocessors - 1) / limits.multiprocessors;
  plan.blocks = (shape.hidden + plan.units - 1) / plan.units;
  const int64_t tasks = shape.gates * plan.units * shape.lanes / kLanesTogether;
  plan.threads = std::clamp<int64_t>((tasks + 31) / 32 * 32, 128, 1024);
  // States that take more than three quarters of the shared memory stay in the second-level cache.
  plan.staged = 4 * shape.hidden * shape.lanes * shape.number_bytes <= 3 * limits.shared_bytes;
  const int64_t fixed = shared_layout(shape, plan.units, plan.staged, 0).end;
  if (fixed > limits.shared_bytes) return refused("the gates of a block's units must fit its shared memory");
  plan.room = (limits.shared_bytes - fixed) / (shape.number_bytes + int64_t(sizeof(uint16_t)));
  plan.shared_bytes = shared_layout(shape, plan.units, plan.staged, plan.room).end;
  plan.possible = true;
  plan.why = "states fit the exchange and all blocks fit the device";
  return plan;
}

}  // namespace lsh
