// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the verifiers of the step's ops share: the two forms of an op, and the
// shapes of rows and weights.
#ifndef TBQ_LIB_IR_STEPFORM_H
#define TBQ_LIB_IR_STEPFORM_H

#include "tbq/IR/Tbq.h"

#include "llvm/Support/MathExtras.h"

#include <utility>

namespace mlir::tbq {

/// Columns of a row of activations: exact in tensor form; in buffer form rows
/// are padded to whole vectors.
inline int64_t getColumns(Value rows) {
  auto type = cast<ShapedType>(rows.getType());
  return type.getRank() == 0 ? 1 : type.getShape().back();
}

inline bool hasColumns(Value rows, int64_t columns) {
  auto type = cast<ShapedType>(rows.getType());
  if (isa<MemRefType>(type))
    columns = llvm::alignTo(columns, kLanes);
  return type.getRank() == 2 && type.getDimSize(1) == columns;
}

/// Whether a buffer's rows have room for `columns`, or a tensor's just those.
inline bool hasRoom(Value rows, int64_t columns) {
  auto type = dyn_cast<MemRefType>(rows.getType());
  if (!type)
    return hasColumns(rows, columns);
  return type.getRank() == 2 &&
         type.getDimSize(1) >= int64_t(llvm::alignTo(columns, kLanes));
}

inline bool isF32(Value rows) {
  return cast<ShapedType>(rows.getType()).getElementType().isF32();
}

/// How many results or buffers an op of the step makes.
template <typename OpType> size_t countOutputs(OpType op) {
  return op.getInto().empty() ? op->getNumResults() : op.getInto().size();
}

/// The rules every op of the step shares. `outputs`: how many it makes.
template <typename OpType> LogicalResult verifyForm(OpType op, size_t outputs) {
  bool buffer = !op.getInto().empty();
  size_t made = countOutputs(op);
  if (buffer && op->getNumResults() != 0)
    return op.emitOpError("has both results and buffers to write into");
  if (made != outputs)
    return op.emitOpError("needs ")
           << outputs << " results or buffers, not " << made;
  ValueRange written =
      buffer ? ValueRange(op.getInto()) : ValueRange(op->getResults());
  for (Value output : written)
    if (cast<ShapedType>(output.getType()).getRank() != 2)
      return op.emitOpError("makes tokens x columns, not ") << output.getType();
  if (!op.getRange().empty() && op.getRange().size() != 2)
    return op.emitOpError("range needs a begin and an end");
  return success();
}

/// The one output, in either form.
template <typename OpType> Value getOutput(OpType op) {
  return op.getInto().empty() ? Value(op->getResult(0))
                              : Value(op.getInto().front());
}

/// A place for each row, where tokens do not follow each other.
template <typename OpType> LogicalResult verifyPlaces(OpType op, Value rows) {
  auto places = dyn_cast<ShapedType>(op.getPosition().getType());
  if (!places)
    return success();
  int64_t tokens = cast<ShapedType>(rows.getType()).getDimSize(0);
  if (places.getDimSize(1) != 2 || places.getDimSize(0) > tokens)
    return op.emitOpError("needs a position and a byte of the cache for each "
                          "of ")
           << rows.getType() << ", not " << places;
  return success();
}

/// Rows and columns of a matrix, table or vector, as stored or packed.
inline std::pair<int64_t, int64_t> getShape(Value weight) {
  if (auto packed = dyn_cast<PackedType>(weight.getType()))
    return {packed.getLayout().getRows(), packed.getLayout().getColumns()};
  if (auto digits = dyn_cast<DigitsType>(weight.getType()))
    return {digits.getRows(), digits.getColumns()};
  auto tensor = cast<RankedTensorType>(weight.getType());
  if (tensor.getRank() == 0)
    return {1, 1};
  return {tensor.getRank() == 1 ? 1 : tensor.getDimSize(0),
          tensor.getShape().back()};
}

/// What a weight of digits needs beside them: a group, and coefficients for
/// each.
template <typename OpType>
LogicalResult verifyCoefficients(OpType op, DigitsType digits,
                                 ValueRange coefficients) {
  std::optional<uint64_t> group = op.getGroup();
  int64_t columns = digits.getColumns();
  if (!group || int64_t(*group) < 1 || int64_t(*group) > columns)
    return op.emitOpError("needs a group of 1 to ") << columns << " columns";
  int64_t groups = llvm::divideCeil(columns, int64_t(*group));
  for (Value coefficient : coefficients) {
    auto type = cast<RankedTensorType>(coefficient.getType());
    if (type.getShape() != ArrayRef<int64_t>{digits.getRows(), groups} ||
        !type.getElementType().isF16())
      return op.emitOpError("scales and shift must be ")
             << digits.getRows() << "x" << groups << " f16, not " << type;
  }
  return success();
}

} // namespace mlir::tbq

#endif // TBQ_LIB_IR_STEPFORM_H
