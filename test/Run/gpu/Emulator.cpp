// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What FakeDriver.c launches: a step that was compiled for a GPU, on a CPU; one
// block, its threads as fibers. Input: EMULATED_STEP, the step's LLVM IR,
// compiled for the host as a shared object whose NVVM intrinsics are the
// functions of Intrinsics.cpp. A launch runs beside the caller, as on a GPU.
// Holds: a warp's lanes meet at every shuffle and product and a block's threads
// at every barrier; a lane that is missing there ends the program. What a
// thread copies ahead is there when it has waited, and until then nothing that
// anyone can use.
#include "Emulator.h"

#include "format/DeviceAbi.h"
#include "format/Float16.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <thread>

using namespace emulator;

std::map<uintptr_t, TurnBarrier> emulator::barriers;
Fiber emulator::fibers[threads];
int emulator::current;

namespace {
using Kernel = void (*)(uint8_t *, const uint8_t *, uint8_t *, const int32_t *,
                        float *, int64_t, int64_t, int64_t,
                        tbq_device_barrier *);
uint8_t *shared; // what the launch brings
jmp_buf scheduler;

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

} // namespace

void emulator::fail(const char *what) {
  std::fprintf(stderr, "emulator: error: %s\n", what);
  std::_Exit(1);
}

/// Switches without a system call, which swapcontext makes.
void emulator::leave(State state) {
  Fiber &fiber = fibers[current];
  fiber.state = state;
  if (_setjmp(fiber.place) == 0)
    _longjmp(scheduler, 1);
}

