// Runs kernels on the host: see cuda_runtime.h.
#include "cuda_runtime.h"

#include <sched.h>
#include <sys/mman.h>
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace simt {
namespace {

constexpr size_t kStack = 256 << 10, kGuard = 64, kMostShared = 227 << 10;
constexpr unsigned char kPoison = 0xff;  // every float and double of it is NaN
constexpr auto kPatience = std::chrono::seconds(60);

std::mutex error_lock;
std::string error;
std::atomic<unsigned> order{0};
std::atomic<int64_t> launches{0}, blocks_run{0}, threads_run{0};

struct Stop {};  // unwinds a thread of a launch that failed

std::vector<unsigned> permutation(unsigned count, unsigned salt) {
  std::vector<unsigned> items(count);
  std::iota(items.begin(), items.end(), 0u);
  const unsigned seed = order;
  if (seed == 1) std::reverse(items.begin(), items.end());
  if (seed > 1) std::shuffle(items.begin(), items.end(), std::minstd_rand(seed + 7919 * salt));
  return items;
}

// Where a fiber goes on. swapcontext asks the kernel for the signal mask each time; on x86-64 there is a way without.
#if defined(__x86_64__)
struct Context {
  void* stack_pointer;
};
asm(R"(
  .text
  .type simt_switch, @function
simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq (%rsi), %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
)");
extern "C" void simt_switch(Context* from, const Context* to) asm("simt_switch");
void switch_context(Context& from, const Context& to) { simt_switch(&from, &to); }
void start_context(Context& context, unsigned char* stack, void (*entry)()) {
  void** top = reinterpret_cast<void**>(stack + kStack) - 2;  // aligned as after a call
  *top = reinterpret_cast<void*>(entry);
  context.stack_pointer = top - 6;
}
#else
using Context = ucontext_t;
void switch_context(Context& from, const Context& to) { swapcontext(&from, &to); }
void start_context(Context& context, unsigned char* stack, void (*entry)()) {
  getcontext(&context);
  context.uc_stack.ss_sp = stack;
  context.uc_stack.ss_size = kStack;
  context.uc_link = nullptr;
  makecontext(&context, entry, 0);
}
#endif

struct Fiber {
  Context context;
  std::unique_ptr<unsigned char, void (*)(unsigned char*)> stack{nullptr, [](unsigned char* s) { munmap(s, kStack); }};
  unsigned thread = 0;
  const unsigned* counter = nullptr;  // waits until this differs from `seen`
  unsigned seen = 0;
  bool idle = true;
};

struct Warp {
  unsigned mask = 0, arrived = 0, generation = 0;
  alignas(16) unsigned char slots[32][16];
};

struct Shared {
  std::vector<unsigned char> bytes;
  unsigned char* start;
  size_t size;
};

struct Block {
  const cudaLaunchConfig_t* config;
  const std::function<void()>* body;
  std::atomic<bool>* failed;
  uint3 index;
  std::vector<unsigned> waiting_order;
  std::vector<Warp> warps;
  std::map<const void*, Shared> shared;
  size_t shared_bytes = 0;
  unsigned count = 0, next = 0, alive = 0, arrived = 0, generation = 0;
  uint3 thread_index;
  unsigned thread = 0;

  bool run();
};

thread_local Block* block = nullptr;
thread_local Fiber* fiber = nullptr;
thread_local Context scheduler;
thread_local std::vector<std::unique_ptr<Fiber>> fibers;

void report(const std::string& what) {
  const std::lock_guard lock(error_lock);
  if (error.empty()) error = what;
}

void become(unsigned thread) {
  const dim3& size = block->config->blockDim;
  block->thread = thread;
  block->thread_index = {thread % size.x, thread / size.x % size.y, thread / size.x / size.y};
}

void release_barrier() {
  block->arrived = 0;
  ++block->generation;
}

// A fiber runs threads that nobody has begun, one after another, until one of them waits.
void fiber_main() {
  for (;;) {
    while (block->next < block->count) {
      fiber->thread = block->waiting_order[block->next++];
      become(fiber->thread);
      try {
        if (!*block->failed) (*block->body)();
      } catch (const Stop&) {
      }
      --block->alive;
      if (block->arrived > 0 && block->arrived == block->alive) release_barrier();
    }
    fiber->idle = true;
    switch_context(fiber->context, scheduler);
  }
}

void wait_for(const unsigned* counter, unsigned seen) {
  Fiber* const self = fiber;
  self->counter = counter;
  self->seen = seen;
  switch_context(self->context, scheduler);
  become(self->thread);
  if (*block->failed) throw Stop();
}

void resume(Fiber* next) {
  fiber = next;
  next->counter = nullptr;
  switch_context(scheduler, next->context);
}

Fiber* idle_fiber() {
  for (auto& each : fibers) {
    if (each->idle) return each->idle = false, each.get();
  }
  auto fresh = std::make_unique<Fiber>();
  void* stack = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) return nullptr;
  fresh->stack.reset(static_cast<unsigned char*>(stack));
  start_context(fresh->context, fresh->stack.get(), fiber_main);
  fresh->idle = false;
  fibers.push_back(std::move(fresh));
  return fibers.back().get();
}

bool Block::run() {
  const dim3& size = config->blockDim;
  count = alive = size.x * size.y * size.z;
  waiting_order = permutation(count, index.x + 31 * index.y + 997 * index.z);
  warps.resize((count + 31) / 32);
  block = this;
  while (alive > 0) {
    bool moved = false;
    if (next < count) {
      Fiber* fresh = idle_fiber();
      if (!fresh) return report("no memory for another thread's stack"), *failed = true, false;
      resume(fresh);
      moved = true;
    } else {
      for (size_t i = 0; i < fibers.size(); ++i) {
        Fiber* each = fibers[order == 1 ? fibers.size() - 1 - i : i].get();
        if (each->idle || !each->counter) continue;
        if (*failed || *each->counter != each->seen) resume(each), moved = true;
      }
    }
    if (!moved && alive > 0) {
      report("threads wait for each other: not all of a block reach a barrier, or not all lanes a warp operation");
      *failed = true;
    }
  }
  for (const auto& [key, object] : shared) {
    for (size_t i = 0; i < kGuard; ++i) {
      if (object.start[object.size + i] != kPoison || object.bytes[i] != kPoison) {
        report("a block must not write beside its shared memory");
        *failed = true;
      }
    }
  }
  block = nullptr;
  threads_run += count;
  ++blocks_run;
  return !*failed;
}

}  // namespace

