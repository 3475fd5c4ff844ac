// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tiles of rows and tokens that blocks divide, and the sums of one. What
// becomes of a stage: BlockStages.cpp. See BlockLinear.h.

#include "BlockLinear.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

/// Stages that are enough to wait for none, a power of two, and pieces of a
/// round.
static constexpr int64_t kStages = 4, kOfRound = 2;
/// Tokens that are worth a block's tile, and of a common prompt.
static constexpr int64_t kFewest = 16, kPrompt = 512;

/// The shapes there are: of a warp, at most what its lanes have registers for.
static constexpr BlockShape kShapes[] = {
    {4, 32, 4}, {4, 32, 8}, {4, 32, 2}, {4, 16, 4},
    {2, 32, 4}, {2, 16, 4}, {2, 16, 8}, {2, 8, 4},
};

//===----------------------------------------------------------------------===//
// Tiles that are dealt
//===----------------------------------------------------------------------===//

void DealtTiles::meet(Operation *op) {
  Operation *barrier = op;
  while (barrier && !isa<BarrierOp>(barrier))
    barrier = barrier->getPrevNode();
  if (!barrier)
    barrier = op->getParentOp();
  if (barrier != since)
    linears.clear();
  since = barrier;
}

void DealtTiles::add(PackedLinearOp op, const BlockShape &shape) {
  int64_t tiles = op.getWeight().getType().getLayout().getNumTiles();
  linears.push_back({int64_t(llvm::divideCeil(tiles, shape.getTiles())),
                     {op.getCount(), shape.getTokens()}});
}

static Value multiply(ThreadBuilder &t, int64_t ofRows, Value count,
                      int64_t tokens) {
  return t.mul(t.div(t.add(count, tokens - 1), tokens), ofRows);
}

Value DealtTiles::count(ThreadBuilder &t) const {
  Value sum = t.index(0);
  for (const auto &[ofRows, tokens] : linears)
    sum = t.add(sum, multiply(t, ofRows, tokens.first, tokens.second));
  return sum;
}

Value DealtTiles::count(ThreadBuilder &t, PackedLinearOp op,
                        const BlockShape &shape) {
  DealtTiles one;
  one.add(op, shape);
  return one.count(t);
}

//===----------------------------------------------------------------------===//
// The shape
//===----------------------------------------------------------------------===//

Value mlir::tbq::findTeam(Operation *op) {
  for (Value argument : op->getParentOfType<func::FuncOp>().getArguments())
    if (isa<TeamType>(argument.getType()))
      return argument;
  return nullptr;
}

BlockLinear::BlockLinear(PackedLinearOp op, OpBuilder &b, int64_t units,
                         int64_t blocks, int64_t sharedBytes)
    : DigitLinear({{op}}, b, units, blocks),
      rows(cast<MemRefType>(input.getType()).getDimSize(0)),
      ofRound(pieces % kOfRound || ofShare % kOfRound ? 1 : kOfRound) {
  if (integer && !layout.getSalient() && !geometry.masked && rows >= kFewest &&
      findTeam(op))
    chooseShape(blocks, sharedBytes);
}

int64_t mlir::tbq::countTurns(int64_t rows, int64_t blocks,
                              llvm::function_ref<int64_t(int64_t)> countTiles) {
  int64_t fewer = std::min(rows, kPrompt);
  auto count = [&](int64_t tokens) {
    return llvm::divideCeil(countTiles(tokens), blocks);
  };
  return count(rows) * fewer + count(fewer) * rows;
}

/// The shape whose last block is done first: by the instructions that a warp
/// issues for a piece, as it unpacks digits and adds products.
void BlockLinear::chooseShape(int64_t blocks, int64_t sharedBytes) {
  int64_t least = 0;
  for (BlockShape each : kShapes) {
    int64_t room = t.countScratch(sharedBytes) - countKept(each);
    each.rounds = std::min(kStages, room / countStage(each)) / ofRound;
    if (each.rounds < 2)
      continue;
    int64_t products = each.tokens / kProductTokens;
    each.cost = 24 + 18 * each.tiles + products * (9 + 8 * each.tiles);
    int64_t turns = countTurns(
        rows, blocks, [&](int64_t tokens) { return countTiles(each, tokens); });
    int64_t cost = turns * each.cost;
    if (least && cost >= least)
      continue;
    least = cost;
    shape = each;
  }
  tiles = shape.tiles;
  tokens = shape.tokens;
}

