// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A linear of digits for one token, whose weights are on their way before their
// turn: a warp's first round before the barrier that its input waits for, every
// other one, of this tile or the next, while the one before is added. Only
// weights are loaded early: nobody writes them. See DigitLinear.h.

#include "DigitLinear.h"

using namespace mlir;
using namespace mlir::tbq;

bool DigitLinear::canLoadAhead() const {
  return cast<MemRefType>(input.getType()).getDimSize(0) == 1 &&
         !layout.getSalient();
}

int64_t DigitLinear::countLoaded() const {
  return getRounds(getAhead()).pieces * tiles *
         (layout.getNumDensePlanes() * countWords() +
          layout.getNumGroupTerms());
}

/// What a lane has of a round: words and coefficients, tile by tile of piece by
/// piece; zeros where there is no tile.
SmallVector<Value> DigitLinear::loadRound(Value tile, Value end, Value share,
                                          Value round) {
  Rounds rounds = getRounds(getAhead());
  auto load = [&] {
    SmallVector<Start> starts = getStarts(tile, hasOther(tile, end));
    SmallVector<Value> loaded;
    for (int64_t i = 0; i < rounds.pieces; ++i) {
      Value number = getNumber(rounds, share, round, i).first;
      for (const TilePiece &part : loadPiece(starts, number).tiles) {
        for (const SmallVector<Value> &words : part.words)
          loaded.append(words);
        loaded.append(part.coefficients);
      }
    }
    return loaded;
  };
  return t.ifElse(t.less(tile, end), load, [&](Type type) -> Value {
    return arith::ConstantOp::create(t.b, t.loc, t.b.getZeroAttr(type));
  });
}

/// The pieces of a round that loadRound has loaded.
SmallVector<DigitLinear::Piece>
DigitLinear::getRound(ArrayRef<Value> loaded, Value share, Value round) {
  Rounds rounds = getRounds(getAhead());
  auto take = [&](int64_t count) {
    SmallVector<Value> values(loaded.take_front(count));
    loaded = loaded.drop_front(count);
    return values;
  };
  SmallVector<Piece> pieces;
  for (int64_t i = 0; i < rounds.pieces; ++i) {
    Piece piece = getPiece(getNumber(rounds, share, round, i).first);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      TilePiece &part = piece.tiles.emplace_back();
      for (int64_t plane = 0; plane < layout.getNumDensePlanes(); ++plane)
        part.words.push_back(take(countWords()));
      part.coefficients = take(layout.getNumGroupTerms());
    }
    pieces.push_back(piece);
  }
  return pieces;
}

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
  Rounds rounds = getRounds(getAhead());
  Value token = t.index(0), share, begin, end, place;
  int64_t slots = kWarps / shares;
  SmallVector<Value> loaded;
  auto set = [&] {
    IRMapping copies;
    std::tie(begin, end) = getRange(copies);
    setBytes(copies);
    share = t.rem(t.warp(), shares);
    place = t.mul(t.div(t.warp(), shares), getStep());
  };
  t.b.setInsertionPoint(early);
  set();
  loaded = loadRound(t.add(begin, place), end, share, t.index(0));
  t.b.setInsertionPoint(own);
  // Computed again: what goes past the barrier in registers are weights.
  set();
  // Without a token there is nothing to do.
  Value last = t.select(t.less(t.index(0), op.getCount()), end, begin);
  int64_t stride = slots * getStep();
  t.loop(begin, last, t.index(stride), loaded,
         [&](Value from, ValueRange before) {
           Value tile = t.add(from, place), active = t.less(tile, end);
           // Asked for before the pieces are added, whoever will store.
           SmallVector<Value> residuals;
           for (int64_t i = 0; op.getResidual() && i < tiles; ++i) {
             Value column = t.add(t.mul(tile, kRows), t.add(row(), i * kRows));
             Value last = t.index(layout.getRows() - 1);
             residuals.push_back(
                 t.load(op.getResidual(), {token, t.min(column, last)}));
           }
           SmallVector<Value> state(before);
           state.append(countSums(), t.constant(0.0f));
           Value count = t.select(active, t.index(rounds.count), t.index(0));
           state = t.loop(
               t.index(0), count, t.index(1), state,
               [&](Value round, ValueRange old) {
                 ValueRange held = old.take_front(loaded.size());
                 Value isLast = t.equal(round, rounds.count - 1);
                 SmallVector<Value> next = loadRound(
                     t.select(isLast, t.add(tile, stride), tile), end, share,
                     t.select(isLast, t.index(0), t.add(round, 1)));
                 SmallVector<Value> sums(old.drop_front(loaded.size()));
                 addRound(SmallVector<Value>(held), share, round, token, sums);
                 next.append(sums);
                 return next;
               });
           SmallVector<LaneSum> sums = getLaneSums(
               ArrayRef(state).drop_front(loaded.size()), hasOther(tile, end));
           for (auto [sum, residual] : llvm::zip(sums, residuals))
             sum.residual = residual;
           finishTile(sums, tile, active, share, token);
           state.truncate(loaded.size());
           return state;
         });
}

/// Adds what a round has loaded.
void DigitLinear::addRound(ArrayRef<Value> loaded, Value share, Value round,
                           Value token, SmallVector<Value> &sums) {
  Rounds rounds = getRounds(getAhead());
  for (auto [i, piece] : llvm::enumerate(getRound(loaded, share, round))) {
    SmallVector<Value> more(sums);
    integer ? addProducts(piece, token, more) : addFloats(piece, token, more);
    Value exists = getNumber(rounds, share, round, i).second;
    for (auto [sum, added] : llvm::zip(sums, more))
      sum = exists ? t.select(exists, added, sum) : added;
  }
}
