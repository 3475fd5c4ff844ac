// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A linear of digits for few tokens, whose weights are on their way before
// their turn: as many rounds of a warp's tiles as its ring has slots, the first
// ones from before the barrier on that its input waits for, others from behind
// its row's arrival. Only weights are asked for early: nobody writes them. See
// DigitLinear.h.

#include "DigitLinear.h"
#include "LowerStep.h"

using namespace mlir;
using namespace mlir::tbq;

/// Bytes that a block asks for before a barrier. Who looks whether all blocks
/// have come waits behind them: with 100 KB a barrier took 3.8 us, not 1.3. And
/// behind the row, when these have come: what is made of the row needs no
/// memory, and what is asked for while much is under way waits.
static constexpr int64_t kEarlyBytes = 28 << 10, kMoreBytes = 56 << 10;

void DigitLinear::setBytes(IRMapping &copies) {
  SmallVector<Value> all;
  for (PackedLinearOp each : group.ops)
    all.push_back(getBytes(t, getAt(t.b, each.getWeight(), copies)));
  bytes = all.front();
  if (all.size() == 1 || group.inPairs) {
    bytesOf = all;
    return;
  }
  // Of one type, to choose from.
  auto type = MemRefType::get({ShapedType::kDynamic}, t.b.getI8Type());
  bytesOf.clear();
  for (Value each : all)
    bytesOf.push_back(memref::CastOp::create(t.b, t.loc, type, each));
}

std::pair<Value, Value> DigitLinear::getRange(IRMapping &copies) {
  if (group.ops.size() == 1 || group.inPairs)
    return {getAt(t.b, op.getRange()[0], copies),
            getAt(t.b, op.getRange()[1], copies)};
  // The shares of workers in all the tiles (tbq-distribute).
  Value team = cast<BarrierOp>(findBarrier(op)).getTeam();
  Value worker = WorkerOp::create(t.b, t.loc, t.b.getIndexType(), team);
  Value workers = WorkersOp::create(t.b, t.loc, t.b.getIndexType(), team);
  auto share = [&](Value number) -> Value {
    return arith::DivUIOp::create(t.b, t.loc, t.mul(number, group.countTiles()),
                                  workers);
  };
  return {share(worker), share(t.add(worker, 1))};
}

