// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tiles, tokens and warps of a linear, and what follows the last piece of a
// tile. See WarpLinear.h.

#include "WarpLinear.h"

#include "LowerStep.h"
#include "RowExchange.h"
#include "SumForm.h"
#include "Warpgroup.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

/// Sums of a lane that warps exchange at a time.
static constexpr int64_t kExchanged = 2;

static LayoutAttr getLayout(PackedLinearOp op) {
  return op.getWeight().getType().getLayout();
}

WarpLinear::WarpLinear(LinearGroup linears, OpBuilder &b, int64_t pieces,
                       int64_t tiles, int64_t tokens, int64_t units,
                       int64_t blocks)
    : group(linears), op(group.ops.front()), t(b, op.getLoc()),
      layout(getLayout(op)), input(op.getInput()), pieces(pieces), shares(1),
      tiles(tiles), tokenSlots(1) {
  int64_t rows = cast<MemRefType>(input.getType()).getDimSize(0);
  this->tokens = std::min(rows, tokens);
  // So that warps have work, if the tile has pieces for them, and none has to
  // come round again. There are as many in a step of one token as of many, so
  // that blocks of these add the same sums; none has less than two pieces, by
  // which blocks go through them (BlockLinear).
  while (shares < kWarps && 2 * units * shares <= blocks * kWarps &&
         pieces >= 2 * shares)
    shares *= 2;
  ofShare = llvm::divideCeil(pieces, shares);
  // Whole rounds may cost less than fewer pieces in others. What comes in one
  // round is waited for once, and then is best short.
  if (shares > 1 && ofShare > kRoundPieces && !layout.isFloat()) {
    int64_t before = countCheapest(), fewest = ofShare;
    ofShare = llvm::alignTo(ofShare, kRoundPieces);
    if (countCheapest() >= before)
      ofShare = fewest;
  }
  // Of groups less than a stage of a warp group's, whole stages, which
  // WarpgroupLinear goes through.
  int64_t ofStage = layout.isFloat() ? 1 : kSwizzled / layout.getGroup();
  if (shares > 1 && ofStage > 1 && layout.getColumns() % kSwizzled == 0)
    ofShare = llvm::alignTo(ofShare, ofStage);
  // All warps have a part of a tile's salient weights.
  usedShares = layout.getSalient() ? shares : llvm::divideCeil(pieces, ofShare);
  // Warps that a block has no tile for take other tokens of those it has.
  int64_t ofBlock = llvm::divideCeil(group.countTiles(), blocks);
  blockTiles = ofBlock * (group.inPairs ? 2 : 1);
  int64_t used = llvm::divideCeil(ofBlock, getStep()) * shares;
  while (2 * used * tokenSlots <= kWarps && tokenSlots * this->tokens < rows)
    tokenSlots *= 2;
}

void WarpLinear::run() {
  bytes = getBytes(t, op.getWeight());
  Value begin = op.getRange()[0], end = op.getRange()[1];
  int64_t slots = kWarps / shares / tokenSlots; // of tiles
  Value ofTokens = t.rem(getSlot(), tokenSlots),
        ofTiles = t.div(getSlot(), tokenSlots);
  t.loop(begin, end, t.index(slots * tiles), [&](Value first) {
    Value tile = t.add(first, t.mul(ofTiles, tiles));
    // All warps as often: they meet.
    t.loop(t.index(0), op.getCount(), t.index(tokens * tokenSlots),
           [&](Value from) {
             Value token =
                 tokenSlots == 1 ? from : t.add(from, t.mul(ofTokens, tokens));
             generateTile(tile, end, token);
           });
  });
}

Value WarpLinear::getTileOffset(Value tile) {
  if (!layout.getSalient())
    return t.mul(tile, layout.getTileBytes());
  return t.mul(t.loadIndex(bytes, t.mul(tile, 4)), kAlignment);
}

Value WarpLinear::getToken(Value token, Value number, bool isMet) {
  int64_t rows = cast<MemRefType>(input.getType()).getDimSize(0);
  if (rows == 1)
    return token;
  Value at = t.add(token, number);
  return rows % tokens == 0 && isMet ? at : t.min(at, t.index(rows - 1));
}

