// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Products of a block's digits and activations by AMX (AmxTiles.h). They go
// through scratch memory, since no tile is added to a float.

#include "LinearBlock.h"

using namespace mlir;
using namespace mlir::tbq;

int64_t LinearBlock::getProductRows(PackedLinearOp op, const Tuning &tuning) {
  LayoutAttr layout = op.getWeight().getType().getLayout();
  int64_t inputs = op.getLow() ? 2 : 1;
  return inputs * layout.getNumPlanes() * tuning.rowTiles * kTileRows;
}

/// One group's part of the sums of 16 tokens.
void LinearBlock::addTileProducts(Value token, Value group, int64_t columns,
                                  ArrayRef<SmallVector<Value>> coefficients) {
  Value column = v.mul(group, layout.getGroup());
  for (Value rows : {input, low})
    for (int64_t plane = 0; rows && plane < layout.getNumPlanes(); ++plane)
      multiplyPlane(rows, token, column, columns, plane);
  auto load = [&](Value rows, int64_t plane, int64_t number, Value t) {
    Value at = v.add(t, getProductRow(rows, plane, number));
    return v.load(products, {at, v.index(0)}, v.i32Vector());
  };
  Value first = getSumRow(token);
  v.unrolled(
      kTileRows, tuning.unrolledTokens, ValueRange(),
      [&](Value t, int64_t, ValueRange) {
        Value sum = loadSum(v.add(token, t), group);
        for (int64_t number = 0; number < tuning.rowTiles; ++number) {
          SmallVector<Value> planes;
          for (int64_t plane = 0; plane < layout.getNumPlanes(); ++plane) {
            Value dot = load(input, plane, number, t);
            if (low)
              dot = v.add(arith::ShLIOp::create(v.b, v.loc, dot, v.splatI32(8)),
                          load(low, plane, number, t));
            planes.push_back(dot);
          }
          Value at = v.add(v.add(first, v.mul(t, tuning.rowTiles)), number);
          v.store(addToSum(number, at, planes, sum, coefficients[number]),
                  rowSums, {at, v.index(0)});
        }
        return SmallVector<Value>();
      });
}

/// The products of a plane's digits with 16 rows of activations, or of their
/// low digits.
void LinearBlock::multiplyPlane(Value rows, Value token, Value column,
                                int64_t columns, int64_t plane) {
  SmallVector<Value> quads, places;
  for (int64_t number = 0; number < tuning.rowTiles; ++number) {
    quads.push_back(getDigitRow(plane, number, v.index(0)));
    places.push_back(v.index(getProductRow(rows, plane, number)));
  }
  TileProducts::Input tokens = {rows, token};
  multiplyTiles(v, {tokens, column, columns, digits, /*isSigned=*/false, quads,
                    products, places});
}
