// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The embedding: one row of a packed table a token. Input: a table of floats or
// of digits in any layout; output: the row in f32, padded with zeros.
// Invariant: a float comes as it is, and a digit's value is its term's integer,
// converted once, times the coefficient: for int8 exactly f32(scale) * f32(q).

#include "LowerStep.h"

using namespace mlir;
using namespace mlir::tbq;

namespace {
/// Writes the row `id` of a table to the row `token` of a buffer.
class RowGenerator {
public:
  RowGenerator(VectorBuilder &v, LayoutAttr layout, Value bytes, Value id,
               Value into, Value token)
      : v(v), layout(layout), bytes(bytes), into(into), token(token),
        tile(v.mul(v.div(id, kLanes), layout.getTileBytes())),
        lane(v.rem(id, kLanes)) {}

  void writeFloats();
  void writeDigits();

private:
  void writeGroup(Value offset, Value column, int64_t columns);
  void writeStride(Value offset, Value column, int64_t columns,
                   ArrayRef<Value> coefficients);
  Value getDigits(Value offset, int64_t plane, int64_t slot);

  VectorBuilder &v;
  LayoutAttr layout;
  Value bytes, into, token;
  Value tile, lane; // the tile's first byte, and the row within it
};
} // namespace

/// Columns that a row has in one slot of a step: the fields j of its 4 bytes.
static constexpr int64_t kSlotColumns = 4;

/// One element a column, `tile` elements from one to the next.
void RowGenerator::writeFloats() {
  Type element = layout.getElementType();
  int64_t elementBytes = element.getIntOrFloatBitWidth() / 8;
  Value first = v.add(tile, v.mul(lane, elementBytes));
  v.loop(v.index(0), v.index(layout.getColumns()), [&](Value column) {
    Value offset = v.add(first, v.mul(column, kLanes * elementBytes));
    v.storeFirst(v.loadAsF32(bytes, offset, element, 1), into, {token, column},
                 1);
  });
}

void RowGenerator::writeDigits() {
  int64_t group = layout.getGroup(), whole = layout.getColumns() / group;
  v.loop(v.index(0), v.index(whole), [&](Value number) {
    writeGroup(v.add(tile, v.mul(number, layout.getGroupBytes(group))),
               v.mul(number, group), group);
  });
  if (whole < layout.getNumGroups())
    writeGroup(v.add(tile, layout.getGroupOffset(whole)),
               v.index(whole * group), layout.getGroupColumns(whole));
}

/// The `columns` columns from `column` on, whose group lies at byte `offset`.
void RowGenerator::writeGroup(Value offset, Value column, int64_t columns) {
  SmallVector<Value> coefficients;
  for (int64_t term = 0; term < layout.getNumTerms(); ++term) {
    Value at = v.add(v.add(offset, layout.getCoefficientOffset(term, columns)),
                     v.mul(lane, 2));
    Value one = v.loadAsF32(bytes, at, v.b.getF16Type(), 1);
    coefficients.push_back(
        v.splat(vector::ExtractOp::create(v.b, v.loc, one, 0), kSlotColumns));
  }
  int64_t stride = layout.getStepColumns(), whole = columns / stride;
  auto writeNumber = [&](Value number, int64_t valid) {
    writeStride(v.add(offset, v.mul(number, layout.getStrideBytes())),
                v.add(column, v.mul(number, stride)), valid, coefficients);
  };
  v.loop(v.index(0), v.index(whole),
         [&](Value number) { writeNumber(number, stride); });
  if (columns % stride)
    writeNumber(v.index(whole), columns % stride);
}

/// Slots that begin before column `columns` of a stride. The last may reach
/// past the row's end, where its buffer is padded.
void RowGenerator::writeStride(Value offset, Value column, int64_t columns,
                               ArrayRef<Value> coefficients) {
  for (int64_t slot = 0; slot * kSlotColumns < columns; ++slot) {
    SmallVector<Value> digits;
    for (int64_t plane = 0; plane < layout.getNumPlanes(); ++plane)
      digits.push_back(getDigits(offset, plane, slot));
    Value row;
    for (auto [term, coefficient] : llvm::enumerate(coefficients)) {
      Value total =
          v.splatI32(layout.getTerm(term, layout.getNumPlanes()), kSlotColumns);
      for (auto [plane, digit] : llvm::enumerate(digits))
        total =
            v.add(total, v.mul(digit, v.splatI32(layout.getTerm(term, plane),
                                                 kSlotColumns)));
      Value bracket =
          arith::SIToFPOp::create(v.b, v.loc, v.f32Vector(kSlotColumns), total);
      row =
          row ? v.fma(bracket, coefficient, row) : v.mulf(bracket, coefficient);
    }
    v.store(row, into, {token, v.add(column, slot * kSlotColumns)});
  }
}

/// The digits of a plane in slot `slot` of the stride at byte `offset`.
Value RowGenerator::getDigits(Value offset, int64_t plane, int64_t slot) {
  int64_t bits = layout.getDigits()[plane], slots = 8 / bits;
  Value at = v.add(v.add(offset, layout.getStepOffset(plane, slot / slots)),
                   v.mul(lane, 4));
  Value wide =
      arith::ExtUIOp::create(v.b, v.loc, v.i32Vector(kSlotColumns),
                             v.loadBytes(bytes, at, v.i8Vector(kSlotColumns)));
  int64_t shift = bits * (slot % slots);
  if (shift != 0)
    wide = arith::ShRUIOp::create(v.b, v.loc, wide,
                                  v.splatI32(shift, kSlotColumns));
  if (shift + bits == 8) // the upper end of its byte
    return wide;
  return arith::AndIOp::create(v.b, v.loc, wide,
                               v.splatI32((1 << bits) - 1, kSlotColumns));
}

void mlir::tbq::lowerEmbedding(VectorBuilder &v, EmbeddingOp op) {
  LayoutAttr layout = cast<PackedType>(op.getTable().getType()).getLayout();
  Value bytes = getBytes(v, op.getTable());
  Value into = op.getInto().front();
  forEachUnit(v, op, [&](Value token, Value) {
    Value id = arith::IndexCastUIOp::create(v.b, v.loc, v.b.getIndexType(),
                                            v.load(op.getTokens(), {token}));
    RowGenerator row(v, layout, bytes, id, into, token);
    if (layout.isFloat())
      row.writeFloats();
    else
      row.writeDigits();
    Value zero = v.constant(0);
    int64_t padded = cast<MemRefType>(into.getType()).getShape().back();
    for (int64_t pad = layout.getColumns(); pad < padded; ++pad)
      v.storeScalar(zero, into, {token, v.index(pad)});
  });
}
