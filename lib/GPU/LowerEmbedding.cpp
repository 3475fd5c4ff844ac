// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The embedding: one row of a packed table a token, a column a thread. A
// digit's value is its term's integer, converted once, times the coefficient,
// as on a CPU.

#include "LowerStep.h"
#include "RowExchange.h"

using namespace mlir;
using namespace mlir::tbq;

/// One element of a table of floats.
static Value getFloat(ThreadBuilder &t, LayoutAttr layout, Value bytes,
                      Value tile, Value row, Value column) {
  Type element = layout.getElementType();
  int64_t size = element.getIntOrFloatBitWidth() / 8;
  Value place = t.add(t.mul(column, layout.getTile()), row);
  return t.loadAsF32(bytes, t.add(tile, t.mul(place, size)), element);
}

/// The digit of one plane, i32: column 4 j + i of a step is byte i, field j.
static Value getDigit(ThreadBuilder &t, LayoutAttr layout, Value bytes,
                      Value group, int64_t plane, Value row, Value column) {
  int64_t bits = layout.getDigits()[plane], covers = 32 / bits;
  Value stride = t.div(column, layout.getStepColumns());
  Value rest = t.rem(column, layout.getStepColumns());
  Value step = t.mul(t.div(rest, covers), layout.getStepBytes());
  Value word = t.add(t.add(group, t.mul(stride, layout.getStrideBytes())),
                     t.add(step, layout.getStepOffset(plane, 0)));
  Value inStep = t.rem(rest, covers);
  Value byte = t.add(t.add(word, t.mul(row, 4)), t.rem(inStep, 4));
  Value eight = t.load(bytes, byte);
  Value wide = arith::ExtUIOp::create(t.b, t.loc, t.b.getI32Type(), eight);
  Value shift = t.toI32(t.mul(t.div(inStep, 4), bits));
  return t.andBits(arith::ShRUIOp::create(t.b, t.loc, wide, shift),
                   (1u << bits) - 1);
}

static Value getValue(ThreadBuilder &t, LayoutAttr layout, Value bytes,
                      Value tile, Value row, Value column) {
  int64_t size = layout.getGroup(), whole = layout.getColumns() / size;
  Value number = t.div(column, size), inGroup = t.rem(column, size);
  Value group = t.add(tile, t.mul(number, layout.getGroupBytes(size)));
  SmallVector<Value> digits;
  for (int64_t plane = 0; plane < layout.getNumPlanes(); ++plane)
    digits.push_back(getDigit(t, layout, bytes, group, plane, row, inGroup));
  Value sum;
  for (int64_t term = 0; term < layout.getNumTerms(); ++term) {
    Value at = t.index(layout.getCoefficientOffset(term, size));
    if (int64_t last = layout.getColumns() % size)
      at = t.select(t.less(number, t.index(whole)), at,
                    t.index(layout.getCoefficientOffset(term, last)));
    Value coefficient = t.loadAsF32(
        bytes, t.add(t.add(group, at), t.mul(row, 2)), t.b.getF16Type());
    Value total = t.constantI32(layout.getTerm(term, layout.getNumPlanes()));
    for (auto [plane, digit] : llvm::enumerate(digits))
      total = t.add(total,
                    t.mul(digit, t.constantI32(layout.getTerm(term, plane))));
    Value bracket = t.toF32(total);
    sum = sum ? t.fma(bracket, coefficient, sum) : t.mulf(bracket, coefficient);
  }
  return sum;
}

void mlir::tbq::lowerEmbedding(ThreadBuilder &t, EmbeddingOp op) {
  LayoutAttr layout = cast<PackedType>(op.getTable().getType()).getLayout();
  Value bytes = getBytes(t, op.getTable()), into = op.getInto().front();
  int64_t columns = layout.getColumns();
  int64_t padded = cast<MemRefType>(into.getType()).getShape().back();
  forEachElement(t, op, columns, [&](Value token, Value column) {
    Value id = arith::IndexCastUIOp::create(t.b, t.loc, t.b.getIndexType(),
                                            t.load(op.getTokens(), {token}));
    Value tile = t.mul(t.div(id, layout.getTile()), layout.getTileBytes());
    Value row = t.rem(id, layout.getTile());
    Value value = layout.isFloat()
                      ? getFloat(t, layout, bytes, tile, row, column)
                      : getValue(t, layout, bytes, tile, row, column);
    storeOfRow(t, op, value, into, {token, column});
    if (columns < padded)
      t.ifThen(t.equal(column, 0), [&] {
        for (int64_t pad = columns; pad < padded; ++pad)
          t.store(t.constant(0.0f), into, {token, t.index(pad)});
      });
  });
}
