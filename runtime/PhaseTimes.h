// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a GPU's steps spend their time with: blocks note when they come to each
// barrier and when they go on (format/DeviceAbi.h). Input: these times, of a
// step at a time. Output: for each phase, what stands between two barriers, how
// long blocks work and wait.
// Invariant: a clock is compared with itself alone: each block has its own.
#ifndef TBQ_RUNTIME_PHASETIMES_H
#define TBQ_RUNTIME_PHASETIMES_H

#include "format/DeviceAbi.h"

#include <cstdint>
#include <vector>

namespace tbq {

/// A phase and the barrier behind it, in cycles, summed over all steps.
struct PhaseTime {
  int64_t times = 0;  // that it was run
  double median = 0;  // of the blocks' work
  double largest = 0; // the last block's work
  double barrier = 0; // the shortest wait: what nobody is waited for
  double whole = 0;   // from barrier to barrier, on average over blocks
};

class PhaseTimes {
public:
  PhaseTimes(int64_t phases, int64_t layers, int64_t blocks, double hertz)
      : blocks(blocks), frequency(hertz), noted(layers * phases * blocks),
        sums(phases) {}

  /// Memory for the times of a step, zero where there is none.
  std::vector<tbq_device_time> &memory() { return noted; }
  /// Adds what stands there.
  void add();
  void clear();

  const std::vector<PhaseTime> &phases() const { return sums; }
  int64_t steps() const { return added; }
  double hertz() const { return frequency; }

private:
  int64_t blocks;
  double frequency;
  std::vector<tbq_device_time> noted;
  std::vector<PhaseTime> sums;
  int64_t added = 0;
};

} // namespace tbq

#endif // TBQ_RUNTIME_PHASETIMES_H
