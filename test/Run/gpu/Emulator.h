// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A block whose threads are fibers, as Emulator.cpp runs it and Intrinsics.cpp
// has it called.
#ifndef TBQ_TEST_RUN_GPU_EMULATOR_H
#define TBQ_TEST_RUN_GPU_EMULATOR_H

#include <csetjmp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <ucontext.h>
#include <vector>

namespace emulator {

constexpr int threads = 512, lanes = 32; // of a block, of a warp
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
/// Of bits, to m16n8k256, or m16n8k128, whose other words are 0.
struct Product {
  uint32_t digits[4], activations[2];
  int32_t sums[4];
  bool ofBits = false;
};

/// The same of m16n8k16: words of two f16; or of m16n8k8, whose others are 0.
struct HalfProduct {
  uint32_t rows[4], columns[2];
  float sums[4];
};

/// A warp group's: 64 rows, as many tokens and slices as the lanes say.
struct GroupProduct {
  bool ofHalves;                // or of digits
  int tokens, slices, step;     // from slice to slice, as of a descriptor
  std::vector<uint32_t> digits; // words, four a slice
  uint32_t columns;             // where these begin, as of a descriptor
  int32_t sums[64];
  // Of halves, rows that lie in memory: as columns do. 0: they are registers.
  int rowStep = 0;
  uint32_t rows = 0;
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
  std::deque<GroupProduct> started; // the oldest first
  uintptr_t barrier;                // whose turn it waits for
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

extern std::map<uintptr_t, TurnBarrier> barriers; // by address
extern Fiber fibers[threads];
extern int current; // the thread that runs

/// Ends the program.
[[noreturn]] void fail(const char *what);

/// The thread waits in this state, until what it waits for is finished.
void leave(State state);

/// Fails where there is none.
TurnBarrier &getBarrier(uintptr_t address);

/// If nothing is missing of it.
void endTurn(TurnBarrier &barrier);

/// Until then the bytes are nothing that anyone can use: floats no numbers.
void copyLater(void *to, const void *from, size_t bytes, size_t alignment,
               std::vector<Copy> &copies);

} // namespace emulator

#endif // TBQ_TEST_RUN_GPU_EMULATOR_H