std::pair<Value, Value> WarpLinear::findTile(Value tile, int64_t number) {
  if (group.inPairs)
    return {bytesOf[number], tile};
  if (number > 0)
    tile = t.add(tile, number);
  if (group.ops.size() == 1)
    return {bytes, tile};
  Value found = bytesOf.front(), first = t.index(0);
  int64_t before = 0;
  for (size_t i = 1; i < group.ops.size(); ++i) {
    before += getLayout(group.ops[i - 1]).getNumTiles();
    Value isBefore = t.less(tile, t.index(before));
    found = t.select(isBefore, found, bytesOf[i]);
    first = t.select(isBefore, first, t.index(before));
  }
  return {found, t.sub(tile, first)};
}

WarpLinear::Rounds WarpLinear::getRounds(int64_t ahead) const {
  Rounds rounds;
  rounds.count = llvm::divideCeil(ofShare, ahead);
  rounds.pieces = llvm::divideCeil(ofShare, rounds.count);
  rounds.even = rounds.count * rounds.pieces * shares == pieces;
  // Of one piece is a round like any other in which one may be missing.
  rounds.whole =
      rounds.even || (rounds.pieces > 1 && pieces % rounds.pieces == 0 &&
                      (shares == 1 || ofShare % rounds.pieces == 0));
  return rounds;
}

bool WarpLinear::endsWithRounds(const Rounds &rounds) const {
  return kEightGroups % rounds.pieces == 0 &&
         (shares == 1 || ofShare % rounds.pieces == 0);
}

int64_t WarpLinear::countCost(const Rounds &rounds) const {
  int64_t each = 2 * rounds.pieces + (rounds.whole ? 1 : 2);
  if (layout.hasSumTerm() && !endsWithRounds(rounds))
    each += 3;
  return rounds.count * each;
}

int64_t WarpLinear::countCheapest() const {
  int64_t least = countCost(getRounds(1));
  for (int64_t most = 2; most <= kRoundPieces; ++most)
    least = std::min(least, countCost(getRounds(most)));
  return least;
}

Value WarpLinear::getFirst(const Rounds &rounds, Value round) {
  return t.add(t.mul(getPart(), ofShare), t.mul(round, rounds.pieces));
}

std::pair<Value, Value> WarpLinear::getNumber(const Rounds &rounds, Value round,
                                              int64_t i) {
  Value number = t.add(getFirst(rounds, round), i);
  if (rounds.whole)
    return {number, Value()};
  return {t.min(number, t.index(pieces - 1)),
          t.less(t.index(i), countExisting(rounds, round))};
}

Value WarpLinear::countExisting(const Rounds &rounds, Value round) {
  Value first = t.mul(getPart(), ofShare), done = t.mul(round, rounds.pieces);
  Value end = t.min(t.add(first, ofShare), t.index(pieces));
  return t.min(t.sub(end, t.add(first, done)), t.index(rounds.pieces));
}

void WarpLinear::generateTile(Value tile, Value end, Value token) {
  Value active = t.less(tile, end);
  if (tokenSlots > 1)
    active = t.both(active, t.less(token, op.getCount()));
  SmallVector<Value> sums = sumPieces(tile, end, active, token);
  addShares(sums);
  finishTile(getLaneSums(sums, tile, end), tile, active, token);
}

void WarpLinear::finishTile(ArrayRef<LaneSum> sums, Value tile, Value active,
                            Value token) {
  if (shares > 1)
    active = t.both(active, t.equal(getPart(), 0));
  t.ifThen(active, [&] {
    if (group.gated) // of a token: the lane has a row of both
      return storeGated(sums[0], tile, token, [&] {
        return getGatedResult(sums[0], sums[1], tile, token);
      });
    for (const LaneSum &sum : sums)
      store(sum, tile, token);
  });
}

void WarpLinear::addShares(MutableArrayRef<Value> sums) {
  if (shares == 1)
    return;
  constexpr int64_t kOfWarp = kExchanged * kWarpLanes;
  Value shared = t.getShared("linear", kWarps * kOfWarp);
  Value warp = t.mul(t.warp(), kOfWarp);
  Value first = t.add(t.sub(warp, t.mul(getPart(), kOfWarp)), t.lane());
  for (size_t done = 0; done < sums.size(); done += kExchanged) {
    auto part =
        sums.slice(done, std::min<size_t>(kExchanged, sums.size() - done));
    t.synchronize();
    for (auto [i, sum] : llvm::enumerate(part))
      t.store(sum, shared, {t.add(t.add(warp, t.lane()), i * kWarpLanes)});
    t.synchronize();
    auto addAll = [&] {
      SmallVector<Value> totals;
      for (size_t i = 0; i < part.size(); ++i) {
        auto get = [&](int64_t share) {
          return t.load(shared,
                        {t.add(first, i * kWarpLanes + share * kOfWarp)});
        };
        Value &total = totals.emplace_back(get(0));
        for (int64_t share = 1; share < usedShares; ++share)
          total = t.addf(total, get(share));
      }
      return totals;
    };
    llvm::copy(t.ifElse(t.equal(getPart(), 0), addAll,
                        [&](Type) { return t.constant(0.0f); }),
               part.begin());
  }
}

