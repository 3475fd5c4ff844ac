// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Checked sizes: exact, or nothing.
#include "format/CheckedSize.h"

#include <gtest/gtest.h>

using namespace tbq;

static constexpr uint64_t most = UINT64_MAX;

TEST(CheckedSize, AddsAndMultipliesUpToTheLimit) {
  EXPECT_EQ(checkedAdd(most - 1, 1), most);
  EXPECT_FALSE(checkedAdd(most, 1));
  EXPECT_EQ(checkedMul(uint64_t(1) << 32, (uint64_t(1) << 32) - 1),
            0xffffffff00000000u);
  EXPECT_FALSE(checkedMul(uint64_t(1) << 32, uint64_t(1) << 32));
  EXPECT_FALSE(checkedMul(checkedAdd(most, 1), 0)) << "failure is kept";
}

TEST(CheckedSize, RoundsUp) {
  EXPECT_EQ(checkedRoundUp(0, 64), 0u);
  EXPECT_EQ(checkedRoundUp(65, 64), 128u);
  EXPECT_EQ(checkedRoundUp(most - 63, 64), most - 63);
  EXPECT_FALSE(checkedRoundUp(most - 62, 64));
  EXPECT_FALSE(checkedRoundUp(1, 0));
  EXPECT_EQ(checkedCeilDiv(most, 2), (uint64_t(1) << 63));
}

TEST(CheckedSize, ShapesToBytes) {
  EXPECT_EQ(checkedTensorBytes({}, 32), 4u);
  EXPECT_EQ(checkedTensorBytes({3, 5}, 16), 30u);
  EXPECT_EQ(checkedTensorBytes({3}, 4), 2u) << "nibbles round up";
  EXPECT_EQ(checkedElements({int64_t(1) << 62, 0}), 0u);
  EXPECT_FALSE(checkedElements({-1}));
  EXPECT_FALSE(checkedElements({0, int64_t(1) << 40, int64_t(1) << 40}));
  EXPECT_FALSE(checkedTensorBytes({int64_t(1) << 62, 4}, 8));
  EXPECT_FALSE(checkedTensorBytes({int64_t(1) << 62}, 32));
}