int64_t BlockLinear::countTiles(const BlockShape &shape, int64_t tokens) const {
  return llvm::divideCeil(layout.getNumTiles(), shape.getTiles()) *
         llvm::divideCeil(tokens, shape.getTokens());
}

BlockLinear::Place BlockLinear::getPlace(Value index) {
  int64_t ofRows = llvm::divideCeil(layout.getNumTiles(), shape.getTiles());
  return {t.mul(t.rem(index, ofRows), shape.getTiles()),
          t.mul(t.div(index, ofRows), shape.getTokens())};
}

//===----------------------------------------------------------------------===//
// A block's tiles
//===----------------------------------------------------------------------===//

BlockLinear::Turns BlockLinear::getTurns(const DealtTiles &dealt) {
  Type index = t.b.getIndexType();
  Value team = findTeam(op);
  Value worker = WorkerOp::create(t.b, t.loc, index, team);
  Value workers = WorkersOp::create(t.b, t.loc, index, team);
  auto rem = [&](Value x) -> Value {
    return arith::RemUIOp::create(t.b, t.loc, x, workers);
  };
  // The first tile goes to the block behind the one that had the last.
  Value first = rem(t.sub(t.add(worker, workers), rem(dealt.count(t))));
  return {first, DealtTiles::count(t, op, shape), workers};
}

void BlockLinear::run(const DealtTiles &dealt) {
  Turns turns = getTurns(dealt);
  Value first = turns.first, count = turns.count, workers = turns.workers;
  bytes = getBytes(t, op.getWeight());
  int64_t ofStages = countStages() * countStage(shape);
  memory = t.getScratch(ofStages + countKept(shape));
  kept = t.index(ofStages);
  t.ifThen(t.less(first, count), [&] { copyFirst(getPlace(first)); });
  t.loop(first, count, workers, [&](Value index) {
    Place place = getPlace(index);
    SmallVector<Value> sums = addPieces(place);
    // All have read the last pieces.
    t.synchronize();
    Value next = t.add(index, workers);
    t.ifThen(t.less(next, count), [&] { copyFirst(getPlace(next)); });
    storeSums(place, sums);
  });
}

SmallVector<Value> BlockLinear::addPieces(const Place &place) {
  if (shares == 1)
    return addShare(place, t.index(0), t.index(0), t.index(pieces));
  SmallVector<Value> none(countWarpSums(), t.constant(0.0f));
  return t.loop(t.index(0), t.index(usedShares), t.index(1), none,
                [&](Value share, ValueRange) {
                  Value from = t.min(t.mul(share, ofShare), t.index(pieces));
                  Value to = t.min(t.add(from, ofShare), t.index(pieces));
                  return addToKept(share, addShare(place, share, from, to));
                });
}

SmallVector<Value> BlockLinear::addShare(const Place &place, Value share,
                                         Value from, Value to) {
  auto forEachPiece =
      [&](ValueRange init,
          llvm::function_ref<void(Value, SmallVector<Value> &)> add) {
        auto body = [&](Value number, ValueRange old) {
          t.waitForCopies(shape.rounds - 2);
          // These pieces are there for all, and all have read those before.
          t.synchronize();
          Value next = t.add(number, countStages() - ofRound);
          t.ifThen(t.less(next, t.index(pieces)),
                   [&] { copyRound(place, next); });
          t.commitCopies();
          SmallVector<Value> sums(old);
          for (int64_t i = 0; i < ofRound; ++i)
            add(t.add(number, i), sums);
          return sums;
        };
        return t.loop(from, to, t.index(ofRound), init, body);
      };
  Value token = t.add(place.token, t.mul(tokenWarp(), shape.tokens));
  SmallVector<Value> none(countWarpSums(), t.constant(0.0f));
  SmallVector<Value> sums = t.ifElse(
      t.less(token, op.getCount()),
      [&] {
        SmallVector<Value> sums =
            forEachPiece(none, [&](Value number, SmallVector<Value> &sums) {
              addPiece(number, sums);
            });
        addSumTerm(getOwnStarts(place), share, /*active=*/Value(), token, sums);
        return sums;
      },
      [&](Type) { return t.constant(0.0f); });
  // A warp without a token copies for the others.
  t.ifThen(t.less(op.getCount(), t.add(token, 1)),
           [&] { forEachPiece({}, [](Value, SmallVector<Value> &) {}); });
  return sums;
}

