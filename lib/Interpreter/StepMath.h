// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The arithmetic of the ops that multiply no weights, on rows of numbers.
// `Real` is the float type they compute in: double, or float, where each
// operation is rounded as it is written.
#ifndef TBQ_INTERPRETER_STEPMATH_H
#define TBQ_INTERPRETER_STEPMATH_H

#include "tbq/Interpreter.h"

namespace mlir::tbq {

/// x / sqrt(mean(x^2) + epsilon) * weight.
template <class Real>
Matrix normalize(const Matrix &input, ArrayRef<float> weight, float epsilon);

/// (x - mean) / sqrt(variance + epsilon) * weight + bias.
template <class Real>
Matrix normalize(const Matrix &input, ArrayRef<float> weight,
                 ArrayRef<float> bias, float epsilon);

/// What rounding errors of the same are relative to: |weight| * factor *
/// (|x| + m + |x - mean| * factor * m) + |bias|, with m the mean of |x| and
/// factor = 1 / sqrt(variance + epsilon). The last m is the factor's: a mean
/// that is off by e makes a variance v of v + e^2, so the factor differs, in
/// relation to itself, by less than e * factor, however small v is.
Matrix getNormMagnitudes(const Matrix &input, ArrayRef<float> weight,
                         ArrayRef<float> bias, float epsilon);

/// Rotates the pairs (i, i + head_dim / 2) of each head of row t by the angles
/// of position + t.
template <class Real>
Matrix rotate(const Matrix &input, ArrayRef<float> frequencies,
              int64_t position, int64_t heads, int64_t headDim);

/// silu(gate) * up.
template <class Real> Matrix gate(const Matrix &gate, const Matrix &up);

template <class Real> Matrix add(const Matrix &lhs, const Matrix &rhs);

template <class Real>
Matrix activate(const Matrix &input, ActivationFunction function);

/// Row t attends to positions 0 .. position + t of the cache.
template <class Real>
Matrix attend(const Matrix &query, const KeyValues &cache, int64_t layer,
              int64_t position, int64_t heads, float scale);

/// The sum of each group of a row.
template <class Real> Matrix sumGroups(const Matrix &input, int64_t group);

/// Integer activations: x = scale * digit for each of a row.
struct QuantizedRows {
  Matrix digits, scale; // tokens x columns, tokens x 1
};

/// round(x * steps / m), ties to even, with m = max(max|x|, 1e-5) of the row;
/// the scale is m / steps.
template <class Real>
QuantizedRows quantizeRows(const Matrix &input, int64_t steps);

} // namespace mlir::tbq

#endif // TBQ_INTERPRETER_STEPMATH_H
