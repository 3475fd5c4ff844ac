// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Scores, weights of keys, and what they add up to: by the warps that multiply.
// See WarpgroupAttention.h. A stage's scores are products that run while the
// stage before is taken.

#include "WarpgroupAttention.h"

using namespace mlir;
using namespace mlir::tbq;

/// Of a stage's scores, that of block `number`, the lane's row i and key.
static int64_t getScorePlace(int64_t number, int64_t i, int64_t key) {
  return 4 * (2 * number + key / 2) + 2 * i + key % 2;
}

SmallVector<Value> WarpgroupAttention::flatten(const Found &found) {
  SmallVector<Value> values;
  for (const State *state : {&found.part, &found.all}) {
    values.append(std::begin(state->base), std::end(state->base));
    values.append(std::begin(state->total), std::end(state->total));
  }
  values.append(found.sums);
  values.append(found.outputs);
  return values;
}

WarpgroupAttention::Found WarpgroupAttention::unflatten(ValueRange values) {
  Found found;
  size_t next = 0;
  for (State *state : {&found.part, &found.all})
    for (Value *each : {state->base, state->total})
      for (int64_t i = 0; i < kRows; ++i)
        each[i] = values[next++];
  int64_t count = (values.size() - next) / 2;
  found.sums = SmallVector<Value>(values.slice(next, count));
  found.outputs = SmallVector<Value>(values.slice(next + count, count));
  return found;
}

std::array<SmallVector<Value>, 2>
WarpgroupAttention::startScores(const Stage &stage, Value queries) {
  // In units of a descriptor, of a tile of features.
  constexpr int64_t ofRows = 2 * kGroupRows, ofKeys = 2 * kStageKeys;
  Value keys =
      getHalfDescriptor(t, t.getAddress(memory, stage.keys), kStageKeys);
  auto start = [&](int64_t from) {
    return startRowProducts(t, kStageKeys, t.add(queries, from), 2 * ofRows,
                            keys, ofKeys, tiles);
  };
  return {start(0), start(ofRows)};
}

WarpgroupAttention::Scores WarpgroupAttention::getScores(ArrayRef<Value> high,
                                                         ArrayRef<Value> low,
                                                         Walk walk,
                                                         const Unit &unit) {
  Blocks blocks;
  for (Value &block : blocks) {
    block = walk.block;
    walk = moveOn(walk, unit);
  }
  Scores scores;
  for (auto [x, rest] : llvm::zip_equal(high, low))
    scores.push_back(t.addf(t.bitcast(x, t.b.getF32Type()),
                            t.bitcast(rest, t.b.getF32Type())));
  // Few stages have keys that are later than one of the warp's tokens.
  Value isAny;
  for (Value block : blocks) {
    Value isLater = t.less(position, t.add(t.mul(block, CacheType::kBlock),
                                           CacheType::kBlock - 1));
    isAny = isAny ? t.either(isAny, isLater) : isLater;
  }
  auto masked = [&] {
    Scores all = scores;
    for (auto [number, block] : llvm::enumerate(blocks)) {
      Value first = t.add(t.mul(block, CacheType::kBlock),
                          t.mul(t.toI32(quarter()), kRowLanes));
      for (int64_t i = 0; i < kRows; ++i) {
        Value own = t.add(position, t.add(t.toI32(row()), i * kCoreRows));
        // Of four keys, those up to this one are not later than the token.
        Value last = t.sub(own, first);
        for (int64_t key = 0; key < 4; ++key) {
          Value &score = all[getScorePlace(number, i, key)];
          score = t.select(t.less(last, t.constantI32(key)),
                           t.constant(-INFINITY), score);
        }
      }
    }
    return all;
  };
  size_t next = 0;
  return t.ifElse(isAny, masked, [&](Type) { return scores[next++]; });
}

