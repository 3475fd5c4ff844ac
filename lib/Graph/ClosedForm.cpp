// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Ternary digits by TWN's threshold and the least-squares scale and shift.
// Input: rows of float weights; output: codes, f16 scales and shifts.
// Invariant: no expression is contracted to a fused multiply-add, so that every
// host makes the same codes.

#include "tbq/ClosedForm.h"

#include "format/Float16.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#pragma clang fp contract(off)

using namespace tbq;

TernaryFit tbq::fitTernary(const float *weights, int64_t count,
                           uint8_t *digits) {
  double sumAbs = 0;
  for (int64_t i = 0; i < count; ++i)
    sumAbs += std::fabs(static_cast<double>(weights[i]));
  if (!std::isfinite(sumAbs)) { // no threshold: nothing here may look like 0
    std::memset(digits, 1, static_cast<size_t>(count));
    return {sumAbs, sumAbs};
  }
  const double delta = 0.7 * (sumAbs / static_cast<double>(count));

  int64_t sumT = 0, sumTT = 0;
  double sumW = 0, sumWT = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double weight = weights[i];
    const int digit = int(weight > delta) - int(weight < -delta);
    digits[i] = static_cast<uint8_t>(digit + 1);
    sumT += digit;
    sumTT += digit * digit;
    sumW += weight;
    sumWT += weight * digit;
  }
  const int64_t determinant = count * sumTT - sumT * sumT;
  if (determinant == 0) // every T is the same: sumWT is the sum of |W|
    return {sumTT == 0 ? 0.0 : sumWT / static_cast<double>(sumTT), 0.0};
  const auto n = static_cast<double>(count), t = static_cast<double>(sumT),
             tt = static_cast<double>(sumTT),
             d = static_cast<double>(determinant);
  return {(n * sumWT - t * sumW) / d, (tt * sumW - t * sumWT) / d};
}

uint16_t tbq::roundToF16(double value) {
  auto narrowed = static_cast<float>(value);
  // Round to odd: a float that is inexact and has its last bit set is never
  // taken for a tie, so that rounding twice equals rounding once.
  const double difference = static_cast<double>(narrowed) - value;
  if (difference != 0 && std::isfinite(narrowed)) {
    uint32_t bits = floatToBits(narrowed);
    if (std::fabs(static_cast<double>(narrowed)) > std::fabs(value))
      --bits;
    narrowed = bitsToFloat(bits | 1);
  }
  return floatToF16(narrowed);
}

static bool isFiniteF16(uint16_t value) { return (value & 0x7c00) != 0x7c00; }

/// Packs digits of two bits, four a byte, low bits first.
static void packDigits(const std::vector<uint8_t> &digits, uint8_t *codes) {
  const size_t count = digits.size();
  for (size_t at = 0; at < count; at += 4) {
    uint8_t byte = 0;
    for (size_t i = at; i < std::min(count, at + 4); ++i)
      byte = static_cast<uint8_t>(byte | digits[i] << (2 * (i - at)));
    codes[at / 4] = byte;
  }
}

Status tbq::quantizeTernary(const float *weights, int64_t firstRow,
                            int64_t rows, const TernaryMatrix &out) {
  const int64_t columns = out.columns, group = out.group;
  const int64_t groups = (columns + group - 1) / group;
  std::vector<uint8_t> digits(static_cast<size_t>(columns));
  for (int64_t row = firstRow; row < firstRow + rows; ++row) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = g * group;
      const TernaryFit fit =
          fitTernary(weights + first, std::min(group, columns - first),
                     digits.data() + first);
      const uint16_t scale = roundToF16(fit.scale),
                     shift = roundToF16(fit.shift);
      if (!isFiniteF16(scale) || !isFiniteF16(shift))
        return Error{"row " + std::to_string(row) + ", group " +
                     std::to_string(g) + " has scale " +
                     std::to_string(fit.scale) + " and shift " +
                     std::to_string(fit.shift) +
                     ", which f16 cannot hold: are its weights finite?"};
      out.scale[row * groups + g] = scale;
      out.shift[row * groups + g] = shift;
    }
    packDigits(digits, out.codes + row * ((columns + 3) / 4));
    weights += columns;
  }
  return Status::ok();
}
