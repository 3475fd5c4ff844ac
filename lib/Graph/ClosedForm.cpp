// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The closed forms: ternary by TWN's threshold and least squares, binary by
// mean and mean deviation, dual binary, int8 and int4 by the largest weight.
// Input: rows of float weights; output: planes of digits, f16 coefficients.
// Invariant: no expression is contracted to a fused multiply-add, so that every
// host makes the same digits.

#include "tbq/ClosedForm.h"

#include "format/Float16.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#pragma clang fp contract(off)

using namespace tbq;

GroupFit tbq::fitTernary(const float *weights, int64_t count, uint8_t *digits) {
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

GroupFit tbq::fitBinary(const float *weights, int64_t count, uint8_t *digits) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += weights[i];
  const double mean = sum / static_cast<double>(count);
  double deviation = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double difference = weights[i] - mean;
    digits[i] = difference >= 0;
    deviation += std::fabs(difference);
  }
  return {deviation / static_cast<double>(count), mean};
}

/// The first of the weights of largest magnitude; NaN if there is one.
static double findLargest(const float *weights, int64_t count) {
  double largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double weight = weights[i];
    if (std::fabs(weight) > std::fabs(largest) || std::isnan(weight))
      largest = weight; // nothing is above a NaN
  }
  return largest;
}

GroupFit tbq::fitDualBinary(const float *weights, int64_t count,
                            uint8_t *digits) {
  const double largest = std::fabs(findLargest(weights, count));
  const double alpha1 = largest, alpha2 = -largest / 2;
  for (int64_t i = 0; i < count; ++i) {
    const double weight = weights[i];
    const bool first = weight - (alpha1 + alpha2) / 2 >= 0;
    const bool second = -(weight - (first ? alpha1 : 0) - alpha2 / 2) >= 0;
    digits[i] = static_cast<uint8_t>(int(first) | int(second) << 1);
  }
  return {alpha1, alpha2};
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

/// Writes q + offset for each weight, q in steps of the scale that is stored.
static void roundToSteps(const float *weights, int64_t count, double scale,
                         int least, int most, int offset, uint8_t *digits) {
  const uint16_t stored = roundToF16(scale);
  const double step = f16ToFloat(stored);
  const bool determined = isFiniteF16(stored) && step != 0;
  for (int64_t i = 0; i < count; ++i) {
    const double q = determined ? std::nearbyint(weights[i] / step) : 0;
    digits[i] = static_cast<uint8_t>(
        static_cast<int>(std::clamp<double>(q, least, most)) + offset);
  }
}

GroupFit tbq::fitInt8(const float *weights, int64_t count, uint8_t *digits) {
  const double scale = std::fabs(findLargest(weights, count)) / 127;
  roundToSteps(weights, count, scale, -127, 127, 0, digits);
  return {scale, 0};
}

GroupFit tbq::fitInt4(const float *weights, int64_t count, uint8_t *digits) {
  const double scale = findLargest(weights, count) / -8;
  roundToSteps(weights, count, scale, -8, 7, 8, digits);
  return {scale, 0};
}

/// Packs bits [low, low + width) of each digit, low bits first.
static void packPlane(const std::vector<uint8_t> &digits, unsigned low,
                      unsigned width, uint8_t *plane) {
  const size_t count = digits.size(), perByte = 8 / width;
  const unsigned mask = (1u << width) - 1;
  for (size_t at = 0; at < count; at += perByte) {
    unsigned byte = 0;
    for (size_t i = at; i < std::min(count, at + perByte); ++i)
      byte |= (digits[i] >> low & mask) << (width * (i - at));
    plane[at / perByte] = static_cast<uint8_t>(byte);
  }
}

namespace {
/// How a scheme's groups are fitted and stored.
struct Form {
  GroupFit (*fit)(const float *weights, int64_t count, uint8_t *digits);
  unsigned planes, width; // bits of a digit in each
  unsigned coefficients;
};
} // namespace

/// Fits the groups of some rows.
static Status quantizeRows(const float *weights, int64_t firstRow, int64_t rows,
                           const QuantizedMatrix &out, const Form &form) {
  const int64_t columns = out.columns, group = out.group;
  const int64_t groups = (columns + group - 1) / group;
  const int64_t rowBytes = (columns * form.width + 7) / 8;
  std::vector<uint8_t> digits(static_cast<size_t>(columns));
  for (int64_t row = firstRow; row < firstRow + rows; ++row) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = g * group;
      const GroupFit fitted =
          form.fit(weights + first, std::min(group, columns - first),
                   digits.data() + first);
      for (unsigned i = 0; i < form.coefficients; ++i) {
        const uint16_t rounded = roundToF16(fitted[i]);
        if (!isFiniteF16(rounded))
          return Error{"row " + std::to_string(row) + ", group " +
                       std::to_string(g) + " has a coefficient " +
                       std::to_string(fitted[i]) +
                       ", which f16 cannot hold: are its weights finite?"};
        out.coefficients[i][row * groups + g] = rounded;
      }
    }
    for (unsigned plane = 0; plane < form.planes; ++plane)
      packPlane(digits, plane * form.width, form.width,
                out.planes[plane] + row * rowBytes);
    weights += columns;
  }
  return Status::ok();
}

Status tbq::quantizeTernary(const float *weights, int64_t firstRow,
                            int64_t rows, const QuantizedMatrix &out) {
  return quantizeRows(weights, firstRow, rows, out, {fitTernary, 1, 2, 2});
}

Status tbq::quantizeBinary(const float *weights, int64_t firstRow, int64_t rows,
                           const QuantizedMatrix &out) {
  return quantizeRows(weights, firstRow, rows, out, {fitBinary, 1, 1, 2});
}

Status tbq::quantizeDualBinary(const float *weights, int64_t firstRow,
                               int64_t rows, const QuantizedMatrix &out) {
  return quantizeRows(weights, firstRow, rows, out, {fitDualBinary, 2, 1, 2});
}

Status tbq::quantizeInt8(const float *weights, int64_t firstRow, int64_t rows,
                         const QuantizedMatrix &out) {
  return quantizeRows(weights, firstRow, rows, out, {fitInt8, 1, 8, 1});
}

Status tbq::quantizeInt4(const float *weights, int64_t firstRow, int64_t rows,
                         const QuantizedMatrix &out) {
  return quantizeRows(weights, firstRow, rows, out, {fitInt4, 1, 4, 1});
}
