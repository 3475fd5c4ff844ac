// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The closed forms against hand-computed vectors, against their neighbours
// and, for dual binary, against a search for the nearest level.

#include "tbq/ClosedForm.h"

#include "format/Float16.h"
#include "gtest/gtest.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <vector>

using namespace tbq;

namespace {

const float kGroup[] = {0.9f, -0.3f, 0.05f, -1.2f, 0.4f, 0.0f, -0.45f, 0.7f};

TEST(ClosedForm, TernaryGroupOfEight) {
  const uint8_t expected[] = {2, 1, 1, 0, 2, 1, 0, 2};
  uint8_t digits[8];
  GroupFit fit = fitTernary(kGroup, 8, digits);
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(digits[i], expected[i]) << i;
  EXPECT_NEAR(fit[0], 0.746154, 1e-6);
  EXPECT_NEAR(fit[1], -0.080769, 1e-6);
}

TEST(ClosedForm, ThresholdIsStrict) {
  // mean|W| = 1, Delta = 0.7: a weight at the threshold gets 0.
  const float weights[] = {0.5f, -0.5f, 1.5f, 1.5f};
  uint8_t digits[4];
  fitTernary(weights, 4, digits);
  EXPECT_EQ(digits[0], 1);
  EXPECT_EQ(digits[1], 1);
  EXPECT_EQ(digits[2], 2);
  // Delta is 0 where all weights are 0.
  const float zeros[] = {0.0f, -0.0f};
  GroupFit fit = fitTernary(zeros, 2, digits);
  EXPECT_EQ(digits[0], 1);
  EXPECT_EQ(digits[1], 1);
  EXPECT_EQ(fit[0], 0.0);
  EXPECT_EQ(fit[1], 0.0);
}

TEST(ClosedForm, EqualDigitsFallBackToTheMean) {
  const float weights[] = {-2.5f, -3.0f, -3.5f};
  uint8_t digits[3];
  GroupFit fit = fitTernary(weights, 3, digits);
  EXPECT_EQ(digits[0] + digits[1] + digits[2], 0);
  EXPECT_EQ(fit[0], 3.0);
  EXPECT_EQ(fit[1], 0.0);
  const float one[] = {0.25f};
  fit = fitTernary(one, 1, digits);
  EXPECT_EQ(digits[0], 2);
  EXPECT_EQ(fit[0], 0.25);
}

double squaredError(const std::vector<float> &weights,
                    const std::vector<uint8_t> &digits, double scale,
                    double shift) {
  double error = 0;
  for (size_t i = 0; i < weights.size(); ++i)
    error += std::pow(weights[i] - (scale * (digits[i] - 1) + shift), 2);
  return error;
}

TEST(ClosedForm, NoNeighbourIsBetter) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal(0.02f, 0.1f);
  for (int64_t count : {2, 3, 5, 64, 127}) {
    std::vector<float> weights(count);
    for (float &weight : weights)
      weight = normal(random);
    std::vector<uint8_t> digits(count);
    GroupFit fit = fitTernary(weights.data(), count, digits.data());
    double best = squaredError(weights, digits, fit[0], fit[1]);
    for (double scale : {-1e-4, 0.0, 1e-4})
      for (double shift : {-1e-4, 0.0, 1e-4})
        EXPECT_LE(best, squaredError(weights, digits, fit[0] + scale,
                                     fit[1] + shift) +
                            1e-12);
  }
}

TEST(ClosedForm, RoundsOnceToF16) {
  EXPECT_EQ(roundToF16(0.746154), 0x39f8);
  // Just above and below the tie between 1 and 1 + 2^-10: a float in between
  // would round both to the tie.
  const double tie = 1 + std::ldexp(1, -11);
  EXPECT_EQ(roundToF16(tie), 0x3c00);
  EXPECT_EQ(roundToF16(tie + std::ldexp(1, -40)), 0x3c01);
  EXPECT_EQ(roundToF16(tie + std::ldexp(1, -10)), 0x3c02);
  EXPECT_EQ(roundToF16(tie + std::ldexp(1, -10) - std::ldexp(1, -40)), 0x3c01);
  EXPECT_EQ(roundToF16(-tie - std::ldexp(1, -40)), 0xbc01);
  EXPECT_EQ(roundToF16(1e300), 0x7c00);
  EXPECT_EQ(roundToF16(1e-300), 0);
  for (uint32_t half = 0; half < 0x7c00; ++half)
    EXPECT_EQ(roundToF16(f16ToFloat(static_cast<uint16_t>(half))), half);
}

