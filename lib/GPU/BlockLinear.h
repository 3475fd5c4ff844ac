// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A linear of digits for many tokens. A block has a tile of the product, rows
// by tokens, which its warps divide. Activations, their groups' sums and the
// packed weights go piece by piece into memory that the block shares, some
// pieces before they are multiplied, so each is read once a block. Blocks are
// dealt tiles without regard to who wrote the input: that of many tokens stands
// behind a barrier, as does who reads the result.
// Invariant: the pieces that several warps share in a step of one token are
// sums of their own here too, and added in the same order.
#ifndef TBQ_GPU_BLOCKLINEAR_H
#define TBQ_GPU_BLOCKLINEAR_H

#include "DigitLinear.h"

namespace mlir::tbq {

/// How warps divide a block's tile: what a warp has, and how many of them stand
/// side by side in the rows.
struct BlockShape {
  int64_t tiles, tokens; // of a warp
  int64_t rowWarps;
  int64_t rounds = 0;     // of pieces, that memory has room for
  int64_t cost = 0;       // instructions that a warp issues for a piece
  int64_t warps = kWarps; // that multiply

  int64_t getTokenWarps() const { return warps / rowWarps; }
  int64_t getTiles() const { return tiles * rowWarps; }
  int64_t getTokens() const { return tokens * getTokenWarps(); }
};

/// Tiles of the linears that blocks run without meeting each other: the next
/// one's go to those that the last ones were not enough for.
class DealtTiles {
public:
  /// Forgets all if blocks have met since the last linear, before `op`.
  void meet(Operation *op);
  void add(PackedLinearOp op, const BlockShape &shape);
  /// Their number, where `t` stands.
  Value count(ThreadBuilder &t) const;

  /// How many tiles a linear has, of as many tokens as there are.
  static Value count(ThreadBuilder &t, PackedLinearOp op,
                     const BlockShape &shape);

private:
  SmallVector<std::pair<int64_t, std::pair<Value, int64_t>>> linears;
  Operation *since = nullptr; // the last barrier, or what has none
};

/// Turns of the last block to be done, of whom there are `blocks`, for a token:
/// of a full step of `rows` and of a common prompt that is less, both as much.
/// countTiles: of so many tokens. To be compared with those of other tiles.
int64_t countTurns(int64_t rows, int64_t blocks,
                   llvm::function_ref<int64_t(int64_t)> countTiles);

/// The function's team; null: it has none.
Value findTeam(Operation *op);

class BlockLinear : public DigitLinear {
public:
  /// sharedBytes: that a block has in all.
  BlockLinear(PackedLinearOp op, OpBuilder &b, int64_t units, int64_t blocks,
              int64_t sharedBytes);

  /// Whether it can be run, or is for warps alone: of few tokens, of pieces
  /// that end within a slice, with salient digits.
  bool isPossible() const { return shape.rounds > 0; }
  int64_t countTiles(const BlockShape &shape, int64_t tokens) const;
  const BlockShape &getShape() const { return shape; }
  /// Tokens that there is room for.
  int64_t countRows() const { return rows; }

  /// `dealt`: tiles that blocks have had since they met.
  void run(const DealtTiles &dealt);

protected:
  /// Tiles that are the block's: the first, the end, and the step from one to
  /// the next.
  struct Turns {
    Value first, count, workers;
  };
  /// A tile of the product: its first tile of rows, its first token.
  struct Place {
    Value tile, token;
  };

  Turns getTurns(const DealtTiles &dealt);
  Place getPlace(Value index);
  void storeSums(const Place &place, ArrayRef<Value> sums);
  int64_t countWarpSums() const { return tiles * tokens / 4; }

  /// Sums of the ranges of pieces so far stand at `kept` in memory.
  int64_t countKept(const BlockShape &shape) const;
  /// A range's sums, added to those of the ranges before it: kept for the next
  /// one, and all there are if it is the last.
  SmallVector<Value> addToKept(Value share, ArrayRef<Value> sums);

  BlockShape shape{};
  Value memory, kept; // what the block shares, an offset in it
  int64_t rows = 0;   // of the input: tokens that it has room for

private:
  void chooseShape(int64_t blocks, int64_t sharedBytes);

  // Of a stage, in bytes.
  int64_t countStage(const BlockShape &shape) const;
  int64_t countStages() const { return shape.rounds * ofRound; }
  int64_t getLowOffset() const { return shape.getTokens() * geometry.width; }
  int64_t getWeightOffset() const;
  int64_t getSumOffset() const;
  Value getStage(Value piece); // its offset
  /// Where a token's sixteen columns lie: so that the lanes that load at once
  /// find theirs in different banks.
  Value getChunk(Value token, Value chunk);

  Value getKeptAt(int64_t four);

  // From memory to a stage.
  void copyFirst(const Place &place);
  void copyRound(const Place &place, Value number);
  void copyPiece(const Place &place, Value number);
  void copyTokens(const Place &place, Value rows, Value column, Value to);
  void copyWeights(const Place &place, const Piece &piece, Value to);
  void copySums(const Place &place, const Piece &piece, Value to);
  /// Runs `body` with the numbers up to `count` that are this thread's.
  void deal(int64_t count, llvm::function_ref<void(Value)> body);

  // From a stage to sums.
  SmallVector<Value> addPieces(const Place &place);
  SmallVector<Value> addShare(const Place &place, Value share, Value from,
                              Value to);
  SmallVector<Start> getOwnStarts(const Place &place);
  void addPiece(Value number, MutableArrayRef<Value> sums);
  void loadStaged(Piece &piece, Value stage);
  SmallVector<Value> loadStagedTokens(Value stage, int64_t product);

  /// Of the block's tile, the warp's part.
  Value rowWarp() { return t.rem(t.warp(), shape.rowWarps); }
  Value tokenWarp() { return t.div(t.warp(), shape.rowWarps); }

  int64_t ofRound; // pieces that the block's threads meet for
};

} // namespace mlir::tbq

#endif // TBQ_GPU_BLOCKLINEAR_H