namespace {
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

/// What a word of each matrix adds to a sum.
int32_t multiply(bool ofBits, uint32_t digits, uint32_t activations) {
  if (ofBits)
    return __builtin_popcount(digits & activations);
  int32_t sum = 0;
  for (int i = 0; i < 32; i += 8)
    sum += int32_t(digits >> i & 255) * int8_t(activations >> i & 255);
  return sum;
}

/// The same at a product: 16 rows of eight words times 8 columns, PTX's
/// m16n8k32 and, of bits, m16n8k256.
bool finishProduct(int warp) {
  Fiber *first = fibers + warp * lanes;
  if (!allLanes(first, State::Multiplying))
    return false;
  for (int lane = 0; lane < lanes; ++lane)
    for (int i = 0; i < 4; ++i) {
      int row = lane / 4 + i / 2 * 8, column = 2 * (lane % 4) + i % 2;
      for (int word = 0; word < 8; ++word) {
        int quarter = word % 4, half = word / 4;
        const Product &a = first[row % 8 * 4 + quarter].product;
        const Product &b = first[column * 4 + quarter].product;
        first[lane].product.sums[i] += multiply(
            a.ofBits, a.digits[row / 8 + half * 2], b.activations[half]);
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
      double exact = sum; // rounded once, in whatever order
      for (int k = 0; k < 16; ++k)
        exact += double(row[k]) * double(column[k]);
      sum = float(exact);
    }
    first[lane].state = State::Ready;
  }
  return true;
}

/// What a product's column `token` has in row `k`, of whatever there is.
int8_t getDigit(const GroupProduct &one, uintptr_t begin, int token, int k) {
  // 128 bytes of a token, the chunks of 16 exchanged by the address.
  begin += uintptr_t(k / 32 * one.step * 16);
  uintptr_t at = begin + uintptr_t(token * 128 + k % 32);
  return *reinterpret_cast<int8_t *>(at ^ (at >> 3 & 0x70));
}
/// Where a descriptor says that something begins.
uintptr_t getBegin(uint32_t descriptor) {
  auto base = uintptr_t(shared);
  return base + ((descriptor - (base >> 4)) & 0x3fff) * 16;
}
/// Of columns, or of rows that lie in memory.
float getHalf(uint32_t descriptor, int step, int number, int k) {
  // Eights of them, 16 bytes each; 16 bytes more are elsewhere.
  uintptr_t more = (descriptor >> 16 & 0x3fff) * 16;
  uintptr_t begin =
      getBegin(descriptor) + uintptr_t(k / 16 * step * 16) + k % 16 / 8 * more;
  uint32_t word;
  std::memcpy(&word,
              reinterpret_cast<char *>(begin) + number * 16 + k % 8 / 2 * 4, 4);
  return toFloat(word, k % 2);
}

/// Four warps stand at a product: 64 x 32 times 32 x tokens, or of halves 64 x
/// 16 times 16 x tokens, so many slices of it.
bool finishGroup(int number) {
  Fiber *first = fibers + number * 4 * lanes;
  for (int warp = 0; warp < 4; ++warp)
    if (!allLanes(first + warp * lanes, State::MultiplyingGroup))
      return false;
  const GroupProduct &one = first->group;
  uintptr_t begin = getBegin(one.columns);
  for (int thread = 0; thread < 4 * lanes; ++thread) {
    GroupProduct &own = first[thread].group;
    if (own.ofHalves != one.ofHalves || own.tokens != one.tokens ||
        own.slices != one.slices || own.columns != one.columns ||
        own.rows != one.rows)
      fail("warps of a group multiply other things");
    for (int i = 0; i < own.tokens / 2; ++i) {
      int row = thread % lanes / 4 + i / 2 % 2 * 8;
      int token = i / 4 * 8 + 2 * (thread % 4) + i % 2;
      const Fiber *ofRow = first + thread / lanes * lanes + row % 8 * 4;
      if (own.ofHalves) {
        float sum;
        std::memcpy(&sum, &own.sums[i], 4);
        for (int slice = 0; slice < own.slices; ++slice) {
          double exact = sum; // as a warp's
          for (int k = 16 * slice; k < 16 * (slice + 1); ++k) {
            float x;
            if (one.rowStep)
              x = getHalf(one.rows, one.rowStep, thread / lanes * 16 + row, k);
            else
              x = toFloat(ofRow[k % 8 / 2].group.digits[4 * slice + row / 8 +
                                                        k % 16 / 8 * 2],
                          k % 2);
            exact +=
                double(x) * double(getHalf(one.columns, one.step, token, k));
          }
          sum = float(exact);
        }
        std::memcpy(&own.sums[i], &sum, 4);
        continue;
      }
      for (int k = 0; k < 32 * own.slices; ++k) {
        uint32_t word =
            ofRow[k % 16 / 4]
                .group.digits[k / 32 * 4 + row / 8 + k % 32 / 16 * 2];
        own.sums[i] +=
            int8_t(word >> 8 * (k % 4)) * getDigit(one, begin, token, k);
      }
    }
  }
  for (int thread = 0; thread < 4 * lanes; ++thread)
    first[thread].state = State::Ready;
  return true;
}

} // namespace

TurnBarrier &emulator::getBarrier(uintptr_t address) {
  auto found = barriers.find(address);
  if (found == barriers.end())
    fail("something is done with a barrier that is none");
  return found->second;
}

void emulator::endTurn(TurnBarrier &barrier) {
  if (barrier.missing != 0 || barrier.expected != 0)
    return;
  for (const Copy &copy : barrier.copies)
    std::memcpy(copy.to, copy.from, copy.bytes);
  barrier.copies.clear();
  barrier.missing = barrier.arrivals;
  barrier.parity ^= 1;
}

namespace {
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

} // namespace

void emulator::copyLater(void *to, const void *from, size_t bytes,
                         size_t alignment, std::vector<Copy> &copies) {
  if (uintptr_t(to) % alignment || uintptr_t(from) % alignment)
    fail("a copy at an address that its size does not divide");
  std::memset(to, 0x7f, bytes);
  copies.push_back(
      {static_cast<uint8_t *>(to), static_cast<const uint8_t *>(from), bytes});
}

namespace {
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

} // namespace

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
