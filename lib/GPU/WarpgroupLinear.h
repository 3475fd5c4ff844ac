// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A linear of digits for many tokens on sm_90a. A block has a tile of 256 rows
// and up to 64 tokens, of which each group of four warps has 64 rows: products
// of warp groups, whose rows are the digits that a lane has unpacked, and whose
// columns lie in memory that the block shares (TokenTiles.h). That memory is
// stages of 128 or 256 columns: the tile's tokens, copied by one thread when
// all warps have left what was there, and the weights of each warp, copied by
// the warp itself. Some stages are ahead of what is multiplied, of the next
// tile behind the last of one; nothing else is waited for.
// Digits become what a term makes of them before they are multiplied, as far up
// in their byte as they go: bytes with a sign, so that products need no sum of
// activations taken away, and the scale is one more factor of coefficients.
// Invariant: the bits are those of a step of one token (DigitLinear).
#ifndef TBQ_GPU_WARPGROUPLINEAR_H
#define TBQ_GPU_WARPGROUPLINEAR_H

#include "BlockLinear.h"
#include "TokenTiles.h"

namespace mlir::tbq {

class WarpgroupLinear : public BlockLinear {
public:
  /// linears: one, or findGatedPair's.
  WarpgroupLinear(LinearGroup linears, OpBuilder &b, int64_t units,
                  int64_t blocks, int64_t sharedBytes, TokenTiles placed);

  /// How its input must lie; null: it cannot be run, as of few tokens, of
  /// columns that are no whole stages, of groups that are several pieces.
  static std::optional<TokenTiles> canTake(PackedLinearOp op);

  void run(const DealtTiles &dealt);

private:
  /// A tile of the block's, if it exists: where the warp's rows of weights lie.
  struct Turn {
    Place place;
    Value exists, weights;
  };
  Turn getTurn(const Turns &turns, Value index);

  // Stages: WarpgroupStages.cpp.
  struct Stage {
    Value slot, parity;            // i32; of the turn it is in
    Value tokens, weights;         // in memory
    Value full, empty, hasWeights; // barriers
  };
  Stage getStage(Value slot, Value parity);
  /// As a loop carries it to the next one.
  SmallVector<Value> moveOn(const Stage &stage);
  int64_t countDigitBytes() const; // of tokens, one digit
  int64_t countSumBytes() const;
  int64_t countTokenBytes() const;  // with all digits and sums
  int64_t countWeightBytes() const; // of a tile of rows
  int64_t countStageBytes() const;
  int64_t countBarriers() const;
  int64_t countKeptBytes() const;
  int64_t countBytes() const; // of all
  void makeBarriers();
  void endBarriers();
  /// Stage `unit` of a tile, or past its last one of the next.
  void copyTokens(const Stage &stage, Value unit, const Turn &turn);
  void copyWeights(const Stage &stage, Value unit, const Turn &turn);
  void requestTokens(const Stage &stage, Value unit, const Turn &turn,
                     const Turn &next);
  void requestWeights(const Stage &stage, Value unit, const Turn &turn,
                      const Turn &next);
  void requestFirst(const Turn &turn);
  /// Piece `number` of a stage, of the warp's tiles.
  Piece loadStaged(const Stage &stage, int64_t number);
  SmallVector<Value> loadSums(const Stage &stage, int64_t number);

  // Pieces.
  /// Sums, and how the stages go on.
  SmallVector<Value> addTile(const Turn &turn, const Turn &next,
                             ValueRange carried);
  SmallVector<Value> addStage(const Stage &stage, Value unit, const Turn &turn,
                              const Turn &next, SmallVector<Value> sums,
                              bool endsRanges);
  void addTerms(const Piece &piece, ArrayRef<SmallVector<Value>> digits,
                const Stage &stage, int64_t number,
                MutableArrayRef<Value> sums);
  SmallVector<Value> endRange(Value unit, int64_t number,
                              SmallVector<Value> sums);
  SmallVector<Value> getSignedWords(const Piece &piece, int64_t plane);
  SmallVector<Value> multiply(ArrayRef<Value> words, const Stage &stage,
                              int64_t number);

  TokenTiles placed;
  int64_t stages;          // that there is memory for
  int64_t ofTile, ofStage; // stages of a tile, pieces of a stage
  Value first, barriers;   // where stages begin in memory; an address
};

} // namespace mlir::tbq

#endif // TBQ_GPU_WARPGROUPLINEAR_H