TEST(ClosedForm, MatrixInCheckpointOrder) {
  // Two rows of five, groups of four: the last group has one column.
  const float weights[] = {1, -1, 0, 1, -3, /**/ 0, 0, 0, 0, 0};
  uint8_t codes[4];
  uint16_t scale[4], shift[4];
  ASSERT_TRUE(
      bool(quantizeTernary(weights, 0, 2, {5, 4, {codes}, {scale, shift}})));
  EXPECT_EQ(codes[0], 2 | 0 << 2 | 1 << 4 | 2 << 6);
  EXPECT_EQ(codes[1], 0);
  EXPECT_EQ(codes[2], 0x55);
  EXPECT_EQ(codes[3], 1);
  EXPECT_EQ(f16ToFloat(scale[0]), 1.0f);
  EXPECT_EQ(f16ToFloat(shift[0]), 0.0f);
  EXPECT_EQ(f16ToFloat(scale[1]), 3.0f);
  EXPECT_EQ(f16ToFloat(scale[2]), 0.0f);
  // The second row alone gives its part of the matrix, nothing else.
  uint8_t again[] = {7, 7, 7, 7};
  ASSERT_TRUE(bool(
      quantizeTernary(weights + 5, 1, 1, {5, 4, {again}, {scale, shift}})));
  EXPECT_EQ(again[0], 7);
  EXPECT_EQ(again[1], 7);
  EXPECT_EQ(again[2], 0x55);
  EXPECT_EQ(again[3], 1);
}

TEST(ClosedForm, BinaryGroups) {
  // Two rows of partially binary weights, the salient -1.2 left out.
  uint8_t digits[4];
  const float row0[] = {0.9f, -0.3f, 0.05f},
              row1[] = {0.4f, 0.02f, -0.45f, 0.7f};
  GroupFit fit = fitBinary(row0, 3, digits);
  EXPECT_NEAR(fit[0], 0.455556, 1e-6);
  EXPECT_NEAR(fit[1], 0.216667, 1e-6);
  EXPECT_EQ(digits[0] | digits[1] << 1 | digits[2] << 2, 0b001);
  fit = fitBinary(row1, 4, digits);
  EXPECT_NEAR(fit[0], 0.3825, 1e-6);
  EXPECT_NEAR(fit[1], 0.1675, 1e-6);
  EXPECT_EQ(digits[0] | digits[1] << 1 | digits[2] << 2 | digits[3] << 3,
            0b1001);
  // The sign of zero is +1.
  const float equal[] = {-0.25f, -0.25f};
  fit = fitBinary(equal, 2, digits);
  EXPECT_EQ(fit, (GroupFit{0.0, -0.25}));
  EXPECT_EQ(digits[0] + digits[1], 2);
}

TEST(ClosedForm, DualBinaryGroupOfEight) {
  uint8_t digits[8];
  GroupFit fit = fitDualBinary(kGroup, 8, digits);
  EXPECT_NEAR(fit[0], 1.2, 1e-6);
  EXPECT_NEAR(fit[1], -0.6, 1e-6);
  // As float32, 0.9 lies just below the middle of 0.6 and 1.2; -0.3 is the
  // middle of -0.6 and 0, and goes to -0.6.
  const int b1[] = {1, 0, 0, 0, 1, 0, 0, 1}, b2[] = {1, 1, 0, 1, 1, 0, 1, 1};
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(digits[i], b1[i] | b2[i] << 1) << i;
  const float zeros[] = {0.0f, -0.0f};
  fit = fitDualBinary(zeros, 2, digits);
  EXPECT_EQ(fit[0], 0.0);
  EXPECT_EQ(fit[1], 0.0);
}

