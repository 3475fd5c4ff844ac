// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A linear of digits for many tokens on sm_90a. A block has a tile of 128 rows
// and up to 128 tokens, of which each of two groups of four warps has 64 rows:
// products of warp groups, whose rows are the digits that a lane has unpacked,
// and whose columns lie in memory that the block shares (TokenTiles.h). A third
// group copies, the tile's tokens and every warp's weights, to stages of 128 or
// 256 columns, as long as there is one that nobody reads, those of the block's
// next tile behind those of one. Behind a share's stages of digits come those
// of the sum term, whose columns are groups. The groups that multiply take
// registers that the others do not need: 64 sums and as many products a lane.
// Digits become what a term makes of them before they are multiplied, as far up
// in their byte as they go: bytes with a sign, so that products need no sum of
// activations taken away, and the scale is one more factor of coefficients.
// Invariant: the bits are those of a step of one token (DigitLinear).
#ifndef TBQ_GPU_WARPGROUPLINEAR_H
#define TBQ_GPU_WARPGROUPLINEAR_H

#include "BlockLinear.h"
#include "TokenTiles.h"

#include <deque>

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
  /// Runs `body` with the block's tiles, and what it carries from one to the
  /// next: how the stages go on.
  using Body = llvm::function_ref<SmallVector<Value>(Place, ValueRange)>;
  void forEachTile(const Turns &turns, Body body);
  void multiplyTiles(const Turns &turns);
  void copyTiles(const Turns &turns);

  // Stages: WarpgroupStages.cpp.
  struct Stage {
    Value slot, parity;    // i32; of the turn it is in
    Value tokens, weights; // in memory; the weights of all warps
    Value full, empty;     // barriers
  };
  Stage getStage(ValueRange carried);
  /// As a loop carries it to the next one.
  SmallVector<Value> moveOn(const Stage &stage);
  int64_t countDigitBytes() const;  // of tokens, one digit
  int64_t countTokenBytes() const;  // with all digits
  int64_t countWeightBytes() const; // of a tile of rows
  int64_t countStageBytes() const;
  int64_t countStageEights() const; // of the sum term, that a stage has
  int64_t countKeptBytes() const;
  int64_t countBytes() const; // of all
  void makeBarriers();
  void endBarriers(); // when all have met
  /// Runs `body` with the address of each, by one thread, and whether it is
  /// `empty`.
  void forEachBarrier(llvm::function_ref<void(Value, Value)> body);
  /// A warp's.
  Value getWeights(const Stage &stage, Value warp);
  /// Waits until nobody reads the stage any more, then copies: `tokens` by one
  /// warp, `weights` of each warp that multiplies them.
  SmallVector<Value>
  fill(ValueRange carried, llvm::function_ref<void(const Stage &)> tokens,
       llvm::function_ref<void(const Stage &, Value)> weights);
  /// Stage `unit` of a tile.
  void copyTokens(const Stage &stage, Value unit, const Place &place);
  /// Of the warp that multiplies them.
  void copyWeights(const Stage &stage, Value unit, const Place &place,
                   Value warp);
  /// So many bytes of each of the warp's tiles, `offset` in it, to `to`.
  void copyOfTiles(const Stage &stage, const Place &place, Value warp,
                   Value offset, Value to, int64_t bytes);
  /// Piece `number` of a stage, of the warp's tiles.
  Piece loadStaged(const Stage &stage, int64_t number);
  /// All have read what is there.
  void leave(const Stage &stage);

  // The sum term: a stage of it from eight `first` on, of a share that ends at
  // `end`, or the last ones that there are.
  Value getStagedEight(Value first);
  void copySums(const Stage &stage, Value first, const Place &place);
  void copySumCoefficients(const Stage &stage, Value first, const Place &place,
                           Value warp);
  Value getSumCoefficients(const Stage &stage, Value warp);
  SmallVector<Value> addSums(const Stage &stage, Value first, Value end,
                             ArrayRef<Value> chain);

  // Products.
  /// A term in the groups, and the plane that it is of.
  struct Term {
    int64_t plane, number;
  };
  SmallVector<Term> getTerms() const;
  /// A piece's products with a half of the tile's tokens.
  struct Products {
    int64_t number; // of the piece
    Piece piece;
    Term term;
    SmallVector<Value> words;
    int64_t half;
    SmallVector<Value> sums;
    bool isWhole = false; // of both digits of activations, if there are two
  };
  /// descriptor: of the stage's tokens.
  Products start(Products products, Value descriptor);
  void addProducts(const Products &products, MutableArrayRef<Value> sums);
  SmallVector<Value> getSignedWords(const Piece &piece, int64_t plane);

  /// Runs `body` with each stage of a share, its number and what is carried,
  /// and returns that: of digits, and then of sums.
  using StageBody = llvm::function_ref<SmallVector<Value>(Value, ValueRange)>;
  SmallVector<Value> forEachUnit(Value share, ValueRange carried,
                                 StageBody body);
  SmallVector<Value> forEachSumStage(Value share, ValueRange carried,
                                     StageBody body);
  SmallVector<Value> forEachShare(ValueRange carried, StageBody body);
  /// Sums, and how the stages go on.
  SmallVector<Value> addTile(ValueRange carried);
  SmallVector<Value> addShare(Value share, ValueRange carried);
  SmallVector<Value> addStage(const Stage &stage, SmallVector<Value> sums);

  TokenTiles placed;
  int64_t halves;          // of a tile's tokens
  int64_t stages;          // that there is memory for
  int64_t ofTile, ofStage; // stages of a tile, pieces of a stage
  Value first, barriers;   // where stages begin in memory; an address
};

} // namespace mlir::tbq

#endif // TBQ_GPU_WARPGROUPLINEAR_H