/// Of each block and row, scaled, by all lanes that have the row.
WarpgroupAttention::Scores
WarpgroupAttention::getLargest(const Scores &scores) {
  Scores largest;
  for (int64_t number = 0; number < kStageBlocks; ++number)
    for (int64_t i = 0; i < kRows; ++i) {
      Value most;
      for (int64_t key = 0; key < 4; ++key) {
        Value score = scores[getScorePlace(number, i, key)];
        most = key ? t.maxf(most, score) : score;
      }
      largest.push_back(
          t.mulf(t.reduceWarp(Reduction::Maximum, most, kRowLanes),
                 getScoreScale(t, op)));
    }
  return largest;
}

WarpgroupAttention::Weights
WarpgroupAttention::weigh(const Scores &scores, const Scores &largest,
                          int64_t number, Value adds, State &state) {
  Weights weights;
  SmallVector<Value> words, rests;
  for (int64_t i = 0; i < kRows; ++i) {
    SmallVector<Value> four;
    for (int64_t key = 0; key < 4; ++key)
      four.push_back(scores[getScorePlace(number, i, key)]);
    Value most = largest[kRows * number + i];
    Value isAbove = isFarAbove(t, most, state.base[i]);
    weights.before[i] = state.base[i];
    state.base[i] = t.select(isAbove, most, state.base[i]);
    weights.isRebased = i ? t.either(weights.isRebased, isAbove) : isAbove;
    for (Value &score : four)
      score = getWeight(t, op, score, state.base[i]);
    weights.sums[i] =
        t.addf(t.addf(four[0], four[1]), t.addf(four[2], four[3]));
    auto [two, rest] = t.splitHalves(four[0], four[1]);
    auto [next, restNext] = t.splitHalves(four[2], four[3]);
    words.append({two, next});
    rests.append({rest, restNext});
  }
  // As a product has its rows: of both, then the next columns of both.
  for (ArrayRef<Value> each : {ArrayRef(words), ArrayRef(rests)})
    weights.words.append({each[0], each[2], each[1], each[3]});
  weights.isRebased =
      t.both(t.inAnyLane(weights.isRebased), t.less(t.constantI32(0), adds));
  return weights;
}

void WarpgroupAttention::rebase(const Weights &weights, Found &found) {
  auto scaled = [&] {
    SmallVector<Value> all, decays;
    for (int64_t i = 0; i < kRows; ++i) {
      decays.push_back(t.exp2(t.subf(weights.before[i], found.part.base[i])));
      all.push_back(t.mulf(found.part.total[i], decays[i]));
    }
    for (auto [i, sum] : llvm::enumerate(found.sums))
      all.push_back(t.mulf(sum, decays[i / 2 % kRows]));
    return all;
  };
  SmallVector<Value> same(std::begin(found.part.total),
                          std::end(found.part.total));
  same.append(found.sums);
  size_t next = 0;
  SmallVector<Value> all =
      t.ifElse(weights.isRebased, scaled, [&](Type) { return same[next++]; });
  std::copy_n(all.begin(), kRows, found.part.total);
  found.sums.assign(all.begin() + kRows, all.end());
}