TEST(ClosedForm, DualBinaryIsTheNearestLevel) {
  std::mt19937 random(11);
  std::normal_distribution<float> normal(0.0f, 0.1f);
  std::vector<float> weights(257);
  for (float &weight : weights)
    weight = normal(random);
  std::vector<uint8_t> digits(weights.size());
  GroupFit fit = fitDualBinary(weights.data(), 257, digits.data());
  const double levels[] = {0, fit[0], fit[1], fit[0] + fit[1]};
  for (size_t i = 0; i < weights.size(); ++i)
    for (double level : levels)
      EXPECT_LE(std::fabs(weights[i] - levels[digits[i]]),
                std::fabs(weights[i] - level) + 1e-12);
}

TEST(ClosedForm, BitPlanesInCheckpointOrder) {
  // Two rows of nine, groups of eight: the second byte has one bit.
  const float weights[] = {1, 1, -1, 1, -1, -1, -1, 1, 3, //
                           2, 0, 0,  0, 0,  0,  0,  0, -3};
  uint8_t planes[8];
  uint16_t scale[4], shift[4];
  std::fill_n(planes, 8, uint8_t(0xff));
  ASSERT_TRUE(
      bool(quantizeBinary(weights, 0, 2, {9, 8, {planes}, {scale, shift}})));
  EXPECT_EQ(planes[0], 0b10001011);
  EXPECT_EQ(planes[1], 1);
  EXPECT_EQ(planes[2], 0b00000001);
  EXPECT_EQ(planes[3], 1);
  EXPECT_EQ(planes[4], 0xff);
  EXPECT_EQ(f16ToFloat(scale[0]), 1.0f);
  EXPECT_EQ(f16ToFloat(shift[0]), 0.0f);
  EXPECT_EQ(f16ToFloat(scale[1]), 0.0f);
  EXPECT_EQ(f16ToFloat(shift[1]), 3.0f);
  EXPECT_EQ(f16ToFloat(scale[2]), 0.4375f);
  EXPECT_EQ(f16ToFloat(shift[2]), 0.25f);

  // Level 2 s, 0 and -s are b1, nothing and b2. Row 1 alone.
  std::fill_n(planes, 8, uint8_t(0xff));
  ASSERT_TRUE(bool(quantizeDualBinary(
      weights + 9, 1, 1, {9, 8, {planes, planes + 4}, {scale, shift}})));
  EXPECT_EQ(planes[1], 0xff);
  EXPECT_EQ(planes[2], 0b00000001);
  EXPECT_EQ(planes[3], 0);
  EXPECT_EQ(planes[5], 0xff);
  EXPECT_EQ(planes[6], 0);
  EXPECT_EQ(planes[7], 1);
  EXPECT_EQ(f16ToFloat(scale[2]), 2.0f);
  EXPECT_EQ(f16ToFloat(shift[2]), -1.0f);
  EXPECT_EQ(f16ToFloat(scale[3]), 3.0f);
  EXPECT_EQ(f16ToFloat(shift[3]), -1.5f);
}

TEST(ClosedForm, Int8Groups) {
  // The scale is 1, exactly: codes are the weights, ties go to even.
  const float weights[] = {-127, 127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, 100.25f};
  const int8_t expected[] = {-127, 127, 0, 2, 2, 0, -2, 100};
  uint8_t digits[8];
  EXPECT_EQ(fitInt8(weights, 8, digits), (GroupFit{1.0, 0.0}));
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(static_cast<int8_t>(digits[i]), expected[i]) << i;
  // 1 / 127 is stored as 0x2008, a little below: 1 is 126.99 steps, and of the
  // stored scale, not of the exact one.
  EXPECT_NEAR(fitInt8(kGroup, 8, digits)[0], 1.2 / 127, 1e-9);
  const int8_t group[] = {95, -32, 5, -127, 42, 0, -48, 74};
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(static_cast<int8_t>(digits[i]), group[i]) << i;
}

TEST(ClosedForm, Int8CodesAreClampedAndZerosStayZero) {
  uint8_t digits[4];
  // A subnormal scale that is rounded down: 1.4 * 2^-24 to 2^-24, so that the
  // largest weights are 178 steps.
  const float step = std::ldexp(1.0f, -24);
  const float tiny[] = {1.4f * 127 * step, -1.4f * 127 * step, step, 0};
  EXPECT_EQ(roundToF16(fitInt8(tiny, 4, digits)[0]), 1);
  const int8_t clamped[] = {127, -127, 1, 0};
  for (int i = 0; i < 4; ++i)
    EXPECT_EQ(static_cast<int8_t>(digits[i]), clamped[i]) << i;
  // A scale that rounds to 0, and one that is 0.
  for (float largest : {40 * step, 0.0f}) {
    const float weights[] = {largest, -largest, 0, -0.0f};
    EXPECT_EQ(roundToF16(fitInt8(weights, 4, digits)[0]), 0);
    for (uint8_t digit : digits)
      EXPECT_EQ(digit, 0);
  }
}

