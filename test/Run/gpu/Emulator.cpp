// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs a step that was compiled for a GPU on a CPU: one block, its threads as
// fibers. Input: the artifact; the step's LLVM IR, compiled for the host as a
// shared object whose NVVM intrinsics are the functions below; tokens. Output:
// the last token's logits, raw floats on stdout.
// Holds: a warp's lanes meet at every shuffle and a block's threads at every
// barrier; a lane that is missing there ends the program.
#include "format/DeviceAbi.h"
#include "format/StepAbi.h"

#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <ucontext.h>
#include <vector>

namespace {
constexpr int threads = 512, lanes = 32;
using Kernel = void (*)(uint8_t *, const uint8_t *, uint8_t *, const int32_t *,
                        float *, int64_t, int64_t, int64_t,
                        tbq_device_barrier *);
enum class State { Ready, Shuffling, AtBarrier, Done };

struct Fiber {
  ucontext_t beginning;
  jmp_buf place; // where it waits, once it has begun
  bool begun;
  std::vector<char> stack;
  State state;
  uint32_t given, taken; // of a shuffle
  int source;
};

Fiber fibers[threads];
jmp_buf scheduler;
int current;

struct Call {
  Kernel kernel;
  uint8_t *arena, *cache;
  const uint8_t *weights;
  const int32_t *tokens;
  float *logits;
  int64_t position, count, first;
  tbq_device_barrier *barrier;
} call;

void fail(const char *what) {
  std::fprintf(stderr, "emulator: error: %s\n", what);
  std::exit(1);
}

/// Switches without a system call, which swapcontext makes.
void leave(State state) {
  Fiber &fiber = fibers[current];
  fiber.state = state;
  if (_setjmp(fiber.place) == 0)
    _longjmp(scheduler, 1);
}

void resume() {
  Fiber &fiber = fibers[current];
  if (_setjmp(scheduler) != 0)
    return;
  if (fiber.begun)
    _longjmp(fiber.place, 1);
  fiber.begun = true;
  setcontext(&fiber.beginning);
}

void enter() {
  call.kernel(call.arena, call.weights, call.cache, call.tokens, call.logits,
              call.position, call.count, call.first, call.barrier);
  leave(State::Done);
}

/// All lanes of a warp stand at a shuffle: each gets its source's value.
bool finishShuffle(int warp) {
  Fiber *first = fibers + warp * lanes;
  for (int lane = 0; lane < lanes; ++lane)
    if (first[lane].state != State::Shuffling)
      return false;
  for (int lane = 0; lane < lanes; ++lane)
    first[lane].taken = first[first[lane].source].given;
  for (int lane = 0; lane < lanes; ++lane)
    first[lane].state = State::Ready;
  return true;
}

bool finishBarrier() {
  for (const Fiber &fiber : fibers)
    if (fiber.state != State::AtBarrier)
      return false;
  for (Fiber &fiber : fibers)
    fiber.state = State::Ready;
  return true;
}

void runBlock() {
  for (int i = 0; i < threads; ++i) {
    Fiber &fiber = fibers[i];
    fiber.stack.resize(256 << 10);
    getcontext(&fiber.beginning);
    fiber.beginning.uc_stack.ss_sp = fiber.stack.data();
    fiber.beginning.uc_stack.ss_size = fiber.stack.size();
    fiber.beginning.uc_link = nullptr;
    makecontext(&fiber.beginning, enter, 0);
    fiber.state = State::Ready;
    fiber.begun = false;
  }
  for (;;) {
    bool moved = false, left = false;
    for (current = 0; current < threads; ++current) {
      if (fibers[current].state == State::Ready) {
        resume();
        moved = true;
      }
      left |= fibers[current].state != State::Done;
    }
    if (!left)
      return;
    for (int warp = 0; warp < threads / lanes; ++warp)
      moved |= finishShuffle(warp);
    moved |= finishBarrier();
    if (!moved)
      fail("threads wait for each other at different places");
  }
}

uint32_t shuffle(uint32_t mask, uint32_t value, int source) {
  if (mask != ~0u)
    fail("a shuffle of a part of a warp");
  Fiber &fiber = fibers[current];
  fiber.given = value;
  fiber.source = source;
  leave(State::Shuffling);
  return fiber.taken;
}
template <class To, class From> To bits(From from) {
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}
} // namespace