cudaError_t run(const cudaLaunchConfig_t& config, const std::function<void()>& body) {
  const dim3 &grid = config.gridDim, &size = config.blockDim;
  const uint64_t threads = uint64_t(size.x) * size.y * size.z;
  {
    const std::lock_guard lock(error_lock);
    error.clear();
  }
  if (threads == 0 || threads > 1024 || size.z > 64 || grid.x == 0 || grid.x > 0x7fffffffu || grid.y == 0 ||
      grid.y > 65535 || grid.z == 0 || grid.z > 65535 || config.dynamicSmemBytes > kMostShared) {
    report("a launch must have from 1 to 1024 threads a block, a grid within its bounds and shared memory for a block");
    return cudaErrorInvalidConfiguration;
  }
  bool cooperative = false;
  for (unsigned i = 0; i < config.numAttrs; ++i) {
    cooperative |= config.attrs[i].id == cudaLaunchAttributeCooperative && config.attrs[i].val.cooperative;
  }
  ++launches;
  std::atomic<bool> failed{false};
  const unsigned count = grid.x * grid.y * grid.z;
  const auto run_one = [&](unsigned which) {
    Block one{};
    one.config = &config;
    one.body = &body;
    one.failed = &failed;
    one.index = {which % grid.x, which / grid.x % grid.y, which / grid.x / grid.y};
    one.run();
  };
  if (cooperative) {
    std::vector<std::thread> team;
    for (unsigned which = 0; which < count; ++which) team.emplace_back(run_one, which);
    for (std::thread& each : team) each.join();
  } else {
    for (const unsigned which : permutation(count, 1)) {
      if (!failed) run_one(which);
    }
  }
  return failed ? cudaErrorLaunchFailure : cudaSuccess;
}

