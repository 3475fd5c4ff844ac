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
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <dlfcn.h>
#include <emmintrin.h>
#include <map>
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
  MultiplyingGroup,
  WaitingForTurn,
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

/// A warp group's: 64 rows, as many tokens as the lanes say.
struct GroupProduct {
  int tokens, slices;
  uint32_t digits[16], columns; // where these begin, as of a descriptor
  int32_t sums[32];
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
  GroupProduct group;
  uintptr_t barrier; // whose turn it waits for
  int parity;
  std::vector<Copy> open;                // since the last group
  std::deque<std::vector<Copy>> pending; // groups, the oldest first
};

/// A barrier in shared memory: what is missing of a turn, and the copies that
/// belong to it, done when someone waits for it and not before.
struct TurnBarrier {
  int arrivals, missing, parity = 0;
  int64_t expected = 0; // bytes of copies, less those asked for
  std::vector<Copy> copies;
};

std::map<uintptr_t, TurnBarrier> barriers;
uint8_t *shared; // what the launch brings
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

/// Four warps stand at a product: 64 x 32 times 32 x tokens, so many slices of
/// it. Tokens have 128 bytes each, the chunks of 16 exchanged by the address.
bool finishGroup(int number) {
  Fiber *first = fibers + number * 4 * lanes;
  for (int warp = 0; warp < 4; ++warp)
    if (!allLanes(first + warp * lanes, State::MultiplyingGroup))
      return false;
  const GroupProduct &one = first->group;
  auto base = uintptr_t(shared);
  uintptr_t begin = base + ((one.columns - (base >> 4)) & 0x3fff) * 16;
  auto column = [&](int token, int k) {
    uintptr_t at = begin + uintptr_t(token * 128 + k);
    return *reinterpret_cast<int8_t *>(at ^ (at >> 3 & 0x70));
  };
  for (int thread = 0; thread < 4 * lanes; ++thread) {
    GroupProduct &own = first[thread].group;
    if (own.tokens != one.tokens || own.slices != one.slices ||
        own.columns != one.columns)
      fail("warps of a group multiply other things");
    for (int i = 0; i < own.tokens / 2; ++i) {
      int row = thread % lanes / 4 + i / 2 % 2 * 8;
      int token = i / 4 * 8 + 2 * (thread % 4) + i % 2;
      for (int k = 0; k < 32 * own.slices; ++k) {
        const Fiber &lane =
            first[thread / lanes * lanes + row % 8 * 4 + k % 16 / 4];
        uint32_t word =
            lane.group.digits[k / 32 * 4 + row / 8 + k % 32 / 16 * 2];
        own.sums[i] += int8_t(word >> 8 * (k % 4)) * column(token, k);
      }
    }
  }
  for (int thread = 0; thread < 4 * lanes; ++thread)
    first[thread].state = State::Ready;
  return true;
}

TurnBarrier &getBarrier(uintptr_t address) {
  auto found = barriers.find(address);
  if (found == barriers.end())
    fail("something is done with a barrier that is none");
  return found->second;
}

void endTurn(TurnBarrier &barrier) {
  if (barrier.missing != 0 || barrier.expected != 0)
    return;
  for (const Copy &copy : barrier.copies)
    std::memcpy(copy.to, copy.from, copy.bytes);
  barrier.copies.clear();
  barrier.missing = barrier.arrivals;
  barrier.parity ^= 1;
}

bool finishTurn(Fiber &fiber) {
  if (fiber.state != State::WaitingForTurn)
    return false;
  TurnBarrier &barrier = getBarrier(fiber.barrier);
  endTurn(barrier);
  if (barrier.parity == fiber.parity)
    return false;
  fiber.state = State::Ready;
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
  if (!barriers.empty())
    fail("a barrier is left in memory that is used for something else");
}

/// Until then the bytes are nothing that anyone can use: floats no numbers.
void copyLater(void *to, const void *from, size_t bytes, size_t alignment,
               std::vector<Copy> &copies) {
  if (uintptr_t(to) % alignment || uintptr_t(from) % alignment)
    fail("a copy at an address that its size does not divide");
  std::memset(to, 0x7f, bytes);
  copies.push_back(
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
    for (int group = 0; group < threads / lanes / 4; ++group)
      moved |= finishGroup(group);
    for (Fiber &fiber : fibers)
      moved |= finishTurn(fiber);
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
  copyLater(to, from, 16, 16, fibers[current].open);
}
void nvvm_cp_async_ca_shared_global_4(void *to, const void *from) {
  copyLater(to, from, 4, 4, fibers[current].open);
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

// What it calls instead of PTX (lib/GPU/Warpgroup.h).
extern "C" {
void tbq_init_barrier(uintptr_t at, int arrivals) {
  if (at % 8 || barriers.count(at))
    fail("a barrier where there is one, or where none can be");
  TurnBarrier &barrier = barriers[at];
  barrier.arrivals = barrier.missing = arrivals;
}
void tbq_end_barrier(uintptr_t at) {
  if (!getBarrier(at).copies.empty())
    fail("a barrier ends before its copies have come");
  barriers.erase(at);
}
void tbq_arrive_and_expect(uintptr_t at, int bytes) {
  TurnBarrier &barrier = getBarrier(at);
  endTurn(barrier);
  barrier.expected += bytes;
  --barrier.missing;
}
void tbq_arrive(uintptr_t at) { tbq_arrive_and_expect(at, 0); }
void tbq_wait_for_turn(uintptr_t at, int parity) {
  fibers[current].barrier = at;
  fibers[current].parity = parity;
  leave(State::WaitingForTurn);
}
void tbq_copy_bulk(void *to, const void *from, int bytes, uintptr_t at) {
  TurnBarrier &barrier = getBarrier(at);
  if (bytes % 16)
    fail("a copy of no multiple of 16 bytes");
  copyLater(to, from, size_t(bytes), 16, barrier.copies);
  barrier.expected -= bytes;
}
int tbq_elect() {
  leave(State::Meeting);
  return current % lanes == 0;
}
void tbq_fence_copies() {}
/// Returns as many words as half its tokens, in memory that the caller names.
void tbq_multiply(int32_t *result, int tokens, int slices, int adds, ...) {
  GroupProduct &product = fibers[current].group;
  product = {tokens, slices, {}, 0, {}};
  va_list operands;
  va_start(operands, adds);
  for (int i = 0; i < 4 * slices; ++i)
    product.digits[i] = va_arg(operands, uint32_t);
  product.columns = va_arg(operands, uint32_t) & 0x3fff;
  for (int i = 0; adds && i < tokens / 2; ++i)
    product.sums[i] = va_arg(operands, int32_t);
  va_end(operands);
  leave(State::MultiplyingGroup);
  std::memcpy(result, product.sums, size_t(tokens) * 2);
}
}

extern "C" {
/// Starts a kernel; its parameters as cuLaunchCooperativeKernel has them.
void emulateLaunch(const char *name, void **parameters) {
  const char *path = std::getenv("EMULATED_STEP");
  void *step = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : nullptr;
  if (!step)
    fail(path ? dlerror() : "no EMULATED_STEP");
  shared = static_cast<uint8_t *>(dlsym(step, "tbq_shared_worker"));
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