void WarpgroupAttention::merge(Value isDone, Found &found, const State &part) {
  auto merged = [&] {
    SmallVector<PartFactors> factors;
    SmallVector<Value> values;
    Value isAny;
    for (int64_t i = 0; i < kRows; ++i) {
      Value before = found.all.base[i], base = t.maxf(before, part.base[i]);
      Value isRebased = arith::CmpFOp::create(
          t.b, t.loc, arith::CmpFPredicate::OLT, before, base);
      isAny = i ? t.either(isAny, isRebased) : isRebased;
      factors.push_back(PartFactors::get(t, before, part.base[i], base));
      Value total = t.reduceWarp(Reduction::Sum, part.total[i], kRowLanes);
      values.append({base, factors[i].add(t, found.all.total[i], total)});
    }
    // Most parts are relative to no larger base than those before.
    auto scaled = [&] {
      SmallVector<Value> all;
      for (auto [i, output] : llvm::enumerate(found.outputs))
        all.push_back(t.mulf(output, factors[i / 2 % kRows].ofBefore));
      return all;
    };
    size_t next = 0;
    SmallVector<Value> outputs =
        t.ifElse(t.inAnyLane(isAny), scaled,
                 [&](Type) { return found.outputs[next++]; });
    for (auto [i, output] : llvm::enumerate(outputs))
      values.push_back(
          t.fma(found.sums[i], factors[i / 2 % kRows].own, output));
    return values;
  };
  SmallVector<Value> same;
  for (int64_t i = 0; i < kRows; ++i)
    same.append({found.all.base[i], found.all.total[i]});
  same.append(found.outputs);
  size_t next = 0;
  SmallVector<Value> values =
      t.ifElse(isDone, merged, [&](Type) { return same[next++]; });
  for (int64_t i = 0; i < kRows; ++i) {
    found.all.base[i] = values[2 * i];
    found.all.total[i] = values[2 * i + 1];
    // Its sums begin at zero again where they are next added to.
    Value &total = found.part.total[i];
    total = t.select(isDone, t.constant(0.0f), total);
  }
  found.outputs.assign(values.begin() + 2 * kRows, values.end());
}

SmallVector<Value> WarpgroupAttention::attend(const Unit &unit,
                                              ValueRange carried) {
  t.renewThread();
  // All warps have left the queries before; then all have stored theirs.
  Value barrier = getQueriesBarrier();
  arrive(t, barrier);
  waitForTurn(t, barrier, t.constantI32(0));
  stageQueries(unit);
  fenceCopies(t);
  arrive(t, barrier);
  waitForTurn(t, barrier, t.constantI32(1));
  t.renewThread();

  std::tie(token, head) = getTile(unit, t.warp());
  position = t.toI32(getPosition(token));
  Value queries =
      getHalfDescriptor(t, t.getAddress(memory, getQueries()), kGroupRows);
  Value begin = t.constantI32(0), zero = t.constant(0.0f);
  Found empty;
  for (int64_t i = 0; i < kRows; ++i) {
    empty.part.base[i] = empty.all.base[i] = t.constant(kNoBase);
    empty.part.total[i] = empty.all.total[i] = zero;
  }
  empty.sums.assign(features / 2, zero);
  empty.outputs = empty.sums;
  // Of the first stage; of each other while the one before is taken.
  Stage stage = getStage(carried);
  Walk walk{begin, begin};
  waitForTurn(t, stage.full, stage.parity);
  auto [high, low] = startScores(stage, queries);
  high = finishProducts(t, 1, high, {});
  low = finishProducts(t, 0, low, {});
  SmallVector<Value> init(carried);
  init.append({walk.part, walk.block, t.constantI32(0)});
  init.append(getScores(high, low, walk, unit));
  const int64_t place = init.size(), ofScores = place - kCarried - 3;
  init.append(flatten(empty));
  auto body = [&](Value first, ValueRange old) {
    ValueRange own = old.drop_front(kCarried);
    Walk walk{own[0], own[1]};
    Scores scores(own.slice(3, ofScores));
    return addStage(unit, queries, getStage(old), walk, first, own[2], scores,
                    unflatten(old.drop_front(place)));
  };
  SmallVector<Value> last = forEachStage(unit, init, body);
  t.renewThread();
  store(unflatten(ArrayRef(last).drop_front(place)));
  return SmallVector<Value>(ArrayRef(last).take_front(kCarried));
}

