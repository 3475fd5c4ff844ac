// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// f16 and bf16 conversions against the compiler's own _Float16 and against a
// nearest-of-two search, over all 16-bit patterns and their neighbourhoods.
#include "format/Float16.h"

#include <cmath>
#include <gtest/gtest.h>
#include <random>

using namespace tbq;

static float compilerWiden(uint16_t pattern) {
  _Float16 half;
  std::memcpy(&half, &pattern, sizeof(half));
  return static_cast<float>(half);
}

static uint16_t compilerNarrow(float value) {
  auto half = static_cast<_Float16>(value);
  uint16_t pattern;
  std::memcpy(&pattern, &half, sizeof(pattern));
  return pattern;
}

TEST(Float16, WidensEveryPattern) {
  for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    float ours = f16ToFloat(static_cast<uint16_t>(pattern));
    float theirs = compilerWiden(static_cast<uint16_t>(pattern));
    ASSERT_EQ(floatToBits(ours), floatToBits(theirs)) << pattern;
    if (!std::isnan(ours))
      ASSERT_EQ(floatToF16(ours), pattern);
    else
      ASSERT_TRUE(std::isnan(f16ToFloat(floatToF16(ours))));
  }
}

TEST(Float16, NarrowsAroundEveryTie) {
  for (uint32_t pattern = 0; pattern < 0x7c00; ++pattern) {
    float low = f16ToFloat(static_cast<uint16_t>(pattern));
    float high = pattern == 0x7bff
                     ? 65536.0f
                     : f16ToFloat(static_cast<uint16_t>(pattern + 1));
    float middle = low + (high - low) / 2;
    for (float value : {middle, std::nextafter(middle, 0.0f),
                        std::nextafter(middle, 1e30f)}) {
      ASSERT_EQ(floatToF16(value), compilerNarrow(value)) << value;
      ASSERT_EQ(floatToF16(-value), compilerNarrow(-value)) << value;
    }
  }
}

TEST(Float16, NarrowsRandomBits) {
  std::mt19937 random(1);
  for (int i = 0; i < 1'000'000; ++i) {
    float value = bitsToFloat(static_cast<uint32_t>(random()));
    if (!std::isnan(value))
      ASSERT_EQ(floatToF16(value), compilerNarrow(value)) << value;
  }
  EXPECT_EQ(floatToF16(INFINITY), 0x7c00);
  EXPECT_EQ(floatToF16(1e30f), 0x7c00);
}

TEST(Float16, Bfloat16RoundsToNearestEven) {
  EXPECT_EQ(bf16ToFloat(0x3f80), 1.0f);
  EXPECT_EQ(floatToBf16(bitsToFloat(0x3f808000)), 0x3f80) << "tie to even";
  EXPECT_EQ(floatToBf16(bitsToFloat(0x3f818000)), 0x3f82) << "tie to even";
  EXPECT_EQ(floatToBf16(bitsToFloat(0x3f808001)), 0x3f81);
  EXPECT_EQ(floatToBf16(bitsToFloat(0x7f7fffff)), 0x7f80) << "to infinity";
  EXPECT_TRUE(std::isnan(bf16ToFloat(floatToBf16(bitsToFloat(0x7f800001)))));
  for (uint32_t pattern = 0; pattern < 0x10000; ++pattern) {
    float value = bf16ToFloat(static_cast<uint16_t>(pattern));
    if (!std::isnan(value))
      ASSERT_EQ(floatToBf16(value), pattern);
  }
}
