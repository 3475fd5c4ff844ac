// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rows of a weight from its stored digits, coefficients and floats.

#include "WeightRows.h"

#include "format/Float16.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::DType;

void WeightRows::takeMagnitudes() {
  magnitudes = true;
  for (int64_t &factor : factors)
    factor = std::abs(factor);
}

template <class Element>
static Element load(const uint8_t *data, int64_t index) {
  Element element;
  std::memcpy(&element, data + index * sizeof(Element), sizeof(Element));
  return element;
}

static float loadFloat(const uint8_t *data, DType dtype, int64_t index) {
  switch (dtype) {
  case DType::F16:
    return ::tbq::f16ToFloat(load<uint16_t>(data, index));
  case DType::BF16:
    return ::tbq::bf16ToFloat(load<uint16_t>(data, index));
  default:
    return load<float>(data, index);
  }
}

void WeightRows::readFloats(int64_t row, float *out) const {
  for (int64_t i = 0; i < columns; ++i)
    out[i] =
        withSign(loadFloat(elements.data, elements.dtype, row * columns + i));
}

float WeightRows::getBias(int64_t row) const {
  return bias.data ? withSign(loadFloat(bias.data, bias.dtype, row)) : 0;
}

void WeightRows::readPlane(const Plane &plane, int64_t row,
                           int16_t *out) const {
  const uint8_t *digits = plane.digits + row * getRowBytes(columns, plane.bits);
  const int64_t perByte = 8 / plane.bits;
  const uint8_t flip = plane.isSigned ? 0x80 : 0;
  const int mask = (1 << plane.bits) - 1;
  for (int64_t i = 0; i < columns; i += perByte) {
    int byte = *digits++ ^ flip;
    const int64_t end = std::min(columns, i + perByte);
    for (int64_t j = i; j < end; ++j, byte >>= plane.bits)
      out[j] = static_cast<int16_t>(byte & mask);
  }
}

/// value - zero under the mask, 0 elsewhere. What is added in the one form are
/// digits from 0 on, and the zero point counts like them.
void WeightRows::readSalient(int64_t row, const int16_t *mask,
                             int16_t *out) const {
  const int16_t zero = salientZero ? load<int16_t>(salientZero, row) : 0;
  int64_t next = load<int32_t>(salientOffsets, row);
  for (int64_t i = 0; i < columns; ++i) {
    const int value = mask[i] ? load<int8_t>(salientValues, next++) : zero;
    out[i] = magnitudes && mask[i] ? value + 128 + std::abs(zero + 128)
                                   : value - zero;
  }
}

void WeightRows::readIntegers(int64_t row, std::vector<int16_t> &out) const {
  const int64_t number = planes.size() + (salientValues != nullptr);
  std::vector<int16_t> digits(number * columns);
  for (auto [p, plane] : llvm::enumerate(planes))
    readPlane(plane, row, digits.data() + p * columns);
  if (salientValues)
    readSalient(row, digits.data() + (number - 2) * columns,
                digits.data() + (number - 1) * columns);
  const int64_t terms = getNumTerms();
  out.resize(terms * columns);
  for (int64_t term = 0; term < terms; ++term) {
    const int64_t *factor = factors.data() + term * (number + 1);
    int16_t *integers = out.data() + term * columns;
    std::fill_n(integers, columns, static_cast<int16_t>(factor[number]));
    for (int64_t p = 0; p < number; ++p)
      if (const auto times = static_cast<int16_t>(factor[p]))
        for (int64_t i = 0; i < columns; ++i)
          integers[i] += times * digits[p * columns + i];
  }
}

float WeightRows::getCoefficient(int64_t row, int64_t group,
                                 int64_t term) const {
  const bool ofRow = salientOffsets && term + 1 == getNumTerms();
  const int64_t perRow = (columns + coefficientGroup - 1) / coefficientGroup;
  return withSign(::tbq::f16ToFloat(load<uint16_t>(
      coefficients[term],
      ofRow ? row : row * perRow + group * this->group / coefficientGroup)));
}