/// Returns what the next stage takes. Its scores are made of whatever there is,
/// if it does not exist.
SmallVector<Value> WarpgroupAttention::addStage(const Unit &unit, Value queries,
                                                const Stage &stage, Walk walk,
                                                Value first, Value adds,
                                                const Scores &scores,
                                                Found found) {
  auto as = [&](ArrayRef<Value> values, Type type) {
    return llvm::map_to_vector(
        values, [&](Value each) { return t.bitcast(each, type); });
  };
  Value values =
      getHalfDescriptor(t, t.getAddress(memory, stage.values), features);
  auto start = [&](const Weights &weights, int64_t number, Value adds) {
    for (int64_t i = 0; i < kRows; ++i)
      found.part.total[i] = t.addf(found.part.total[i], weights.sums[i]);
    int64_t ofBlock = countKeyBytes() / kStageBlocks / kCoreBytes;
    return startHalfProducts(t, features, weights.words,
                             t.add(values, number * ofBlock), /*stride=*/0,
                             as(found.sums, t.b.getI32Type()), adds);
  };
  // What is used only later is made before it is waited for.
  auto finish = [&](int64_t later, ArrayRef<Value> running,
                    ArrayRef<Value> words, ArrayRef<Value> next) {
    SmallVector<Value> all(words);
    all.append(next.begin(), next.end());
    found.sums = as(finishProducts(t, later, running, all), t.b.getF32Type());
  };
  auto endPart = [&](Value isDone) {
    for (Value &base : found.part.base)
      base = t.select(isDone, t.constant(kNoBase), base);
  };
  Value one = t.constantI32(1), zero = t.constantI32(0);

  // By shuffles, which would wait behind products that are started.
  Scores largest = getLargest(scores);
  // The first block.
  Weights weights = weigh(scores, largest, 0, adds, found.part);
  rebase(weights, found);
  SmallVector<Value> running = start(weights, 0, adds);
  Value isDone = endsPart(walk, unit);
  State done = found.part;
  walk = moveOn(walk, unit);

  // The next stage's scores, behind its weighted sums.
  SmallVector<Value> carried = moveOn(stage);
  Stage next = getStage(carried);
  Value firstNext = t.add(first, kStageBlocks);
  t.ifThen(t.less(firstNext, unit.blocks),
           [&] { waitForTurn(t, next.full, next.parity); });
  auto [high, low] = startScores(next, queries);

  // The second block. If it does not exist, it is behind the last part's end,
  // and what comes of it is left.
  endPart(isDone);
  Value addsNext = t.select(isDone, zero, one);
  Weights second = weigh(scores, largest, 1, addsNext, found.part);
  finish(2, running, weights.words, second.words);
  merge(isDone, found, done);
  rebase(second, found);
  running = start(second, 1, addsNext);
  isDone = t.both(endsPart(walk, unit), t.less(t.add(first, 1), unit.blocks));
  walk = moveOn(walk, unit);
  high = finishProducts(t, 2, high, {});
  low = finishProducts(t, 1, low, {});
  Scores nextScores = getScores(high, low, walk, unit);
  finish(0, running, second.words, nextScores);
  arrive(t, stage.empty);
  done = found.part;
  endPart(isDone);
  merge(isDone, found, done);

  carried.append({walk.part, walk.block, t.select(isDone, zero, one)});
  carried.append(nextScores);
  carried.append(flatten(found));
  return carried;
}

void WarpgroupAttention::store(const Found &found) {
  for (int64_t i = 0; i < kRows; ++i) {
    Value inverse = t.divf(t.constant(1.0f), found.all.total[i]);
    Value at = t.add(token, t.add(row(), i * kCoreRows));
    t.ifThen(t.less(at, op.getCount()), [&] {
      for (int64_t column = 0; column < features; column += kCoreColumns) {
        SmallVector<Value> two;
        for (int64_t j = 0; j < 2; ++j)
          two.push_back(t.mulf(found.outputs[column / 2 + 2 * i + j], inverse));
        Value feature = t.add(t.mul(quarter(), 2), column);
        t.storeVector(two, op.getInto().front(),
                      {at, t.add(t.mul(head, features), feature)});
      }
    });
  }
}
