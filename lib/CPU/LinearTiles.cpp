// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Products of a block's digits and activations by AMX: 16 tokens x 64 columns
// times 64 columns x 16 rows. Sixteen rows of spread digits are one tile of
// them as they stand, and 16 tokens' rows of activations the other. The int32
// products go through scratch memory, since no tile is added to a float.

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
          addToSum(number,
                   v.add(v.add(first, v.mul(t, tuning.rowTiles)), number),
                   planes, sum, coefficients[number]);
        }
        return SmallVector<Value>();
      });
}

/// The products of a plane's digits with 16 rows of activations, or of their
/// low digits.
void LinearBlock::multiplyPlane(Value rows, Value token, Value column,
                                int64_t columns, int64_t plane) {
  auto bytesTile =
      amx::TileType::get({kTileRows, kTileColumns}, v.b.getI8Type());
  auto sumsTile = amx::TileType::get({kTileRows, kTileRows}, v.b.getI32Type());
  auto place = [&](int64_t number) {
    return SmallVector<Value>{v.index(getProductRow(rows, plane, number)),
                              v.index(0)};
  };
  auto addTiles = [&](Value first, int64_t count, SmallVector<Value> sums) {
    for (int64_t i = 0; i < count; ++i) {
      Value at = v.add(first, i);
      Value x = amx::TileLoadOp::create(
          v.b, v.loc, bytesTile, rows,
          ValueRange{token, v.add(column, v.mul(at, kTileColumns))});
      for (int64_t number = 0; number < tuning.rowTiles; ++number) {
        Value quad = getDigitRow(plane, number, v.mul(at, kTileRows));
        Value four = amx::TileLoadOp::create(v.b, v.loc, bytesTile, digits,
                                             ValueRange{quad, v.index(0)});
        sums[number] =
            amx::TileMulIOp::create(v.b, v.loc, sumsTile, x, four, sums[number],
                                    /*isZextLhs=*/false, /*isZextRhs=*/true);
      }
    }
    for (int64_t number = 0; number < tuning.rowTiles; ++number)
      amx::TileStoreOp::create(v.b, v.loc, products, place(number),
                               sums[number]);
  };
  auto getSums = [&](bool none) {
    SmallVector<Value> sums;
    for (int64_t number = 0; number < tuning.rowTiles; ++number)
      sums.push_back(none
                         ? Value(amx::TileZeroOp::create(v.b, v.loc, sumsTile))
                         : Value(amx::TileLoadOp::create(
                               v.b, v.loc, sumsTile, products, place(number))));
    return sums;
  };
  // Loops carry no tiles: what a round leaves is loaded by the next one.
  int64_t tiles = columns / kTileColumns;
  int64_t head = (tiles - 1) % kUnrolledTiles + 1;
  addTiles(v.index(0), head, getSums(/*none=*/true));
  if (head < tiles)
    v.loop(v.index(head), v.index(tiles), kUnrolledTiles, ValueRange(),
           [&](Value first, ValueRange) {
             addTiles(first, kUnrolledTiles, getSums(/*none=*/false));
             return SmallVector<Value>();
           });
}