TEST(ClosedForm, Int4Groups) {
  // The largest weight becomes -8, whatever its sign; of two, the first.
  uint8_t digits[8];
  const float positive[] = {8, -8, 7.5f, 0.5f, -1.5f, -2.5f, 1, 0};
  EXPECT_EQ(fitInt4(positive, 8, digits), (GroupFit{-1.0, 0.0}));
  // q = -8, 8 clamped to 7, -7.5 to even -8, -0.5 to 0, 1.5 to 2, 2.5 to 2.
  const int codes[] = {-8, 7, -8, 0, 2, 2, -1, 0};
  for (int i = 0; i < 8; ++i)
    EXPECT_EQ(digits[i] - 8, codes[i]) << i;
  const float negative[] = {-8, 8, 3.5f};
  EXPECT_EQ(fitInt4(negative, 3, digits), (GroupFit{1.0, 0.0}));
  const int others[] = {-8, 7, 4};
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(digits[i] - 8, others[i]) << i;
  const float zeros[] = {0.0f, -0.0f};
  EXPECT_EQ(fitInt4(zeros, 2, digits)[0], 0.0);
  EXPECT_EQ(digits[0], 8);
  EXPECT_EQ(digits[1], 8);
}

TEST(ClosedForm, IntegersInCheckpointOrder) {
  // Two rows of five, groups of four: the last group has one column.
  const float weights[] = {1, -127, 0, 3, -2, /**/ 0, 0, 0, 0, 254};
  uint8_t bytes[10];
  uint16_t scale[4];
  ASSERT_TRUE(bool(quantizeInt8(weights, 0, 2, {5, 4, {bytes}, {scale}})));
  const int8_t expected[] = {1, -127, 0, 3, -127, 0, 0, 0, 0, 127};
  for (int i = 0; i < 10; ++i)
    EXPECT_EQ(static_cast<int8_t>(bytes[i]), expected[i]) << i;
  EXPECT_EQ(f16ToFloat(scale[0]), 1.0f);
  EXPECT_EQ(scale[1], roundToF16(2.0 / 127));
  EXPECT_EQ(f16ToFloat(scale[2]), 0.0f);
  EXPECT_EQ(f16ToFloat(scale[3]), 2.0f);

  // Low nibble first; the row's last byte has one digit. Row 1 alone.
  uint8_t nibbles[6] = {7, 7, 7, 7, 7, 7};
  const float row[] = {-8, 1, 0, 3, 16};
  ASSERT_TRUE(bool(quantizeInt4(row, 1, 1, {5, 4, {nibbles}, {scale}})));
  const uint8_t packed[] = {7, 7, 7, 0 | 9 << 4, 8 | 11 << 4, 0};
  for (int i = 0; i < 6; ++i)
    EXPECT_EQ(nibbles[i], packed[i]) << i;
  EXPECT_EQ(f16ToFloat(scale[0]), 1.0f) << "row 0 is left alone";
  EXPECT_EQ(f16ToFloat(scale[2]), 1.0f);
  EXPECT_EQ(f16ToFloat(scale[3]), -2.0f);
}

TEST(ClosedForm, RefusesWhatF16CannotHold) {
  uint8_t first[4], second[4];
  uint16_t scale[2], shift[2];
  for (auto *quantize : {quantizeTernary, quantizeBinary, quantizeDualBinary,
                         quantizeInt8, quantizeInt4})
    for (float bad : {1e7f, std::numeric_limits<float>::infinity(),
                      std::numeric_limits<float>::quiet_NaN()}) {
      const float weights[] = {1, 2, bad, 3};
      Status status =
          quantize(weights, 0, 2, {2, 2, {first, second}, {scale, shift}});
      ASSERT_FALSE(bool(status)) << bad;
      EXPECT_NE(status.error().message.find("row 1, group 0"),
                std::string::npos);
    }
}

} // namespace
