// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Post-training quantisation in closed form: a float matrix in, the tensors of
// our quantised checkpoint out (planes of digits, f16 coefficients).
// Invariant: the result is a function of the weights alone, bit for bit, on
// every host: sums run in float64 in index order, and a coefficient is rounded
// once, to the nearest f16.
#ifndef TBQ_CLOSEDFORM_H
#define TBQ_CLOSEDFORM_H

#include "format/Result.h"

#include <array>
#include <cstdint>

namespace tbq {

/// The coefficients of one group of weights, before they are rounded; of int8
/// and int4 the first alone.
using GroupFit = std::array<double, 2>;

/// Each of these fits one group of `count` >= 1 weights and writes a byte of
/// digits for each. The coefficients are not finite if a weight is not.
///
/// w ~ scale * T + shift; the digit is T + 1; {scale, shift}. T is +1 above
/// 0.7 mean|W|, -1 below its negative, else 0 (TWN's threshold); the pair is
/// the least-squares one for that T (TernaryLLM 1.1, PT2-LLM equation 9). If
/// all T are the same it is not determined: then the scale is the mean |W| of
/// the nonzero digits and the shift 0.
GroupFit fitTernary(const float *weights, int64_t count, uint8_t *digits);

/// w ~ scale * (2 B - 1) + shift; the digit is B; {scale, shift}. The shift is
/// the mean, B whether w - mean >= 0, the scale mean|w - mean| (PB-LLM,
/// equations 6 to 9).
GroupFit fitBinary(const float *weights, int64_t count, uint8_t *digits);

/// w ~ alpha1 * b1 + alpha2 * b2; the digit is b1 + 2 b2; {alpha1, alpha2}.
/// alpha1 = 2 s and alpha2 = -s with s = max|w| / 2, and w goes to the nearest
/// of the levels -s, 0, s, 2 s (DB-LLM's initialisation).
GroupFit fitDualBinary(const float *weights, int64_t count, uint8_t *digits);

/// w ~ scale * q with q from -127 to 127; the digit is q in two's complement.
/// The scale is max|w| / 127 and q the weight in steps of the scale as f16,
/// rounded to even: 0 where that scale is 0.
GroupFit fitInt8(const float *weights, int64_t count, uint8_t *digits);

/// w ~ scale * q with q from -8 to 7; the digit is q + 8. The scale is e / -8
/// for the first of the weights of largest magnitude, e, which so becomes -8;
/// q is found as in fitInt8.
GroupFit fitInt4(const float *weights, int64_t count, uint8_t *digits);

/// The f16 nearest to `value`, ties to even, in one rounding.
uint16_t roundToF16(double value);

/// A matrix as a checkpoint stores it, in the caller's memory.
struct QuantizedMatrix {
  int64_t columns, group;
  /// [rows, ceil(columns * bits / 8)] each, low bits first. Ternary: one of 2
  /// bits; binary: one of 1 bit; dual binary: two of 1 bit, b1 and b2; int8 and
  /// int4: one of 8 or 4 bits.
  std::array<uint8_t *, 2> planes;
  /// f16 [rows, ceil(columns / group)] each, in the order of the GroupFit; the
  /// last group may be shorter.
  std::array<uint16_t *, 2> coefficients;
};

/// Each quantises rows [firstRow, firstRow + rows) of `out`; `weights` are
/// theirs alone. The error names the row and the group whose weights or
/// coefficients are not finite numbers of f16.
Status quantizeTernary(const float *weights, int64_t firstRow, int64_t rows,
                       const QuantizedMatrix &out);
Status quantizeBinary(const float *weights, int64_t firstRow, int64_t rows,
                      const QuantizedMatrix &out);
Status quantizeDualBinary(const float *weights, int64_t firstRow, int64_t rows,
                          const QuantizedMatrix &out);
Status quantizeInt8(const float *weights, int64_t firstRow, int64_t rows,
                    const QuantizedMatrix &out);
Status quantizeInt4(const float *weights, int64_t firstRow, int64_t rows,
                    const QuantizedMatrix &out);

} // namespace tbq

#endif // TBQ_CLOSEDFORM_H
