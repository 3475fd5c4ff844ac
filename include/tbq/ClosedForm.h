// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Post-training ternarisation in closed form: a float matrix in, the tensors of
// our quantised checkpoint out (codes, scale, shift).
// Invariant: the result is a function of the weights alone, bit for bit, on
// every host: sums run in float64 in index order, and a coefficient is rounded
// once, to the nearest f16.
#ifndef TBQ_CLOSEDFORM_H
#define TBQ_CLOSEDFORM_H

#include "format/Result.h"

#include <cstdint>

namespace tbq {

/// w ~ scale * T + shift for one group of weights.
struct TernaryFit {
  double scale = 0;
  double shift = 0;
};

/// Fits one group of `count` >= 1 weights and writes its digits T + 1, one a
/// byte. T is +1 above 0.7 mean|W|, -1 below its negative, else 0 (TWN's
/// threshold); (scale, shift) is the least-squares pair for that T (TernaryLLM
/// 1.1, PT2-LLM equation 9). If all T are the same the pair is not determined:
/// then the scale is the mean |W| of the nonzero digits and the shift 0.
/// Both are not finite if a weight is not.
TernaryFit fitTernary(const float *weights, int64_t count, uint8_t *digits);

/// The f16 nearest to `value`, ties to even, in one rounding.
uint16_t roundToF16(double value);

/// A ternary matrix as a checkpoint stores it, in the caller's memory.
struct TernaryMatrix {
  int64_t columns, group;
  /// [rows, ceil(columns / 4)]: four T + 1 a byte, low bits first.
  uint8_t *codes;
  /// f16 [rows, ceil(columns / group)]; the last group may be shorter.
  uint16_t *scale, *shift;
};

/// Quantises rows [firstRow, firstRow + rows) of `out`; `weights` are theirs
/// alone. The error names the row and the group whose weights, scale or shift
/// are not finite numbers of f16.
Status quantizeTernary(const float *weights, int64_t firstRow, int64_t rows,
                       const TernaryMatrix &out);

} // namespace tbq

#endif // TBQ_CLOSEDFORM_H
