// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// IEEE binary16 and bfloat16 bit patterns to and from float, in integer
// operations only, so that no host feature or rounding mode matters.
// Invariant: widening is exact; narrowing rounds to nearest, ties to even; a
// NaN stays a NaN; overflow gives infinity.
#ifndef TBQ_FORMAT_FLOAT16_H
#define TBQ_FORMAT_FLOAT16_H

#include <cstdint>
#include <cstring>

namespace tbq {

inline uint32_t floatToBits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

inline float bitsToFloat(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline float f16ToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1f;
  uint32_t mantissa = half & 0x3ff;
  if (exponent == 0x1f) // infinity, NaN (made quiet)
    return bitsToFloat(sign | 0x7f800000 | (mantissa << 13) |
                       (mantissa ? 0x400000 : 0));
  if (exponent != 0)
    return bitsToFloat(sign | ((exponent + 112) << 23) | (mantissa << 13));
  if (mantissa == 0)
    return bitsToFloat(sign);
  // Subnormal: mantissa * 2^-24, normalised.
  uint32_t shift = static_cast<uint32_t>(__builtin_clz(mantissa)) - 21;
  mantissa = (mantissa << shift) & 0x3ff;
  return bitsToFloat(sign | ((113 - shift) << 23) | (mantissa << 13));
}

inline uint16_t floatToF16(float value) {
  const uint32_t bits = floatToBits(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000)
    return static_cast<uint16_t>(sign | 0x7e00 | ((magnitude >> 13) & 0x3ff));
  if (magnitude >= 0x477ff000) // rounds to 2^16 or beyond, or infinity
    return static_cast<uint16_t>(sign | 0x7c00);
  // The low bits to round away: 13 for a normal result, more below 2^-14.
  uint32_t dropped = 13, mantissa = magnitude, base = 112u << 23;
  if (magnitude < 0x38800000) {
    const uint32_t exponent = magnitude >> 23;
    dropped = 126 - exponent;
    if (dropped > 24) // below half of the smallest subnormal
      return sign;
    mantissa = (magnitude & 0x7fffff) | 0x800000;
    base = 0;
  }
  uint32_t result = (mantissa - base) >> dropped;
  const uint32_t rest = mantissa & ((1u << dropped) - 1);
  const uint32_t tie = 1u << (dropped - 1);
  if (rest > tie || (rest == tie && (result & 1)))
    ++result;
  return static_cast<uint16_t>(sign | result);
}

inline float bf16ToFloat(uint16_t pattern) {
  return bitsToFloat(static_cast<uint32_t>(pattern) << 16);
}

inline uint16_t floatToBf16(float value) {
  const uint32_t bits = floatToBits(value);
  if ((bits & 0x7fffffff) > 0x7f800000)
    return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

} // namespace tbq

#endif // TBQ_FORMAT_FLOAT16_H