void WarpLinear::store(const LaneSum &result, Value tile, Value token) {
  Value stored = result.stores;
  if (group.inPairs)
    return storeIn(group.ops[result.number], bytesOf[result.number], result,
                   tile, token, stored);
  if (result.number > 0)
    tile = t.add(tile, result.number);
  if (group.ops.size() == 1)
    return storeIn(op, bytes, result, tile, token, stored);
  int64_t first = 0;
  for (auto [part, bytes] : llvm::zip_equal(group.ops, bytesOf)) {
    // What is before the first is past the last, of numbers without a sign.
    Value inPart = t.sub(tile, t.index(first));
    Value isHere =
        arith::CmpIOp::create(t.b, t.loc, arith::CmpIPredicate::ult, inPart,
                              t.index(getLayout(part).getNumTiles()));
    storeIn(part, bytes, result, inPart, token,
            stored ? t.both(stored, isHere) : isHere);
    first += getLayout(part).getNumTiles();
  }
}

Value WarpLinear::exists(const LaneSum &result, PackedLinearOp part, Value tile,
                         Value token, Value stores) {
  Value column = t.add(t.mul(tile, kRows), result.row), found = stores;
  auto require = [&](Value condition) {
    found = found ? t.both(condition, found) : condition;
  };
  if (!areTokensWhole)
    require(t.both(t.less(result.token, t.index(tokens)),
                   t.less(t.add(token, result.token), part.getCount())));
  if (!areRowsWhole)
    require(t.less(column, t.index(getLayout(part).getRows())));
  return found;
}

/// Activation scale, bias, residual.
Value WarpLinear::getResult(const LaneSum &result, PackedLinearOp part,
                            Value bytes, Value tile, Value token) {
  Value at = t.add(token, result.token), y = result.sum;
  if (Value scale = part.getActivationScale())
    y = t.mulf(y,
               result.scale ? result.scale : t.load(scale, {at, t.index(0)}));
  if (layout.getBias()) {
    int64_t first = getLayout(part).getBiasOffset();
    Value offset =
        t.add(getTileOffset(tile), t.add(t.mul(result.row, 4), first));
    y = t.addf(y, t.loadAsF32(bytes, offset, t.b.getF32Type()));
  }
  if (result.residual)
    return t.addf(y, result.residual);
  Value column = t.add(t.mul(tile, kRows), result.row);
  if (Value residual = part.getResidual())
    return t.addf(y, t.load(residual, {at, column}));
  return y;
}

void WarpLinear::storeIn(PackedLinearOp part, Value bytes,
                         const LaneSum &result, Value tile, Value token,
                         Value stores) {
  t.ifThen(exists(result, part, tile, token, stores), [&] {
    Value column = t.add(t.mul(tile, kRows), result.row);
    Value y = getResult(result, part, bytes, tile, token);
    Value into = part.getInto().front();
    storeOfRow(t, part, y, into, {t.add(token, result.token), column});
  });
}

Value WarpLinear::getGatedResult(const LaneSum &gate, const LaneSum &up,
                                 Value tile, Value token) {
  return getGated(t, getResult(gate, group.ops[0], bytesOf[0], tile, token),
                  getResult(up, group.ops[1], bytesOf[1], tile, token));
}

void WarpLinear::storeGated(const LaneSum &gate, Value tile, Value token,
                            llvm::function_ref<Value()> get) {
  t.ifThen(exists(gate, op, tile, token, gate.stores), [&] {
    Value into = group.gated.getInto().front();
    Value column = t.add(t.mul(tile, kRows), gate.row);
    storeOfRow(t, group.gated, get(), into, {t.add(token, gate.token), column});
  });
}
