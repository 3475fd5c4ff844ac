// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Times of barriers as times of what stands between them: blocks' clocks
// differ, barriers stand in memory by number and were reached in another order.
#include "runtime/PhaseTimes.h"

#include <gtest/gtest.h>

using namespace tbq;

namespace {

constexpr int64_t phases = 3, layers = 2, blocks = 3;

tbq_device_time *at(PhaseTimes &times, int64_t layer, int64_t phase) {
  return &times.memory()[size_t((layer * phases + phase) * blocks)];
}

/// The entry's phase 2, then phase 0 of both layers, then the end: phase 1.
void noteStep(PhaseTimes &times) {
  for (int64_t b = 0; b < blocks; ++b) {
    uint64_t clock = 1000 * uint64_t(b + 1), slower = uint64_t(b);
    at(times, 0, 2)[b] = {clock, clock + 10};
    at(times, 0, 0)[b] = {clock + 110 + slower, clock + 120};
    at(times, 1, 0)[b] = {clock + 140 + slower, clock + 150};
    at(times, 0, 1)[b] = {clock + 170 - slower, clock + 180};
  }
}

TEST(PhaseTimesTest, SumsOverLayersAndSteps) {
  PhaseTimes times(phases, layers, blocks, 1e9);
  noteStep(times);
  times.add();
  times.add();
  EXPECT_EQ(times.steps(), 2);
  EXPECT_EQ(times.hertz(), 1e9);
  const PhaseTime &entry = times.phases()[2], &layer = times.phases()[0];
  EXPECT_EQ(entry.times, 2);
  EXPECT_EQ(entry.median, 2 * 101);
  EXPECT_EQ(entry.largest, 2 * 102);
  EXPECT_EQ(entry.barrier, 2 * 8);
  EXPECT_EQ(entry.whole, 2 * 110);
  EXPECT_EQ(layer.times, 4);
  EXPECT_EQ(layer.median, 2 * (21 + 19));
  EXPECT_EQ(layer.largest, 2 * (22 + 20));
  EXPECT_EQ(layer.barrier, 2 * (8 + 10));
  EXPECT_EQ(layer.whole, 2 * (30 + 30));
  // Behind the last barrier nothing is.
  EXPECT_EQ(times.phases()[1].times, 0);
}

TEST(PhaseTimesTest, StartsOver) {
  PhaseTimes times(phases, layers, blocks, 1e9);
  noteStep(times);
  times.add();
  times.clear();
  EXPECT_EQ(times.steps(), 0);
  for (const PhaseTime &phase : times.phases())
    EXPECT_EQ(phase.times, 0);
}

} // namespace
