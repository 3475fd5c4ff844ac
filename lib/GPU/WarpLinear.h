// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The generator of a packed linear's code on a GPU. One for every scheme: it
// reads planes, groups and terms from the layout (#tbq.layout) and knows no
// scheme by name. A tile is four rows, so a step of digits is 16 bytes: what
// one thread loads at once. A warp reads a tile from front to back, 32 strides
// at a time; a lane keeps float sums of the strides it has seen, and the lanes
// are added up when the tile is done.
#ifndef TBQ_GPU_WARPLINEAR_H
#define TBQ_GPU_WARPLINEAR_H

#include "ThreadBuilder.h"

namespace mlir::tbq {

class WarpLinear {
public:
  /// blocks: as many as the step is expected to run on.
  WarpLinear(PackedLinearOp op, OpBuilder &b, int64_t blocks);

  void run();

private:
  /// Rows of a tile.
  static constexpr int64_t kRows = 4;
  /// Tokens whose sums a lane keeps at once.
  static constexpr int64_t kTokens = 8;
  /// Strides that a lane has loaded before it computes.
  static constexpr int64_t kAhead = 4;

  /// What a lane has loaded of one stride.
  struct Stride {
    Value group, first; // number of the group; whether it begins it (i1)
    Value offset;       // byte of the stride
    Value column;
    SmallVector<Value> words;        // four rows' of each step of each plane
    SmallVector<Value> coefficients; // vectors of four f16, of each term
  };

  /// Byte offset of a tile.
  Value getTileOffset(Value tile);
  int64_t countStrides() const;
  void generateTile(Value tile, Value active, Value share, Value token);
  SmallVector<Value> sumStrides(Value tile, Value active, Value share,
                                Value token);
  Stride loadStride(Value tile, Value number);
  void addStride(const Stride &stride, Value token,
                 MutableArrayRef<Value> sums);
  /// Adds the tile's salient digits, each with what its mask stands for.
  SmallVector<Value> addSalient(Value tile, Value active, Value share,
                                Value token, ValueRange sums);
  Value getSalientWeight(Value tile, Value row, Value column, Value digit);
  Value loadActivation(Value token, Value column);
  void addDigits(const Stride &stride, Value token,
                 MutableArrayRef<Value> sums);
  void addFloats(const Stride &stride, Value token,
                 MutableArrayRef<Value> sums);
  SmallVector<Value> getDots(const Stride &stride, Value token, int64_t plane);
  SmallVector<Value> getFloatDots(const Stride &stride, Value token,
                                  int64_t plane);
  Value getWord(const Stride &stride, int64_t plane, int64_t step, int64_t row);
  Value getBracket(int64_t term, ArrayRef<SmallVector<Value>> dots, Value sum,
                   int64_t row);
  void combineWarps(MutableArrayRef<Value> sums, Value share);
  void finish(Value tile, Value token, ArrayRef<Value> sums);
  Value loadActivations(Value rows, Value token, Value column, int64_t count);

  PackedLinearOp op;
  ThreadBuilder t;
  LayoutAttr layout;
  Value input, low, bytes; // `low`: the other digit of i16 activations, or null
  bool integer;
  int64_t tokens;
  int64_t shares; // warps that divide one tile's strides
};

} // namespace mlir::tbq

#endif // TBQ_GPU_WARPLINEAR_H
