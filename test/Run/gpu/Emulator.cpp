// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What FakeDriver.c launches: a step that was compiled for a GPU, on a CPU; one
// block, its threads as fibers. Input: EMULATED_STEP, the step's LLVM IR,
// compiled for the host as a shared object whose NVVM intrinsics are the
// functions below. A launch runs beside the caller, as on a GPU.
// Holds: a warp's lanes meet at every shuffle and product and a block's threads
// at every barrier; a lane that is missing there ends the program. What a
// thread copies ahead is there when it has waited, and until then nothing that
// anyone can use.
#include "format/DeviceAbi.h"
#include "format/Float16.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csetjmp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <emmintrin.h>
#include <thread>
#include <ucontext.h>
#include <vector>

namespace {
constexpr int threads = 512, lanes = 32;
using Kernel = void (*)(uint8_t *, const uint8_t *, uint8_t *, const int32_t *,
                        float *, int64_t, int64_t, int64_t,
                        tbq_device_barrier *);
enum class State {
  Ready,
  Shuffling,
  Multiplying,
  MultiplyingHalves,
  Meeting,
  AtBarrier,
  Done
};

/// What a lane gives to m16n8k32, and gets: its words of the three matrices.
struct Product {
  uint32_t digits[4], activations[2];
  int32_t sums[4];
};

/// The same of m16n8k16: words of two f16.
struct HalfProduct {
  uint32_t rows[4], columns[2];
  float sums[4];
};

/// What cp.async promises: bytes that are there when the thread has waited.
struct Copy {
  uint8_t *to;
  const uint8_t *from;
  size_t bytes;
};

struct Fiber {
  ucontext_t beginning;
  jmp_buf place; // where it waits, once it has begun
  bool begun;
  std::vector<char> stack;
  State state;
  uint32_t given, taken; // of a shuffle
  int source;
  Product product;
  HalfProduct halves;
  std::vector<Copy> open;                // since the last group
  std::deque<std::vector<Copy>> pending; // groups, the oldest first
};

Fiber fibers[threads];
jmp_buf scheduler;
int current;

struct Call {
  Kernel kernel;
  uint8_t *arena;
  const uint8_t *weights;
  uint8_t *cache;
  const int32_t *tokens;
  float *logits;
  int64_t position, count, first;
  tbq_device_barrier *barrier;
} call;
std::thread launch;
std::atomic<bool> running;

void fail(const char *what) {
  std::fprintf(stderr, "emulator: error: %s\n", what);
  std::_Exit(1);
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

bool allLanes(const Fiber *first, State state) {
  for (int lane = 0; lane < lanes; ++lane)
    if (first[lane].state != state)
      return false;
  return true;
}

/// All lanes of a warp stand at a shuffle: each gets its source's value.
bool finishShuffle(int warp) {
  Fiber *first = fibers + warp * lanes;
  if (!allLanes(first, State::Shuffling))
    return false;
  for (int lane = 0; lane < lanes; ++lane)
    first[lane].taken = first[first[lane].source].given;
  for (int lane = 0; lane < lanes; ++lane)
    first[lane].state = State::Ready;
  return true;
}

/// The same at a product: 16 x 32 times 32 x 8, PTX's m16n8k32.
bool finishProduct(int warp) {
  Fiber *first = fibers + warp * lanes;
  if (!allLanes(first, State::Multiplying))
    return false;
  auto byte = [](uint32_t word, int k) { return word >> 8 * (k % 4) & 255; };
  for (int lane = 0; lane < lanes; ++lane)
    for (int i = 0; i < 4; ++i) {
      int row = lane / 4 + i / 2 * 8, column = 2 * (lane % 4) + i % 2;
      for (int k = 0; k < 32; ++k) {
        int quarter = k % 16 / 4;
        const Product &a = first[row % 8 * 4 + quarter].product;
        const Product &b = first[column * 4 + quarter].product;
        first[lane].product.sums[i] +=
            int32_t(byte(a.digits[row / 8 + k / 16 * 2], k)) *
            int8_t(byte(b.activations[k / 16], k));
      }
    }
  for (int lane = 0; lane < lanes; ++lane)
    first[lane].state = State::Ready;
  return true;
}

float toFloat(uint32_t word, int half) {
  return ::tbq::f16ToFloat(uint16_t(word >> 16 * half));
}

/// 16 x 16 times 16 x 8, of f16. The order of its additions is the same for all
/// rows and columns, as far as is known of a GPU's.
bool finishHalves(int warp) {
  Fiber *first = fibers + warp * lanes;
  if (!allLanes(first, State::MultiplyingHalves))
    return false;
  float rows[16][16], columns[8][16];
  for (int lane = 0; lane < lanes; ++lane)
    for (int k = 0; k < 4; ++k) {
      const HalfProduct &own = first[lane].halves;
      int at = lane % 4 * 2 + k / 2 * 8 + k % 2, row = lane / 4;
      rows[row][at] = toFloat(own.rows[k / 2 * 2], k % 2);
      rows[row + 8][at] = toFloat(own.rows[k / 2 * 2 + 1], k % 2);
      columns[row][at] = toFloat(own.columns[k / 2], k % 2);
    }
  for (int lane = 0; lane < lanes; ++lane) {
    for (int i = 0; i < 4; ++i) {
      float &sum = first[lane].halves.sums[i];
      const float *row = rows[lane / 4 + i / 2 * 8];
      const float *column = columns[2 * (lane % 4) + i % 2];
      for (int k = 0; k < 16; ++k)
        sum += row[k] * column[k];
    }
    first[lane].state = State::Ready;
  }
  return true;
}

/// The same where they meet and nothing else.
bool finishMeeting(int warp) {
  Fiber *first = fibers + warp * lanes;
  if (!allLanes(first, State::Meeting))
    return false;
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

/// Nobody may leave copies behind that would come when others use the memory.
void checkCopies() {
  for (const Fiber &fiber : fibers) {
    bool left = !fiber.open.empty();
    for (const std::vector<Copy> &group : fiber.pending)
      left |= !group.empty();
    if (left)
      fail("a thread ends with copies that it has not waited for");
  }
}

/// Until then the bytes are nothing that anyone can use: floats no numbers.
void copyLater(void *to, const void *from, size_t bytes) {
  if (uintptr_t(to) % bytes || uintptr_t(from) % bytes)
    fail("a copy at an address that its size does not divide");
  std::memset(to, 0x7f, bytes);
  fibers[current].open.push_back(
      {static_cast<uint8_t *>(to), static_cast<const uint8_t *>(from), bytes});
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
    fiber.open.clear();
    fiber.pending.clear();
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
      return checkCopies();
    for (int warp = 0; warp < threads / lanes; ++warp)
      moved |= finishShuffle(warp) || finishProduct(warp) ||
               finishHalves(warp) || finishMeeting(warp);
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
int64_t nvvm_read_ptx_sreg_clock64() {
  return std::chrono::steady_clock::now().time_since_epoch().count();
}
void nvvm_barrier_cta_sync_aligned_all(int32_t) { leave(State::AtBarrier); }
void nvvm_bar_warp_sync(int32_t mask) {
  if (mask != -1)
    fail("a part of a warp meets");
  leave(State::Meeting);
}
void nvvm_cp_async_cg_shared_global_16(void *to, const void *from) {
  copyLater(to, from, 16);
}
void nvvm_cp_async_ca_shared_global_4(void *to, const void *from) {
  copyLater(to, from, 4);
}
void nvvm_cp_async_commit_group() {
  Fiber &fiber = fibers[current];
  fiber.pending.push_back(std::move(fiber.open));
  fiber.open.clear();
}
/// As late as may be, so that a wait too few is seen.
void nvvm_cp_async_wait_group(int32_t left) {
  std::deque<std::vector<Copy>> &pending = fibers[current].pending;
  for (; int32_t(pending.size()) > left; pending.pop_front())
    for (const Copy &copy : pending.front())
      std::memcpy(copy.to, copy.from, copy.bytes);
}
int32_t nvvm_shfl_sync_bfly_i32(int32_t mask, int32_t value, int32_t distance,
                                int32_t) {
  return int32_t(shuffle(mask, value, (current % lanes) ^ distance));
}
float nvvm_shfl_sync_bfly_f32(int32_t mask, float value, int32_t distance,
                              int32_t) {
  return bits<float>(
      shuffle(mask, bits<uint32_t>(value), (current % lanes) ^ distance));
}
int32_t nvvm_shfl_sync_idx_i32(int32_t mask, int32_t value, int32_t lane,
                               int32_t) {
  return int32_t(shuffle(mask, uint32_t(value), lane));
}
float nvvm_shfl_sync_idx_f32(int32_t mask, float value, int32_t lane, int32_t) {
  return bits<float>(shuffle(mask, bits<uint32_t>(value), lane));
}
int32_t nvvm_redux_sync_add(int32_t value, int32_t mask) {
  for (int distance = 1; distance < lanes; distance *= 2)
    value +=
        int32_t(shuffle(mask, uint32_t(value), (current % lanes) ^ distance));
  return value;
}
uint32_t nvvm_redux_sync_umax(uint32_t value, int32_t mask) {
  for (int distance = 1; distance < lanes; distance *= 2)
    value = std::max(value, shuffle(mask, value, (current % lanes) ^ distance));
  return value;
}
/// Returns four words, in memory that the caller names first: that is how LLVM
/// calls it.
void nvvm_mma_m16n8k32_row_col_u8_s8(int32_t *result, uint32_t a0, uint32_t a1,
                                     uint32_t a2, uint32_t a3, uint32_t b0,
                                     uint32_t b1, int32_t c0, int32_t c1,
                                     int32_t c2, int32_t c3) {
  Product &product = fibers[current].product;
  product = {{a0, a1, a2, a3}, {b0, b1}, {c0, c1, c2, c3}};
  leave(State::Multiplying);
  std::memcpy(result, product.sums, sizeof product.sums);
}
/// The same of f16: two of them come in the lowest bytes of a vector register,
/// and emulator.py makes the result a vector.
__m128 nvvm_mma_m16n8k16_row_col_f32_f32(__m128i a0, __m128i a1, __m128i a2,
                                         __m128i a3, __m128i b0, __m128i b1,
                                         float c0, float c1, float c2,
                                         float c3) {
  auto word = [](__m128i x) { return uint32_t(_mm_cvtsi128_si32(x)); };
  HalfProduct &product = fibers[current].halves;
  product = {{word(a0), word(a1), word(a2), word(a3)},
             {word(b0), word(b1)},
             {c0, c1, c2, c3}};
  leave(State::MultiplyingHalves);
  return _mm_loadu_ps(product.sums);
}
}

extern "C" {
/// Starts a kernel; its parameters as cuLaunchCooperativeKernel has them.
void emulateLaunch(const char *name, void **parameters) {
  const char *path = std::getenv("EMULATED_STEP");
  void *step = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (!step)
    fail(path ? dlerror() : "no EMULATED_STEP");
  call.kernel = reinterpret_cast<Kernel>(dlsym(step, name));
  void *to[] = {&call.arena,  &call.weights, &call.cache,
                &call.tokens, &call.logits,  &call.position,
                &call.count,  &call.first,   &call.barrier};
  for (int i = 0; i < 9; ++i)
    std::memcpy(to[i], parameters[i], 8);
  running = true;
  launch = std::thread([] {
    runBlock();
    running = false;
  });
}
int launchIsRunning() { return running; }
void finishLaunch() {
  if (launch.joinable())
    launch.join();
}
}
