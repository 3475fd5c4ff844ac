// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The generators of a packed linear's code on a GPU: what all layouts have in
// common, digits (DigitLinear) and floats (FloatLinear). They read planes,
// groups and terms from the layout (#tbq.layout) and know no scheme by name. A
// tile of kWarpRows rows is a warp's; where there are fewer tiles than warps,
// several warps divide its pieces and meet in shared memory. Each has a share,
// a range of neighbouring pieces, which is a float sum of its own.
// Invariant: for a token, the order of all float operations is the same
// whatever the number of tokens in a step, and of blocks.
#ifndef TBQ_GPU_WARPLINEAR_H
#define TBQ_GPU_WARPLINEAR_H

#include "LinearGroup.h"
#include "ThreadBuilder.h"

namespace mlir::tbq {

/// The most pieces of a round: those that are loaded before one is added.
inline constexpr int64_t kRoundPieces = 4;

/// One of a tile's sums that a lane holds, of a row counted from the tile's
/// first and a token from the first of those that the tile meets at once. Lanes
/// may hold the same: `stores` says which one writes it (null: this one).
/// `residual`, `scale`: what comes to it, where they have been loaded.
/// `number`: of the tile, of those that a warp has at once.
struct LaneSum {
  Value sum, row, token, stores, residual = Value();
  int64_t number = 0;
  Value scale = Value();
};

class WarpLinear {
public:
  /// pieces: of a tile, what its warps divide; tiles: that a warp has at once;
  /// tokens: that a tile meets at once, at most; units: of as many tiles as a
  /// warp has at once, that a step of one token divides, of all linears that
  /// are alike; blocks: as many as the step is expected to run on.
  WarpLinear(LinearGroup group, OpBuilder &b, int64_t pieces, int64_t tiles,
             int64_t tokens, int64_t units, int64_t blocks);
  virtual ~WarpLinear() = default;

  void run();

protected:
  static constexpr int64_t kRows = kWarpRows;
  static constexpr int64_t kLanesOfRow = kWarpLanes / kRows;

  /// The sums over the pieces of the warp's share, none if not `active`, of
  /// `tiles` tiles from `tile` on; the block's end before `end`.
  virtual SmallVector<Value> sumPieces(Value tile, Value end, Value active,
                                       Value token) = 0;
  virtual int64_t countSums() const = 0;
  /// What those of a lane are.
  virtual SmallVector<LaneSum> getLaneSums(ArrayRef<Value> sums, Value tile,
                                           Value end) = 0;

  /// How the pieces of a share, neighbours of a tile, are divided: in as few
  /// rounds as may be, since each waits for memory, and as even ones.
  struct Rounds {
    int64_t count, pieces;
    bool even;  // whether all pieces of all shares' rounds exist
    bool whole; // whether of each round all exist, or none
  };
  Rounds getRounds(int64_t ahead) const;
  /// Whether eights of groups, of a sum term, end with rounds, or the row does.
  bool endsWithRounds(const Rounds &rounds) const;
  /// What a share's rounds cost, in halves of a piece. A round by itself is
  /// one, or, if some of its pieces may not exist, two; and three if an eight
  /// may end anywhere in it.
  int64_t countCost(const Rounds &rounds) const;
  /// Of the cheapest ones.
  int64_t countCheapest() const;
  /// Piece i of a round that exists of the warp's share, the last one where
  /// there are fewer, and whether it exists (null: it does).
  std::pair<Value, Value> getNumber(const Rounds &rounds, Value round,
                                    int64_t i);
  /// How many of such a round exist, or fewer than none.
  Value countExisting(const Rounds &rounds, Value round);
  /// The number of its first.
  Value getFirst(const Rounds &rounds, Value round);
  /// The warp's number among those that divide a tile, and the tile's among
  /// those that a block's warps have.
  Value getPart() { return t.rem(t.warp(), shares); }
  Value getSlot() { return t.div(t.warp(), shares); }
  /// Of the warps that divide a tile, to the first of them: in their order.
  void addShares(MutableArrayRef<Value> sums);
  /// What follows the sums of a tile.
  void finishTile(ArrayRef<LaneSum> sums, Value tile, Value active,
                  Value token);

