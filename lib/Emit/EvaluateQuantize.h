// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a tbq.quantize makes of a tensor of the checkpoint: the tensors that our
// quantised checkpoint would hold instead of it.
#ifndef TBQ_LIB_EMIT_EVALUATEQUANTIZE_H
#define TBQ_LIB_EMIT_EVALUATEQUANTIZE_H

#include "tbq/Checkpoint.h"
#include "tbq/IR/Tbq.h"

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

/// Reads `matrix`, of the shape that the op's weight has, some rows at a time.
/// Errors name its file and the rows or groups that cannot be quantised.
::tbq::Result<QuantizedWeight> evaluate(QuantizeOp op,
                                        const ::tbq::TensorView &matrix);

} // namespace mlir::tbq

#endif // TBQ_LIB_EMIT_EVALUATEQUANTIZE_H
