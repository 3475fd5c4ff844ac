// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What ops that stand for weights refer to; see tbq/Weights.h.

#include "tbq/Weights.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::DType;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::TensorView;

/// Of the element types that a tensor of the checkpoint may have here.
static std::optional<DType> dtypeOf(Type element) {
  if (element.isF32())
    return DType::F32;
  if (element.isF16())
    return DType::F16;
  if (element.isBF16())
    return DType::BF16;
  if (element.isInteger(8))
    return DType::I8;
  if (element.isInteger(16))
    return DType::I16;
  if (element.isInteger(32))
    return DType::I32;
  return std::nullopt;
}

Result<const TensorView *> mlir::tbq::findTensor(WeightOp op,
                                                 const Checkpoint &checkpoint) {
  const std::string name = op.getName().str();
  if (auto digits = dyn_cast<DigitsType>(op.getType())) {
    ArrayRef<int64_t> bits = getDigitBits(digits.getScheme());
    std::vector<int64_t> shape{digits.getRows(),
                               getRowBytes(digits.getColumns(), bits[0])};
    if (digits.getScheme() == Scheme::Binary ||
        digits.getScheme() == Scheme::DualBinary)
      shape.insert(shape.begin(), bits.size());
    const bool isSigned = digits.getScheme() == Scheme::Int8;
    return checkpoint.require(name, {isSigned ? DType::I8 : DType::U8}, shape);
  }
  auto type = cast<RankedTensorType>(op.getType());
  std::optional<DType> dtype = dtypeOf(type.getElementType());
  if (!dtype)
    return makeError("", name, "is neither f32, f16, bf16, i8, i16 nor i32");
  std::vector<int64_t> shape = type.getShape().vec();
  if (std::optional<uint64_t> plane = op.getPlane()) {
    const TensorView *stored = checkpoint.find(name);
    const int64_t planes = stored && stored->shape.size() == shape.size() + 1
                               ? stored->shape[0]
                               : 0;
    if (stored && *plane >= uint64_t(planes))
      return makeError(stored->file, name,
                       "has no plane " + std::to_string(*plane));
    shape.insert(shape.begin(), planes);
  }
  return checkpoint.require(name, {*dtype}, shape);
}

const uint8_t *mlir::tbq::getElements(WeightOp op, const TensorView &tensor) {
  const std::optional<uint64_t> plane = op.getPlane();
  return plane ? tensor.data + *plane * (tensor.bytes / tensor.shape[0])
               : tensor.data;
}

void mlir::tbq::fillRopeRow(int64_t position, ArrayRef<float> frequencies,
                            float *row) {
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const float angle = static_cast<float>(position) * frequencies[i];
    row[i] = static_cast<float>(std::cos(static_cast<double>(angle)));
    row[frequencies.size() + i] =
        static_cast<float>(std::sin(static_cast<double>(angle)));
  }
}
