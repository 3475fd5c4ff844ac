// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From the operands of an op to the rows of its weight: tensors of the
// checkpoint, what tbq.quantize makes of them, and either of them in a
// tbq.pack, whose layout's terms are then taken instead of the scheme's.

#include "WeightRows.h"

#include "tbq/Interpreter.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::DType;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;

/// What a scheme means: for each coefficient, the integer of a weight as a
/// combination of its digits and 1.
static SmallVector<int64_t> getMeaning(Scheme scheme, bool shift,
                                       bool salient) {
  SmallVector<int64_t> factors;
  switch (scheme) {
  case Scheme::Ternary: // scale * (code - 1) + shift
    factors = {1, -1};
    break;
  case Scheme::Binary: // scale * (2 bit - 1) + shift, nothing where salient
    if (!salient) {
      factors = {2, -1};
      break;
    }
    factors = {2, 1, 0, -1};
    if (shift)
      factors.append({0, -1, 0, 1});
    factors.append({0, 0, 1, 0});
    return factors;
  case Scheme::DualBinary: // scale1 * bit1 + scale2 * bit2
    factors = {1, 0, 0, 0, 1, 0};
    break;
  case Scheme::Int8: // scale * (digit - 128)
    factors = {1, -128};
    break;
  case Scheme::Int4: // scale * (digit - 8)
    factors = {1, -8};
    break;
  case Scheme::SalientMask:
    llvm_unreachable("the verifiers refuse a mask");
  }
  if (shift)
    factors.append({0, 1});
  return factors;
}

Result<const QuantizedWeight *> WeightReader::evaluateOnce(QuantizeOp op) {
  std::unique_ptr<QuantizedWeight> &weight = made[op];
  if (weight)
    return weight.get();
  auto source = op.getWeight().getDefiningOp<WeightOp>();
  if (!source)
    return makeError("", getStepName(op),
                     "tbq.quantize of no tensor of the checkpoint");
  auto tensor = findTensor(source, checkpoint);
  if (!tensor)
    return tensor.error();
  auto quantized = ::mlir::tbq::evaluate(op, **tensor);
  if (!quantized)
    return quantized.error();
  weight = std::make_unique<QuantizedWeight>(*std::move(quantized));
  return weight.get();
}

/// The result of a tbq.quantize, digits excepted.
static const uint8_t *getMade(const QuantizedWeight &weight, QuantizeOp op,
                              unsigned result) {
  const unsigned coefficients = op.getCoefficients().size();
  auto bytes = [](const void *data) {
    return static_cast<const uint8_t *>(data);
  };
  if (result <= coefficients)
    return bytes(weight.coefficients[result - 1].data());
  const uint8_t *salient[] = {
      weight.mask.data(), weight.values.data(), bytes(weight.offsets.data()),
      bytes(weight.valueScale.data()), bytes(weight.zero.data())};
  return salient[result - 1 - coefficients];
}

Result<const uint8_t *> WeightReader::find(Value value) {
  if (auto op = value.getDefiningOp<WeightOp>()) {
    auto tensor = findTensor(op, checkpoint);
    if (!tensor)
      return tensor.error();
    return getElements(op, **tensor);
  }
  if (auto op = value.getDefiningOp<QuantizeOp>()) {
    auto weight = evaluateOnce(op);
    if (!weight)
      return weight.error();
    return getMade(**weight, op, cast<OpResult>(value).getResultNumber());
  }
  return makeError("", getStepName(value.getDefiningOp()),
                   "is no tensor of the checkpoint and not made of one");
}

Result<WeightRows::Floats> WeightReader::readFloats(Value value) {
  auto data = find(value);
  if (!data)
    return data.error();
  Type element = cast<RankedTensorType>(value.getType()).getElementType();
  return WeightRows::Floats{*data, element.isF16()    ? DType::F16
                                   : element.isBF16() ? DType::BF16
                                                      : DType::F32};
}

Status WeightReader::readPlanes(const Operands &operands, WeightRows &rows) {
  auto type = cast<DigitsType>(operands.weight.getType());
  ArrayRef<int64_t> bits = getDigitBits(type.getScheme());
  const bool isSigned = type.getScheme() == Scheme::Int8;
  if (auto op = operands.weight.getDefiningOp<QuantizeOp>()) {
    auto weight = evaluateOnce(op);
    if (!weight)
      return weight.error();
    for (auto [plane, width] : llvm::zip_equal((*weight)->planes, bits))
      rows.planes.push_back({plane.data(), width, isSigned});
    return Status::ok();
  }
  auto digits = find(operands.weight);
  if (!digits)
    return digits.error();
  for (int64_t width : bits) {
    rows.planes.push_back({*digits, width, isSigned});
    *digits += rows.rows * getRowBytes(rows.columns, width);
  }
  return Status::ok();
}

