// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Salient digits of a packed linear: from the blocks of a group to the sums of
// its mask and of its digits. A digit meets the activation of its column, which
// is looked up: nothing is done for weights that are not salient. See
// LinearGenerator.h.
// Invariant: a byte of a lane is a digit of that lane's row, so a row's sums
// never leave their lane; places without a digit add 0.

#include "LinearGenerator.h"

using namespace mlir;
using namespace mlir::tbq;

/// Adds to `dots` the group's sums of the mask's plane and then of the salient
/// one, one a token. `from`: its first block. The result is where it ends.
Value LinearGenerator::generateSalient(
    Value from, Value group, int64_t columns, Value token,
    SmallVectorImpl<SmallVector<Value>> &dots) {
  int64_t together = std::min(tokens, getSalientTokens());
  int64_t number = getSalientSums(), block = layout.getBlockColumns();
  Value first = v.mul(group, layout.getGroup());
  Value zero = integer ? v.splatI32(0) : v.splat(0.0f), end;
  SmallVector<Value> masked, salient;
  for (int64_t t = 0; t < tokens; t += together) {
    int64_t these = std::min(together, tokens - t);
    SmallVector<Value> carried(these * number, zero);
    carried.push_back(from);
    auto addBlock = [&](Value index, int64_t valid, ValueRange carried) {
      return generateBlock(v.add(first, v.mul(index, block)), valid,
                           row(token, t), these, carried);
    };
    carried = v.unrolled(columns / block, 1, carried,
                         [&](Value index, int64_t, ValueRange carried) {
                           return addBlock(index, block, carried);
                         });
    if (int64_t rest = columns % block)
      carried = addBlock(v.index(columns / block), rest, carried);
    end = carried.pop_back_val();
    for (int64_t i = 0; i < these; ++i) {
      ValueRange sums = ValueRange(carried).slice(i * number, number);
      masked.push_back(combine(sums.take_front(number / 2)));
      salient.push_back(combine(sums.drop_front(number / 2)));
    }
  }
  dots.push_back(masked);
  dots.push_back(salient);
  return end;
}

/// The sum of a token from its parts: of both digits of an activation, or of
/// floats in even and odd places.
Value LinearGenerator::combine(ValueRange parts) {
  if (parts.size() == 1)
    return parts[0];
  if (!integer)
    return v.addf(parts[0], parts[1]);
  return v.add(arith::ShLIOp::create(v.b, v.loc, parts[0], v.splatI32(8)),
               parts[1]);
}

/// One block of `valid` columns, `column` the first, for `number` tokens from
/// `token` on. Carried: the tokens' sums, and where the block begins or, in the
/// end, the next one.
SmallVector<Value> LinearGenerator::generateBlock(Value column, int64_t valid,
                                                  Value token, int64_t number,
                                                  ValueRange carried) {
  SmallVector<Value> tables = loadTables(column, valid, token, number);
  return forEachRound(carried.back(), carried.drop_back(),
                      [&](const Round &round, ValueRange sums) {
                        SmallVector<Value> next(sums);
                        if (!tables.empty())
                          addLookedUp(round, tables, next);
                        else
                          addGathered(round, column, token, next);
                        return next;
                      });
}

/// The rounds of the block at byte `from`: as many as the row with the most
/// digits needs. Behind what the body carries, where the block ends.
SmallVector<Value> LinearGenerator::forEachRound(
    Value from, ValueRange init,
    llvm::function_ref<SmallVector<Value>(const Round &, ValueRange)> body) {
  prefetch(from);
  Value counts = v.loadBytes(bytes, from, v.i8Vector(kLanes));
  Value most = arith::ExtUIOp::create(
      v.b, v.loc, v.b.getI32Type(),
      vector::ReductionOp::create(v.b, v.loc, vector::CombiningKind::MAXUI,
                                  counts));
  Value rounds = v.div(
      v.add(arith::IndexCastUIOp::create(v.b, v.loc, v.b.getIndexType(), most),
            kRound - 1),
      kRound);
  // A byte of a lane has a digit if its row has more digits than stand before.
  SmallVector<int64_t> lanes;
  SmallVector<int8_t> places;
  for (int64_t i = 0; i < kBytes; ++i) {
    lanes.push_back(i / kRound);
    places.push_back(int8_t(i % kRound));
  }
  Value ofLanes = vector::ShuffleOp::create(v.b, v.loc, counts, counts, lanes);
  Value place = arith::ConstantOp::create(
      v.b, v.loc,
      DenseElementsAttr::get(v.i8Vector(kBytes), ArrayRef<int8_t>(places)));
  SmallVector<Value> carried(init);
  carried.push_back(v.add(from, layout.getBlockHeadBytes()));
  carried.push_back(place);
  auto addRound = [&](ValueRange carried) {
    Value from = carried.drop_back().back(), place = carried.back();
    Value present = arith::CmpIOp::create(v.b, v.loc, arith::CmpIPredicate::ugt,
                                          ofLanes, place);
    Value size = v.countTrue(present), digitsAt = v.add(from, size);
    prefetch(from);
    Value columns = expand(from, present);
    prefetch(digitsAt);
    Value digits = expand(digitsAt, present);
    SmallVector<Value> next =
        body({columns, digits, present}, carried.drop_back(2));
    next.push_back(v.add(digitsAt, size));
    next.push_back(arith::AddIOp::create(v.b, v.loc, place, splatByte(kRound)));
    return next;
  };
  // In pairs, of which the last may have an empty round: how often the loop
  // goes round is guessed wrong less often than how many rounds there are.
  carried =
      v.loop(v.index(0), rounds, 2, carried, [&](Value, ValueRange carried) {
        return addRound(addRound(carried));
      });
  carried.pop_back();
  return carried;
}

