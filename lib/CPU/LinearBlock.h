// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A packed linear for a step of many tokens, where the target has dot products
// of unsigned with signed bytes. A group of some tiles of rows is spread once,
// one digit a byte, into scratch memory that the first cache holds, and then
// multiplied with all tokens of a block: there a digit costs nothing but its
// load, and an activation's serves all tiles. Sums of rows stay in scratch
// memory from group to group; what the last one makes of them is the result.
// For a token, the order of all float operations is LinearGenerator's.
#ifndef TBQ_CPU_LINEARBLOCK_H
#define TBQ_CPU_LINEARBLOCK_H

#include "AmxTiles.h"
#include "LinearGenerator.h"

namespace mlir::tbq {

class LinearBlock : public LinearGenerator {
public:
  /// `scratch`: the function's, of at least the op's getScratchBytes. `amx`:
  /// groups of whole AMX tiles are multiplied by them.
  LinearBlock(PackedLinearOp op, OpBuilder &b, bool amx, bool fused,
              const Tuning &tuning, Value scratch);

  void run();

  /// What a block of the op needs; 0: the op is none for blocks.
  static int64_t getScratchBytes(PackedLinearOp op, bool amx,
                                 const Tuning &tuning);
  /// With as many tiles of rows as there is room for: long groups have room for
  /// fewer. Two are the least, where the table says no less.
  static Tuning fit(PackedLinearOp op, Tuning tuning);
  /// Whether tokens and groups are whole AMX tiles, but perhaps the last group.
  static bool fillsTiles(PackedLinearOp op);

private:
  static constexpr int64_t kRowBytes = 64; // of scratch memory
  /// Of scratch memory for digits, which is on a worker's stack.
  static constexpr int64_t kMostDigitBytes = 1 << 18;
  /// Strides of a group that are written out, not looped over, where digits are
  /// spread: once a block.
  static constexpr int64_t kUnrolledStrides = 2;
  /// Tokens whose sums are in registers, four vectors of rows each, where
  /// digits are by threes.
  static constexpr int64_t kTripleTokens = 4;

  /// Rows of scratch memory of a layout's digits and of a block's sums.
  static int64_t getQuads(int64_t columns) { return (columns + 3) / 4; }
  static int64_t getDigitRows(LayoutAttr layout, const Tuning &tuning) {
    return layout.getNumPlanes() * tuning.rowTiles *
           getQuads(layout.getGroup());
  }
  static bool hasTokenTiles(PackedLinearOp op);
  static int64_t getBlockTokens(PackedLinearOp op, const Tuning &tuning);
  static int64_t getProductRows(PackedLinearOp op, const Tuning &tuning);

  Value view(Value scratch, int64_t first, int64_t rows, Type row);
  void generateTiles();
  void generatePanel(Value panel, int64_t like);
  void clearSums();
  SmallVector<Value> generateGroup(ValueRange offsets, Value group,
                                   int64_t columns);
  Value spread(int64_t number, Value offset, int64_t columns);
  Value spreadTriples(Value offset, int64_t columns);
  Value spreadSalient(int64_t number, Value from, int64_t columns);
  void putByte(Value first, Value column, Value byte);
  SmallVector<Value> multiply(Value token, Value column, int64_t columns,
                              int64_t plane);
  Value addToSum(int64_t number, Value at, ArrayRef<Value> planes, Value sum,
                 ArrayRef<Value> coefficients);
  void ifDistinct(int64_t number, llvm::function_ref<void()> body);
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
    return ((first + plane) * tuning.rowTiles + number) * kTileRows;
  }
  Value getDigitRow(int64_t plane, int64_t number, Value quad) {
    return v.add(quad, (plane * tuning.rowTiles + number) *
                           getQuads(layout.getGroup()));
  }
  /// The first row of a token's sums, of which each tile has one.
  Value getSumRow(Value token) {
    return v.mul(v.sub(token, firstToken), tuning.rowTiles);
  }

  bool amx;
  Value digits, digitWords, rowSums, products; // scratch memory
  Value firstToken, endToken;
  SmallVector<Tile, 4> tiles;
  SmallVector<Value> biases; // of the tiles, where they have any
};

} // namespace mlir::tbq

#endif // TBQ_CPU_LINEARBLOCK_H