// What the compiled step calls: NVVM's intrinsics, dots as underscores.
extern "C" {
int32_t nvvm_read_ptx_sreg_tid_x() { return current; }
int32_t nvvm_read_ptx_sreg_ctaid_x() { return 0; }
int32_t nvvm_read_ptx_sreg_nctaid_x() { return 1; }
void nvvm_barrier_cta_sync_aligned_all(int32_t) { leave(State::AtBarrier); }
int32_t nvvm_shfl_sync_bfly_i32(int32_t mask, int32_t value, int32_t distance,
                                int32_t) {
  return int32_t(shuffle(mask, value, (current % lanes) ^ distance));
}
float nvvm_shfl_sync_bfly_f32(int32_t mask, float value, int32_t distance,
                              int32_t) {
  return bits<float>(
      shuffle(mask, bits<uint32_t>(value), (current % lanes) ^ distance));
}
float nvvm_shfl_sync_idx_f32(int32_t mask, float value, int32_t lane, int32_t) {
  return bits<float>(shuffle(mask, bits<uint32_t>(value), lane));
}
int32_t nvvm_idp4a_u_s(int32_t a, int32_t b, int32_t sum) {
  for (int byte = 0; byte < 4; ++byte)
    sum += int32_t(uint8_t(uint32_t(a) >> 8 * byte)) *
           int32_t(int8_t(uint8_t(uint32_t(b) >> 8 * byte)));
  return sum;
}
}

int main(int argc, char **argv) {
  if (argc < 4)
    fail("usage: emulator ARTIFACT STEP.so TOKENS-A-PREFILL TOKEN...");
  void *artifact = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  void *step = artifact ? dlopen(argv[2], RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (!step)
    fail(dlerror());
  auto query =
      reinterpret_cast<tbq_model_query_fn>(dlsym(artifact, "tbq_model_query"));
  const tbq_model_table *table = query(TBQ_STEP_ABI);
  auto find = [&](const char *name) {
    return reinterpret_cast<Kernel>(dlsym(step, name));
  };
  Kernel decode = find(TBQ_DEVICE_DECODE), prefill = find(TBQ_DEVICE_PREFILL);
  auto allocate = [](uint64_t bytes) {
    void *memory =
        std::aligned_alloc(64, (bytes + TBQ_DEVICE_SLACK + 63) / 64 * 64);
    std::memset(memory, 0, bytes + TBQ_DEVICE_SLACK);
    return static_cast<uint8_t *>(memory);
  };
  std::vector<int32_t> tokens;
  for (int i = 4; i < argc; ++i)
    tokens.push_back(std::atoi(argv[i]));
  std::vector<float> logits(size_t(table->logits_stride) *
                            size_t(table->prefill_tokens));
  tbq_device_barrier barrier = {};
  call = {nullptr,
          allocate(table->arena_bytes),
          allocate(table->cache_bytes),
          table->weights,
          nullptr,
          logits.data(),
          0,
          0,
          0,
          &barrier};
  const int64_t chunk = std::atoi(argv[3]);
  int64_t count = int64_t(tokens.size());
  for (int64_t done = 0; done < count; done += call.count) {
    call.count = std::min(chunk, count - done);
    call.kernel = call.count == 1 ? decode : prefill;
    call.tokens = tokens.data() + done;
    call.position = done;
    call.first = done + call.count == count ? call.count - 1 : call.count;
    runBlock();
  }
  std::fwrite(logits.data(), sizeof(float), size_t(table->logits_stride),
              stdout);
}
