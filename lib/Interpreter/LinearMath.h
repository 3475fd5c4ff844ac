// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Products of rows of activations and the rows of a weight.
#ifndef TBQ_INTERPRETER_LINEARMATH_H
#define TBQ_INTERPRETER_LINEARMATH_H

#include "StepMath.h"
#include "WeightRows.h"

namespace mlir::tbq {

/// What is added to a product once its sums are complete, in this order:
/// the weight's bias, `residual` (may be null).
///
/// x W^T for float activations.
template <class Real>
Matrix multiply(const Matrix &input, const WeightRows &weight,
                const Matrix *residual);

/// The same for integer ones. The dot product of each term's integers with the
/// digits of a group, a bracket, is exact and converted once; brackets are
/// summed over groups, then terms, with their coefficients (`fused`: rounded
/// once each), and the sum is multiplied by the row's scale.
template <class Real>
Matrix multiply(const QuantizedRows &input, const WeightRows &weight,
                const Matrix *residual, bool fused);

/// One row of a table.
template <class Real>
void readRow(const WeightRows &weight, int64_t row, double *out);

} // namespace mlir::tbq

#endif // TBQ_INTERPRETER_LINEARMATH_H