Value LinearGenerator::splatByte(int8_t value) {
  return arith::ConstantOp::create(
      v.b, v.loc, DenseElementsAttr::get(v.i8Vector(kBytes), value));
}

/// The next bytes of memory in the places where there is one.
Value LinearGenerator::expand(Value from, Value present) {
  return vector::ExpandLoadOp::create(v.b, v.loc, v.i8Vector(kBytes), bytes,
                                      from, present, splatByte(0));
}

/// A block's activations in registers, two vectors for each token and digit of
/// its activations (one, if the block is that short); none if the target has no
/// instruction to look bytes up there.
SmallVector<Value> LinearGenerator::loadTables(Value column, int64_t valid,
                                               Value token, int64_t number) {
  SmallVector<Value> tables;
  if (!looksUp())
    return tables;
  for (int64_t i = 0; i < number; ++i)
    for (Value from : getInputs())
      for (int64_t at = 0; at < valid; at += kBytes)
        tables.push_back(v.loadFirst(from, {row(token, i), v.add(column, at)},
                                     v.i8Vector(kBytes), valid - at));
  return tables;
}

/// A round's products: each token's activations are looked up in its tables by
/// the digits' columns. The sums of its mask add them once, as digits of 1.
void LinearGenerator::addLookedUp(const Round &round, ValueRange tables,
                                  MutableArrayRef<Value> sums) {
  // Of each token the sums of its masks stand before those of its digits.
  int64_t inputs = getInputDigits(), size = sums.size() / 2;
  int64_t vectors = tables.size() / size;
  for (int64_t i = 0; i < size; ++i) {
    ValueRange table = tables.slice(i * vectors, vectors);
    Value x = vectors == 1
                  ? v.callIntrinsic("llvm.x86.avx512.permvar.qi.512",
                                    {table[0], round.columns})
                  : v.callIntrinsic("llvm.x86.avx512.vpermi2var.qi.512",
                                    {table[0], round.columns, table[1]});
    x = arith::SelectOp::create(v.b, v.loc, round.present, x, splatByte(0));
    Value &masked = sums[i / inputs * 2 * inputs + i % inputs];
    Value &salient = sums[i / inputs * 2 * inputs + inputs + i % inputs];
    masked = addDotProducts(masked, splatByte(1), x);
    salient = addDotProducts(salient, round.digits, x);
  }
}

/// The same from memory, one place of all lanes after the other.
void LinearGenerator::addGathered(const Round &round, Value column, Value token,
                                  MutableArrayRef<Value> sums) {
  int64_t number = getSalientSums();
  for (int64_t place = 0; place < kRound; ++place) {
    auto [index, digit, one] = getPlace(round, place);
    for (size_t t = 0; t < sums.size() / number; ++t) {
      Value at[] = {row(token, t), column};
      Value *masked = &sums[t * number], *salient = masked + number / 2;
      if (!integer) {
        Value x = v.gather(input, at, index, v.f32Vector());
        auto convert = [&](Value digits) {
          return arith::SIToFPOp::create(v.b, v.loc, v.f32Vector(), digits);
        };
        masked[place % 2] = v.fma(convert(one), x, masked[place % 2]);
        salient[place % 2] = v.fma(convert(digit), x, salient[place % 2]);
        continue;
      }
      for (auto [i, from] : llvm::enumerate(getInputs())) {
        Value x = arith::ExtSIOp::create(
            v.b, v.loc, v.i32Vector(),
            v.gather(from, at, index, v.i8Vector(kLanes)));
        masked[i] = v.add(masked[i], v.mul(one, x));
        salient[i] = v.add(salient[i], v.mul(digit, x));
      }
    }
  }
}

/// One place of all lanes of a round, as words; `present` is 1 or 0.
LinearGenerator::Round LinearGenerator::getPlace(const Round &round,
                                                 int64_t place) {
  auto get = [&](Value vector) -> Value {
    Value shifted = v.bitcast(vector, v.i32Vector());
    if (place)
      shifted =
          arith::ShRUIOp::create(v.b, v.loc, shifted, v.splatI32(8 * place));
    return arith::AndIOp::create(v.b, v.loc, shifted, v.splatI32(0xff));
  };
  Value ones =
      arith::ExtUIOp::create(v.b, v.loc, v.i8Vector(kBytes), round.present);
  return {get(round.columns), get(round.digits), get(ones)};
}

/// The dot product of salient digits as their rows' zero points count them.
Value LinearGenerator::countFromZero(Value dot, Value masked) {
  if (!integer)
    return v.subf(dot, v.mulf(tile.zeroPoint, masked));
  return arith::SubIOp::create(v.b, v.loc, dot, v.mul(tile.zeroPoint, masked));
}