  void store(const LaneSum &result, Value tile, Value token);
  /// Of a pair, at the gate's place.
  Value getGatedResult(const LaneSum &gate, const LaneSum &up, Value tile,
                       Value token);
  void storeGated(const LaneSum &gate, Value tile, Value token,
                  llvm::function_ref<Value()> get);

  /// Byte offset of a tile.
  Value getTileOffset(Value tile);
  /// The bytes that a tile lies in, and its number there. `number`: of those
  /// that a warp has at once.
  std::pair<Value, Value> findTile(Value tile, int64_t number);
  /// Numbers of tiles from a warp's tile to its next one's place in the block.
  int64_t getStep() const { return group.inPairs ? 1 : tiles; }
  /// Tiles that a warp has one after the other.
  int64_t countOfWarp() const {
    return llvm::divideCeil(blockTiles,
                            (group.inPairs ? 2 : tiles) * (kWarps / shares));
  }
  /// Token `number` of those met at once, the last one where there are fewer.
  /// `isMet`: `number` is less than `tokens`.
  Value getToken(Value token, Value number, bool isMet);
  Value getToken(Value token, int64_t number) {
    return getToken(token, t.index(number), /*isMet=*/true);
  }
  /// Runs over the pieces of the warp's share, at most `ahead` of them at a
  /// time: `load` gives what `add` takes, and all of them load before the first
  /// adds.
  template <typename Piece>
  SmallVector<Value> loopOverPieces(
      Value active, ValueRange init, int64_t ahead,
      llvm::function_ref<Piece(Value)> load,
      llvm::function_ref<void(const Piece &, MutableArrayRef<Value>)> add);

  LinearGroup group;
  PackedLinearOp op; // the first
  ThreadBuilder t;
  LayoutAttr layout; // of each but for the rows
  Value input, bytes;
  SmallVector<Value> bytesOf; // of each of several
  int64_t pieces;             // of one tile
  int64_t shares;             // of its pieces, each a warp's
  int64_t ofShare;            // pieces; the last shares may have fewer
  int64_t usedShares;         // that have something to add
  int64_t blockTiles;         // of a block, of the linears' tiles
  int64_t tiles;              // that a warp has at once
  int64_t tokens;             // that a tile meets at once
  int64_t tokenSlots;         // warps of a part that divide a tile's tokens
  bool areRowsWhole = false;  // no tile has rows that do not exist
  /// Nor tokens that there is no place for: what is behind a step's last one is
  /// stored too, for a branch around a store would have each result computed
  /// in it, one after the other.
  bool areTokensWhole = false;

private:
  void generateTile(Value tile, Value end, Value token);
  void storeIn(PackedLinearOp part, Value bytes, const LaneSum &result,
               Value tile, Value token, Value stores);
  /// Whether the result's row and token exist, or have a place; `stores`: and
  /// this, if not null. Null: they always do.
  Value exists(const LaneSum &result, PackedLinearOp part, Value tile,
               Value token, Value stores);
  /// The sum with all that comes to it.
  Value getResult(const LaneSum &result, PackedLinearOp part, Value bytes,
                  Value tile, Value token);
};

template <typename Piece>
SmallVector<Value> WarpLinear::loopOverPieces(
    Value active, ValueRange init, int64_t ahead,
    llvm::function_ref<Piece(Value)> load,
    llvm::function_ref<void(const Piece &, MutableArrayRef<Value>)> add) {
  Rounds rounds = getRounds(ahead);
  // Each piece is asked whether it exists, for no round is left out.
  rounds.whole = rounds.even;
  // A warp without a tile has no rounds.
  Value count = t.select(active, t.index(rounds.count), t.index(0));
  return t.loop(t.index(0), count, t.index(1), init,
                [&](Value round, ValueRange before) {
                  SmallVector<Value> next(before);
                  SmallVector<std::pair<Piece, Value>> loaded;
                  for (int64_t i = 0; i < rounds.pieces; ++i) {
                    auto [number, exists] = getNumber(rounds, round, i);
                    loaded.push_back({load(number), exists});
                  }
                  for (const auto &[piece, exists] : loaded) {
                    SmallVector<Value> sums(next);
                    add(piece, sums);
                    for (auto [sum, more] : llvm::zip(next, sums))
                      sum = exists ? t.select(exists, more, sum) : more;
                  }
                  return next;
                });
}

} // namespace mlir::tbq

#endif // TBQ_GPU_WARPLINEAR_H