const char* error_text() {
  static thread_local std::string text;
  const std::lock_guard lock(error_lock);
  return (text = error).c_str();
}

namespace {

template <class Triple>
unsigned on_axis(const Triple& triple, int axis) {
  return axis == 0 ? triple.x : axis == 1 ? triple.y : triple.z;
}

}  // namespace

unsigned thread_index(int axis) { return on_axis(block->thread_index, axis); }
unsigned block_index(int axis) { return on_axis(block->index, axis); }
unsigned block_size(int axis) { return on_axis(block->config->blockDim, axis); }
unsigned grid_size(int axis) { return on_axis(block->config->gridDim, axis); }
unsigned lane() { return block->thread % 32; }

void fail(const char* what) {
  report(what);
  *block->failed = true;
  throw Stop();
}

void barrier() {
  const unsigned seen = block->generation;
  if (++block->arrived == block->alive) {
    release_barrier();
  } else {
    wait_for(&block->generation, seen);
  }
}

void warp_barrier(unsigned mask) {
  Warp& warp = block->warps[block->thread / 32];
  const unsigned self = 1u << lane();
  if (!(mask & self)) fail("a lane must be in the mask that it names");
  if (warp.arrived && warp.mask != mask) fail("lanes that meet must name the same mask");
  warp.mask = mask;
  warp.arrived |= self;
  if (warp.arrived == mask) {
    warp.arrived = 0;
    ++warp.generation;
  } else {
    wait_for(&warp.generation, warp.generation);
  }
}

void yield() {
  static thread_local auto since = std::chrono::steady_clock::now();
  static thread_local const Block* waiting = nullptr;
  if (waiting != block) waiting = block, since = std::chrono::steady_clock::now();
  if (*block->failed) throw Stop();
  if (std::chrono::steady_clock::now() - since > kPatience) fail("a wait for other blocks must end");
  sched_yield();
}

void* shared(const void* key, size_t bytes, size_t) {
  const auto [place, fresh] = block->shared.try_emplace(key);
  Shared& object = place->second;
  if (fresh) {
    object.bytes.assign(kGuard + bytes + kGuard, kPoison);
    object.start = object.bytes.data() + kGuard;
    object.size = bytes;
    block->shared_bytes += bytes;
    if (block->shared_bytes > kMostShared) fail("a block must not take more shared memory than there is");
  }
  return object.start;
}

unsigned char* dynamic_shared() {
  static const char key = 0;
  return static_cast<unsigned char*>(shared(&key, block->config->dynamicSmemBytes, 16));
}

unsigned char* slot(unsigned lane) { return block->warps[block->thread / 32].slots[lane]; }

}  // namespace simt

namespace {

int multiprocessors = 4, shared_bytes = simt::kMostShared;

}  // namespace

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
  *value = which == cudaDevAttrMultiProcessorCount ? multiprocessors
           : which == cudaDevAttrCooperativeLaunch ? 1
                                                   : shared_bytes;
  return cudaSuccess;
}

// What the device has from now on.
extern "C" void simt_device(int has_multiprocessors, int has_shared_bytes) {
  multiprocessors = has_multiprocessors;
  shared_bytes = has_shared_bytes;
}

// The order of threads and blocks: 0 ascending, 1 descending, else shuffled by this seed.
extern "C" void simt_order(unsigned seed) { simt::order = seed; }

// How many launches, blocks and threads there were so far.
extern "C" void simt_counts(int64_t* counts) {
  counts[0] = simt::launches;
  counts[1] = simt::blocks_run;
  counts[2] = simt::threads_run;
}