void DigitLinear::runAhead(Operation *early) {
  Operation *own = &*t.b.getInsertionPoint();
  const Rounds &rounds = ring.rounds;
  const bool isOne = tokens == 1;
  Value token = t.index(0), begin, end, place;
  const int64_t stride = kWarps / shares * getStep();
  auto set = [&] {
    IRMapping copies;
    std::tie(begin, end) = getRange(copies);
    setBytes(copies);
    setRing();
    place = t.mul(getSlot(), getStep());
  };
  Target target;
  // The round that is so many behind the warp's first.
  auto find = [&](int64_t number) {
    target = getTarget(
        t.add(t.add(begin, place), number / rounds.count * stride), end);
    for (int64_t i = 0; i < number % rounds.count; ++i)
      target = moveOn(target, t.index(i));
  };
  auto ask = [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) {
      if (i == from || i % rounds.count == 0)
        find(i);
      else
        target = moveOn(target, t.index((i - 1) % rounds.count));
      Value round = t.index(i % rounds.count), exists = target.exists;
      if (Value has = hasPieces(round))
        exists = t.both(exists, has);
      t.ifThen(exists,
               [&] { copyRound(t.index(i * ring.slotBytes), target, round); });
      t.commitCopies();
    }
  };
  int64_t before = ring.slots;
  auto countSlots = [&](int64_t bytes) { // that are asked for together
    return std::max<int64_t>(bytes / kWarps / ring.slotBytes, 1);
  };
  if (blockTiles * pieces * geometry.ofRing > kEarlyBytes)
    before = std::min(before, countSlots(kEarlyBytes));
  t.b.setInsertionPoint(early);
  set();
  const bool bringsRow = ring.rowBytes > 0, isEarly = early == own;
  if (bringsRow && isEarly) // before all else, where nothing is waited for
    askForRow();
  ask(0, before);
  if (Operation *reader = findRowReader(early, own);
      reader && before < ring.slots) {
    Operation *from = reader->getPrevNode();
    int64_t more = std::min(before + countSlots(kMoreBytes), ring.slots);
    t.b.setInsertionPoint(reader);
    set();
    ask(before, more);
    putBehindRow(from, reader);
    before = more;
  }
  t.b.setInsertionPoint(own);
  // Computed again: nothing goes past the barrier in registers.
  set();
  if (bringsRow && !isEarly)
    askForRow();
  ask(before, ring.slots);
  if (bringsRow)
    waitForRow(ring.slots - (isEarly ? 0 : before));
  // The round to ask for next is of a tile so many further, and this one of it.
  const int64_t ahead = ring.slots / rounds.count * stride;
  const int64_t first = ring.slots % rounds.count;
  find(ring.slots);
  auto pack = [&](Value slot, const Target &next) {
    SmallVector<Value> state = {slot, next.exists};
    state.append(next.addresses);
    return state;
  };
  const bool hasSum = layout.hasSumTerm();
  const int64_t packed = 2 + tiles;
  auto addRound = [&](Value number, const Target &further, ValueRange old) {
    Value round = t.toIndex(number), slot = t.toIndex(old[0]);
    ValueRange before = old.drop_front(packed); // sums, and the term's
    RingRound read = readRound(slot, round);
    // Nothing exists behind what does not.
    auto askAndMoveOn = [&] {
      Target next{old[1], old.slice(2, tiles)};
      Value later = getLater(round, first);
      t.ifThen(hasPieces(later), [&] { copyRound(slot, next, later); });
      next = moveOn(next, later, t.equal(round, rounds.count - 1 - first),
                    further);
      SmallVector<Value> values = {next.exists};
      values.append(next.addresses);
      return values;
    };
    size_t i = 1;
    SmallVector<Value> next =
        t.ifElse(old[1], askAndMoveOn, [&](Type) { return old[i++]; });
    // Also where nothing was: so that as many rounds are behind each.
    t.commitCopies();
    auto addPieces = [&] {
      SmallVector<Value> all(before);
      auto sums = MutableArrayRef(all).take_front(countSums());
      for (const auto &[piece, exists] : read.pieces) {
        SmallVector<Value> more(sums);
        isOne ? addOne(piece, token, more) : addProducts(piece, token, more);
        for (auto [sum, added] : llvm::zip_equal(sums, more))
          sum = exists ? t.select(exists, added, sum) : added;
      }
      if (hasSum)
        addRoundEight(read.ofSums, round, token,
                      MutableArrayRef(all).drop_front(countSums()));
      return all;
    };
    i = 0;
    SmallVector<Value> state = {getNextSlot(old[0])};
    state.append(next);
    state.append(t.ifElse(hasPieces(round), addPieces,
                          [&](Type) { return before[i++]; }));
    return state;
  };
  auto addTile = [&](Value from, ValueRange before) {
    Value tile = t.add(from, place), active = t.less(tile, end);
    // Asked for before the pieces are added, whoever will store.
    SmallVector<Value> residuals;
    for (int64_t i = 0; isOne && op.getResidual() && i < tiles; ++i) {
      Value column = t.add(t.mul(tile, kRows), t.add(lastRow(), i * kRows));
      Value last = t.index(layout.getRows() - 1);
      residuals.push_back(
          t.load(op.getResidual(), {token, t.min(column, last)}));
    }
    Value scale = op.getActivationScale();
    if (scale)
      scale =
          isOne && !isOwn(scale) ? t.load(scale, {token, t.index(0)}) : Value();
    Target further = getTarget(t.add(tile, ahead + stride), end);
    SmallVector<Value> state(before);
    state.append(countSums() * (1 + hasSum), t.constant(0.0f));
    Value count =
        t.select(active, t.constantI32(rounds.count), t.constantI32(0));
    state = t.loop(t.constantI32(0), count, t.constantI32(1), state,
                   [&](Value number, ValueRange old) {
                     return addRound(number, further, old);
                   });
    auto added = ArrayRef(state).drop_front(packed);
    SmallVector<Value> all(added.take_front(countSums()));
    if (hasSum)
      finishSumTerm(added.drop_front(countSums()), all);
    addQuarters(all);
    addShares(all);
    Value other = hasOther(tile, end);
    SmallVector<LaneSum> sums =
        isOne ? finishOne(all, other) : getLaneSums(all, other);
    for (auto [sum, residual] : llvm::zip(sums, residuals))
      sum.residual = residual;
    for (LaneSum &sum : sums)
      sum.scale = scale;
    finishTile(sums, tile, active, token);
    state.truncate(packed);
    return state;
  };
  // Without a token there is nothing to do.
  Value last = t.select(t.less(t.index(0), op.getCount()), end, begin);
  t.loop(begin, last, t.index(stride), pack(t.constantI32(0), target), addTile);
}
