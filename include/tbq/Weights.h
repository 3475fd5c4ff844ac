// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The values of a module's weights: the tensor of the checkpoint that an op
// names, what a tbq.quantize makes of one, the rows of a rope table. Used by
// whoever writes weights and whoever interprets them.
// Invariant: a tensor is given out only after the checkpoint confirmed the type
// and shape that the op gives it.
#ifndef TBQ_WEIGHTS_H
#define TBQ_WEIGHTS_H

#include "tbq/Checkpoint.h"
#include "tbq/IR/Tbq.h"

#include "mlir/IR/BuiltinOps.h"

#include <vector>

namespace mlir::tbq {

/// A QuantizeOp's results, each as a checkpoint stores it, row-major.
struct QuantizedWeight {
  std::vector<std::vector<uint8_t>> planes;
  std::vector<std::vector<uint16_t>> coefficients; // f16
  /// Empty without a salient part.
  std::vector<uint8_t> mask, values;
  std::vector<int32_t> offsets;
  std::vector<uint16_t> valueScale; // f16
  std::vector<int16_t> zero;
};

/// Bits of a digit in each of the planes of a scheme's weights.
ArrayRef<int64_t> getDigitBits(Scheme scheme);

/// Bytes of a row of `columns` digits.
int64_t getRowBytes(int64_t columns, int64_t bits);

/// The magnitude above which weights of a block of columns are salient, for
/// each block, and how many weights are.
struct SalientThresholds {
  std::vector<float> blocks;
  int64_t above = 0;
};

/// Of a matrix whose QuantizeOp states a fraction. The error names an element
/// that is not finite.
::tbq::Result<SalientThresholds>
findThresholds(QuantizeOp op, const ::tbq::TensorView &matrix);

/// Gives every tbq.quantize with salient weights its thresholds and the exact
/// number of its values. Errors name a tensor that is missing or not finite.
::tbq::Status resolveSalient(ModuleOp module,
                             const ::tbq::Checkpoint &checkpoint);

/// Reads `matrix`, of the shape that the op's weight has, some rows at a time.
/// Errors name its file and the rows or groups that cannot be quantised.
::tbq::Result<QuantizedWeight> evaluate(QuantizeOp op,
                                        const ::tbq::TensorView &matrix);

/// The tensor an op names, of the type and shape the op gives it. Digits of
/// several bits and masks are one matrix, planes of bits a tensor of as many.
/// Errors name file and tensor.
::tbq::Result<const ::tbq::TensorView *>
findTensor(WeightOp op, const ::tbq::Checkpoint &checkpoint);

/// The op's elements in its tensor: of the plane it names, where it names one.
const uint8_t *getElements(WeightOp op, const ::tbq::TensorView &tensor);

/// Row p of the rotary table: cos(p f) for each frequency f, then sin(p f). p f
/// is rounded to float32, the functions are evaluated in float64.
void fillRopeRow(int64_t position, llvm::ArrayRef<float> frequencies,
                 float *row);

} // namespace mlir::tbq

#endif // TBQ_WEIGHTS_H
