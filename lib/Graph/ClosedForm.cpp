// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The closed forms: ternary by TWN's threshold and least squares, binary by
// mean and mean deviation, dual binary by the largest weight.
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

GroupFit tbq::fitDualBinary(const float *weights, int64_t count,
                            uint8_t *digits) {
  double largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const double size = std::fabs(static_cast<double>(weights[i]));
    if (size > largest || std::isnan(size)) // nothing is above a NaN
      largest = size;
  }
  const double alpha1 = largest, alpha2 = -largest / 2;
  for (int64_t i = 0; i < count; ++i) {
    const double weight = weights[i];
    const bool first = weight - (alpha1 + alpha2) / 2 >= 0;
    const bool second = -(weight - (first ? alpha1 : 0) - alpha2 / 2) >= 0;
    digits[i] = static_cast<uint8_t>(int(first) | int(second) << 1);
  }
  return {alpha1, alpha2};
}

float tbq::findSalientThreshold(float *magnitudes, int64_t count,
                                double fraction) {
  const auto rank =
      std::min(count - 1, static_cast<int64_t>(static_cast<double>(count) *
                                               (1 - fraction)));
  std::nth_element(magnitudes, magnitudes + rank, magnitudes + count);
  return magnitudes[rank];
}

GroupFit tbq::fitSalientRow(const float *weights, int64_t count) {
  double least = 0, most = 0;
  for (int64_t i = 0; i < count; ++i) {
    least = std::min(least, static_cast<double>(weights[i]));
    most = std::max(most, static_cast<double>(weights[i]));
  }
  if (least == 0 && most == 0)
    least = -1, most = 1;
  return {(most - least) / 255, least};
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

/// The coefficients of a group, rounded, or the error that f16 cannot hold
/// them.
static Result<std::array<uint16_t, 2>> roundFit(const GroupFit &fitted,
                                                int64_t row, int64_t group) {
  const std::array<uint16_t, 2> rounded{roundToF16(fitted[0]),
                                        roundToF16(fitted[1])};
  if (isFiniteF16(rounded[0]) && isFiniteF16(rounded[1]))
    return rounded;
  return Error{"row " + std::to_string(row) + ", group " +
               std::to_string(group) + " has coefficients " +
               std::to_string(fitted[0]) + " and " + std::to_string(fitted[1]) +
               ", which f16 cannot hold: are its weights finite?"};
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

using Fit = GroupFit(const float *weights, int64_t count, uint8_t *digits);

/// Fits the groups of some rows into `numPlanes` planes of `width` bits.
static Status quantizeRows(const float *weights, int64_t firstRow, int64_t rows,
                           const QuantizedMatrix &out, Fit *fit,
                           unsigned numPlanes, unsigned width) {
  const int64_t columns = out.columns, group = out.group;
  const int64_t groups = (columns + group - 1) / group;
  const int64_t rowBytes = (columns * width + 7) / 8;
  std::vector<uint8_t> digits(static_cast<size_t>(columns));
  for (int64_t row = firstRow; row < firstRow + rows; ++row) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = g * group;
      const GroupFit fitted =
          fit(weights + first, std::min(group, columns - first),
              digits.data() + first);
      const auto rounded = roundFit(fitted, row, g);
      if (!rounded)
        return rounded.error();
      for (size_t i = 0; i < 2; ++i)
        out.coefficients[i][row * groups + g] = (*rounded)[i];
    }
    for (unsigned plane = 0; plane < numPlanes; ++plane)
      packPlane(digits, plane * width, width,
                out.planes[plane] + row * rowBytes);
    weights += columns;
  }
  return Status::ok();
}

Status tbq::quantizeTernary(const float *weights, int64_t firstRow,
                            int64_t rows, const QuantizedMatrix &out) {
  return quantizeRows(weights, firstRow, rows, out, fitTernary, 1, 2);
}

Status tbq::quantizeBinary(const float *weights, int64_t firstRow, int64_t rows,
                           const QuantizedMatrix &out) {
  return quantizeRows(weights, firstRow, rows, out, fitBinary, 1, 1);
}

Status tbq::quantizeDualBinary(const float *weights, int64_t firstRow,
                               int64_t rows, const QuantizedMatrix &out) {
  return quantizeRows(weights, firstRow, rows, out, fitDualBinary, 2, 1);
}

/// Fits the binary part of a group: the weights that are not salient.
static GroupFit fitOthers(const float *weights, int64_t count, float threshold,
                          uint8_t *digits, uint8_t *mask) {
  std::vector<float> others;
  for (int64_t i = 0; i < count; ++i) {
    mask[i] = std::fabs(weights[i]) > threshold;
    if (!mask[i])
      others.push_back(weights[i]);
  }
  if (others.empty())
    return {0, 0};
  std::vector<uint8_t> bits(others.size());
  const GroupFit fitted = fitBinary(
      others.data(), static_cast<int64_t>(others.size()), bits.data());
  auto bit = bits.begin();
  for (int64_t i = 0; i < count; ++i)
    digits[i] = mask[i] ? 0 : *bit++;
  return fitted;
}

/// Appends the 8-bit values of a row's salient weights.
static Status quantizeValues(const float *weights, int64_t row,
                             const std::vector<uint8_t> &mask,
                             SalientMatrix &salient) {
  const GroupFit fitted =
      fitSalientRow(weights, static_cast<int64_t>(mask.size()));
  uint16_t scale = roundToF16(fitted[0]);
  if (!isFiniteF16(scale))
    return Error{"row " + std::to_string(row) + " has a salient scale of " +
                 std::to_string(fitted[0]) +
                 ", which f16 cannot hold: are its weights finite?"};
  if (scale == 0)
    scale = 1; // the least there is
  const double step = f16ToFloat(scale);
  const double zero = std::min(255.0, std::nearbyint(-fitted[1] / step));
  for (size_t i = 0; i < mask.size(); ++i) {
    if (!mask[i])
      continue;
    const double code = std::nearbyint(weights[i] / step) + zero;
    salient.values.push_back(
        static_cast<uint8_t>(int(std::clamp(code, 0.0, 255.0)) - 128));
  }
  salient.scale[row] = scale;
  salient.zero[row] = static_cast<int16_t>(zero - 128);
  salient.offsets[row + 1] = static_cast<int32_t>(salient.values.size());
  return Status::ok();
}

Status tbq::quantizeSalient(const float *weights, int64_t firstRow,
                            int64_t rows, const QuantizedMatrix &out,
                            SalientMatrix &salient) {
  const int64_t columns = out.columns, group = out.group;
  const int64_t groups = (columns + group - 1) / group;
  const int64_t rowBytes = (columns + 7) / 8;
  std::vector<uint8_t> digits(static_cast<size_t>(columns)), mask(digits);
  for (int64_t row = firstRow; row < firstRow + rows; ++row) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = g * group;
      const auto rounded =
          roundFit(fitOthers(weights + first, std::min(group, columns - first),
                             salient.thresholds[g], digits.data() + first,
                             mask.data() + first),
                   row, g);
      if (!rounded)
        return rounded.error();
      for (size_t i = 0; i < 2; ++i)
        out.coefficients[i][row * groups + g] = (*rounded)[i];
    }
    packPlane(digits, 0, 1, out.planes[0] + row * rowBytes);
    packPlane(mask, 0, 1, salient.mask + row * rowBytes);
    if (Status status = quantizeValues(weights, row, mask, salient); !status)
      return status;
    weights += columns;
  }
  return Status::ok();
}