/// Of the warp's tiles; the last one again where there is none.
SmallVector<DigitLinear::Start> BlockLinear::getOwnStarts(const Place &place) {
  SmallVector<Start> starts;
  for (int64_t number = 0; number < tiles; ++number) {
    Value tile = t.add(place.tile, t.add(t.mul(rowWarp(), tiles), number));
    if (layout.getNumTiles() % shape.getTiles())
      tile = t.min(tile, t.index(layout.getNumTiles() - 1));
    starts.push_back(
        {bytes, t.add(getTileOffset(tile), layout.getGroupOffset(0))});
  }
  return starts;
}

/// Of this lane, four by four.
Value BlockLinear::getKeptAt(int64_t four) {
  return t.add(
      t.add(t.mul(t.thread(), 16), four * 16 * shape.warps * kWarpLanes), kept);
}

SmallVector<Value> BlockLinear::addToKept(Value share, ArrayRef<Value> sums) {
  auto type = VectorType::get({4}, t.b.getF32Type());
  auto addKept = [&] {
    SmallVector<Value> all;
    for (size_t four = 0; four < sums.size() / 4; ++four) {
      Value held = t.loadBytes(memory, getKeptAt(four), type);
      for (int64_t i = 0; i < 4; ++i)
        all.push_back(t.addf(t.extract(held, i), sums[4 * four + i]));
    }
    return all;
  };
  size_t next = 0;
  SmallVector<Value> all =
      t.ifElse(t.less(t.like(share, 0), share), addKept,
               [&](Type) { return t.addf(t.constant(0.0f), sums[next++]); });
  t.ifThen(t.less(share, t.like(share, usedShares - 1)), [&] {
    for (size_t i = 0; i < all.size(); i += 4)
      t.storeBytesOf(ArrayRef(all).slice(i, 4), memory, getKeptAt(i / 4));
  });
  return all;
}

void BlockLinear::storeSums(const Place &place, ArrayRef<Value> sums) {
  Value tile = t.add(place.tile, t.mul(rowWarp(), shape.tiles));
  Value token = t.add(place.token, t.mul(tokenWarp(), shape.tokens));
  SmallVector<LaneSum> results = getLaneSums(sums, /*other=*/Value());
  areRowsWhole = layout.getRows() % (shape.getTiles() * kRows) == 0;
  // Logits are as many rows as the host asks for.
  bool isOfLogits = isa<BlockArgument>(op.getInto().front());
  areTokensWhole = rows % shape.getTokens() == 0 && !isOfLogits;
  // All are asked for before the first is waited for, whoever will store.
  Value lastToken = t.index(rows - 1), lastRow = t.index(layout.getRows() - 1);
  for (LaneSum &each : results) {
    Value at = t.add(token, each.token);
    if (!areTokensWhole)
      at = t.min(at, lastToken);
    if (Value scale = op.getActivationScale())
      each.scale = t.load(scale, {at, t.index(0)});
    Value row = t.add(t.mul(t.add(tile, each.number), kRows), each.row);
    if (Value residual = op.getResidual())
      each.residual =
          t.load(residual, {at, areRowsWhole ? row : t.min(row, lastRow)});
  }
  if (!group.gated) {
    for (const LaneSum &each : results)
      store(each, tile, token);
    return;
  }
  // Of each two tokens, a row of one and of the other; all before the first is
  // stored, so that they need not wait for each other.
  SmallVector<std::pair<LaneSum, Value>> gated;
  for (size_t i = 0; i < results.size(); i += 4)
    for (size_t j = i; j < i + 2; ++j)
      gated.push_back({results[j], getGatedResult(results[j], results[j + 2],
                                                  tile, token)});
  for (const auto &[gate, y] : gated)
    storeGated(gate, tile, token, [&, y = y] { return y; });
}
