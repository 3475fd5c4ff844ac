// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A packed linear for a step of many tokens, where the target has dot products
// of unsigned with signed bytes. A group of two tiles of rows is spread once,
// one digit a byte, into scratch memory that the first cache holds, and then
// multiplied with all tokens of a block: there a digit costs nothing but its
// load, and an activation's serves both tiles. Sums of rows stay in scratch
// memory from group to group. For a token, the order of all float operations is
// LinearGenerator's.
#ifndef TBQ_CPU_LINEARBLOCK_H
#define TBQ_CPU_LINEARBLOCK_H

#include "LinearGenerator.h"

namespace mlir::tbq {

class LinearBlock : public LinearGenerator {
public:
  /// `scratch`: the function's, of at least the op's getScratchBytes. `amx`:
  /// groups of whole AMX tiles are multiplied by them.
  LinearBlock(PackedLinearOp op, OpBuilder &b, bool amx, bool fused,
              Value scratch);

  void run();

  /// What a block of the op needs; 0: the op is none for blocks.
  static int64_t getScratchBytes(PackedLinearOp op, bool amx);

private:
  static constexpr int64_t kTiles = 2;
  static constexpr int64_t kRowBytes = 64; // of scratch memory
  /// Tokens whose activations stay in the second cache while all of a worker's
  /// tiles pass.
  static constexpr int64_t kMostTokens = 128;
  /// Of scratch memory for digits, which is on a worker's stack.
  static constexpr int64_t kMostDigitBytes = 1 << 18;
  /// Strides of a group and columns of four that are written out, not looped
  /// over.
  static constexpr int64_t kUnrolledStrides = 2;
  static constexpr int64_t kUnrolledQuads = 2;
  /// Rows of an AMX tile, which are tokens or quads, and its columns of bytes.
  static constexpr int64_t kTileRows = 16;
  static constexpr int64_t kTileColumns = 64;
  /// The same as above, of the tiles of a group and of the tokens of a tile.
  static constexpr int64_t kUnrolledTiles = 8;
  static constexpr int64_t kUnrolledTokens = 4;

  /// Rows of scratch memory of a layout's digits and of a block's sums.
  static int64_t getQuads(int64_t columns) { return (columns + 3) / 4; }
  static int64_t getDigitRows(LayoutAttr layout) {
    return layout.getNumPlanes() * kTiles * getQuads(layout.getGroup());
  }
  static int64_t getBlockTokens(PackedLinearOp op);
  static int64_t getProductRows(PackedLinearOp op);

  Value view(Value scratch, int64_t first, int64_t rows, Type row);
  void generateTiles();
  void clearSums();
  SmallVector<Value> generateGroup(ValueRange offsets, Value group,
                                   int64_t columns);
  Value spread(int64_t number, Value offset, int64_t columns);
  Value spreadSalient(int64_t number, Value from, int64_t columns);
  void putByte(Value first, Value column, Value byte);
  SmallVector<Value> multiply(Value token, Value column, int64_t columns,
                              int64_t plane);
  void addToSum(int64_t number, Value at, ArrayRef<Value> planes, Value sum,
                ArrayRef<Value> coefficients);
  void addProducts(Value token, Value group, int64_t columns,
                   ArrayRef<SmallVector<Value>> coefficients);
  void multiplyPlane(Value rows, Value token, Value column, int64_t columns,
                     int64_t plane);
  void addTileProducts(Value token, Value group, int64_t columns,
                       ArrayRef<SmallVector<Value>> coefficients);
  void finishBlock();

  bool hasWholeTiles(int64_t columns) const {
    return amx && columns % kTileColumns == 0;
  }
  /// Where the products of a plane with `rows` begin: one row a token.
  int64_t getProductRow(Value rows, int64_t plane, int64_t number) {
    int64_t first = rows == low ? layout.getNumPlanes() : 0;
    return ((first + plane) * kTiles + number) * kTileRows;
  }
  Value getDigitRow(int64_t plane, int64_t number, Value quad) {
    return v.add(quad, (plane * kTiles + number) * getQuads(layout.getGroup()));
  }
  /// The first row of a token's sums, of which each tile has one.
  Value getSumRow(Value token) {
    return v.mul(v.sub(token, firstToken), kTiles);
  }

  bool amx;
  Value digits, digitWords, rowSums, products; // scratch memory
  Value firstToken, endToken;
  Tile tiles[kTiles];
};

} // namespace mlir::tbq

#endif // TBQ_CPU_LINEARBLOCK_H