Status WeightReader::readSalient(const Operands &operands, WeightRows &rows) {
  const uint8_t *parts[5] = {};
  for (auto [i, operand] : llvm::enumerate(operands.salient)) {
    auto part = find(operand);
    if (!part)
      return part.error();
    parts[i] = *part;
  }
  if (operands.salient.empty())
    return Status::ok();
  rows.planes.push_back({parts[0], 1, false});
  rows.salientValues = parts[1];
  rows.salientOffsets = parts[2];
  rows.coefficients.push_back(parts[3]);
  rows.salientZero = parts[4];
  return Status::ok();
}

Result<WeightRows> WeightReader::read(const Operands &operands) {
  WeightRows rows;
  if (operands.bias) {
    auto bias = readFloats(operands.bias);
    if (!bias)
      return bias.error();
    rows.bias = *bias;
  }
  if (auto type = dyn_cast<RankedTensorType>(operands.weight.getType())) {
    rows.rows = type.getRank() == 1 ? 1 : type.getDimSize(0);
    rows.columns = rows.group = rows.coefficientGroup = type.getShape().back();
    auto elements = readFloats(operands.weight);
    if (!elements)
      return elements.error();
    rows.elements = *elements;
    return rows;
  }
  auto type = cast<DigitsType>(operands.weight.getType());
  rows.rows = type.getRows();
  rows.columns = type.getColumns();
  rows.group = operands.group;
  rows.coefficientGroup = operands.coefficientGroup;
  if (Status status = readPlanes(operands, rows); !status)
    return status.error();
  for (Value coefficient : operands.coefficients) {
    auto data = find(coefficient);
    if (!data)
      return data.error();
    rows.coefficients.push_back(*data);
  }
  const bool shift = operands.coefficients.size() == 2 &&
                     type.getScheme() != Scheme::DualBinary;
  rows.factors = operands.factors.vec();
  if (rows.factors.empty()) {
    auto meaning =
        getMeaning(type.getScheme(), shift, !operands.salient.empty());
    rows.factors.assign(meaning.begin(), meaning.end());
  }
  if (Status status = readSalient(operands, rows); !status)
    return status.error();
  return rows;
}

WeightReader::Operands WeightReader::lookInside(PackOp op) {
  LayoutAttr layout = op.getType().getLayout();
  return {op.getWeight(),   op.getBias(),      op.getCoefficients(),
          op.getSalient(),  layout.getGroup(), op.getCoefficientGroup(),
          layout.getTerms()};
}

Result<WeightRows> WeightReader::read(LinearOp op) {
  const int64_t group = op.getGroup().value_or(0);
  Operands operands{op.getWeight(),
                    op.getBias(),
                    op.getScale(),
                    op.getSalient(),
                    group,
                    group,
                    {}};
  if (op.getShift())
    operands.coefficients.push_back(op.getShift());
  return read(operands);
}

Result<WeightRows> WeightReader::read(EmbeddingOp op) {
  if (auto pack = op.getTable().getDefiningOp<PackOp>())
    return read(lookInside(pack));
  const int64_t group = op.getGroup().value_or(0);
  Operands operands{op.getTable(), {}, {}, {}, group, group, {}};
  if (op.getScale())
    operands.coefficients.push_back(op.getScale());
  return read(operands);
}

Result<WeightRows> WeightReader::read(PackedLinearOp op) {
  if (auto pack = op.getWeight().getDefiningOp<PackOp>())
    return read(lookInside(pack));
  return makeError("", getStepName(op), "has a packed weight without its pack");
}

Result<WeightRows> WeightReader::readTable(Value table) {
  if (auto pack = table.getDefiningOp<PackOp>())
    table = pack.getWeight();
  return read(Operands{table, {}, {}, {}, 0, 0, {}});
}

Result<std::vector<float>> WeightReader::readVector(Value weight) {
  auto rows = readTable(weight);
  if (!rows)
    return rows.error();
  std::vector<float> vector(rows->columns);
  rows->readFloats(0, vector.data());
  return vector;
}
