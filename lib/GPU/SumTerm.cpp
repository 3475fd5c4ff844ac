// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The term that is a group's sum of activations alone, a shift. Of a row it is
// a product over groups, so tensor cores add it up as they do digits: m16n8k16
// of f16, eight groups at a time: their coefficients, twice, with the higher
// and the lower halves of their sums (SumForm.h). In what order is no matter:
// what a product adds to a sum is rounded once. A share adds the eights whose
// last group it has. See DigitLinear.h.

#include "DigitLinear.h"

#include "llvm/Support/MathExtras.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;

/// Bits of the lower half: of i8's sums those in whose place 0x6400 is 1024
/// more. i16's are divided by 2^kScale, so that the higher half is an f16.
static constexpr int64_t kLowBits = 10, kLowBits16 = 11, kScale = 7;
static_assert(128 * kSteps8 < 1 << 15 && 128 * kSteps16 < 1 << (15 + kScale) &&
              128 * kSteps16 < 1 << (11 + kLowBits16));

int64_t SumForm::getScale() const { return hasLow ? kScale : 0; }

Value SumForm::take(ThreadBuilder &t, Value sum, bool areLow) const {
  uint32_t low = (1u << (hasLow ? kLowBits16 : kLowBits)) - 1;
  Value half = t.toF32(t.andBits(sum, areLow ? low : ~low));
  return hasLow ? t.mulf(half, t.constant(std::ldexp(1.0f, -kScale))) : half;
}

Value SumForm::split(ThreadBuilder &t, Value sum) const {
  return t.packHalves(take(t, sum, false), take(t, sum, true));
}

std::pair<Value, Value> SumForm::split(ThreadBuilder &t, Value one,
                                       Value other) const {
  if (hasLow)
    return {t.packHalves(take(t, one, false), take(t, other, false)),
            t.packHalves(take(t, one, true), take(t, other, true))};
  // Both at once. Of bits 10 on, six with a sign, the sign is exchanged.
  Value both = t.packLow(one, other);
  auto lift = [&](Value x, uint32_t bits, uint32_t exchanged, float less) {
    x = t.exclusiveOr(t.andBits(x, bits), t.constantI32(exchanged));
    return t.addHalves(x, -less);
  };
  Value low = lift(both, 0x03ff03ff, 0x64006400, 1024);
  Value high =
      lift(t.shiftRight(both, kLowBits), 0x003f003f, 0x64206420, 1024 + 32);
  return {t.scaleHalves(high, 1 << kLowBits), low};
}

std::pair<int64_t, int64_t> DigitLinear::getEights(int64_t share) const {
  auto count = [&](int64_t before) { // that end before a piece
    before = std::min(before, pieces);
    return before == pieces ? layout.getNumSumEights() : before / kEightGroups;
  };
  return {count(share * ofShare), count((share + 1) * ofShare)};
}

std::pair<Value, Value> DigitLinear::getEights(Value share) {
  Value all = t.like(share, layout.getNumSumEights());
  if (shares == 1)
    return {t.like(share, 0), all};
  auto count = [&](Value before) -> Value {
    Value whole =
        arith::DivUIOp::create(t.b, t.loc, before, t.like(share, kEightGroups));
    return pieces % kEightGroups == 0
               ? t.min(whole, all)
               : t.select(t.less(before, t.like(share, pieces)), whole, all);
  };
  Value first = t.mul(share, ofShare);
  return {count(first), count(t.add(first, ofShare))};
}

Value DigitLinear::getGroupPlace(Value group) {
  Value place = t.mul(group, layout.getGroupBytes(layout.getGroup()));
  if (!layout.hasSumTerm())
    return place;
  return t.add(place,
               t.mul(t.div(group, kEightGroups), layout.getSumEightBytes()));
}

Value DigitLinear::getEightPlace(Value number) {
  Value end = t.mul(t.add(number, 1), kEightGroups);
  if (pieces % kEightGroups)
    end = t.min(end, t.like(end, pieces));
  return t.add(t.mul(end, layout.getGroupBytes(layout.getGroup())),
               t.mul(number, layout.getSumEightBytes()));
}

Value DigitLinear::loadSumCoefficients(Value bytes, Value eight, Value row) {
  int64_t ofRow = layout.getSumEightBytes() / kRows;
  Value at = t.add(eight, t.add(t.mul(row, ofRow), t.mul(quarter(), 4)));
  return t.extract(
      t.loadBytes(bytes, at, VectorType::get({1}, t.b.getI32Type())), 0);
}

DigitLinear::Eight DigitLinear::loadEight(ArrayRef<Start> starts, Value number,
                                          Value token) {
  Eight eight;
  for (const Start &start : starts) {
    Value place = t.add(start.offset, getEightPlace(number));
    eight.ofTiles.push_back(loadSumCoefficients(start.bytes, place, row()));
  }
  eight.sums = loadEightSums(number, token);
  return eight;
}

SmallVector<Value> DigitLinear::loadEightSums(Value number, Value token,
                                              bool mayNotExist) {
  Value group = t.add(t.mul(number, kEightGroups), quarter());
  SmallVector<Value> groups = {group, t.add(group, kFourGroups)};
  // What lies past the last one may be no number, and is not to be had.
  if (mayNotExist || layout.getNumGroups() % kEightGroups)
    for (Value &each : groups)
      each = t.min(each, t.index(layout.getNumGroups() - 1));
  SmallVector<Value> sums;
  for (int64_t i = 0; i < tokens; i += integer ? kProductTokens : 1) {
    Value at =
        integer ? getProductToken(token, t.add(row(), i)) : getToken(token, i);
    for (Value group : groups)
      sums.push_back(t.load(op.getSums(), {at, group}));
  }
  return sums;
}

void DigitLinear::addEight(const Eight &eight, MutableArrayRef<Value> chain) {
  if (!integer) {
    auto coefficients = t.getHalves(eight.ofTiles.front());
    for (auto [i, sum] : llvm::enumerate(chain))
      for (int64_t j = 0; j < 2; ++j)
        sum = t.fma(eight.sums[2 * i + j], t.toF32(coefficients[j]), sum);
    return;
  }
  int64_t ofTile = countOfTile(), ofProduct = tiles * ofTile;
  for (int64_t product = 0; product * kProductTokens < tokens; ++product) {
    auto [high, rest] =
        sumForm.split(t, eight.sums[2 * product], eight.sums[2 * product + 1]);
    for (int64_t tile = 0; tile < tiles; tile += 2) {
      auto pair = ArrayRef(eight.ofTiles).slice(tile).take_front(2);
      auto own = chain.slice(product * ofProduct + tile * ofTile,
                             pair.size() * ofTile);
      // Of one token all eight columns are the same.
      SmallVector<Value> sums;
      for (int64_t i = 0; i < 4; ++i)
        sums.push_back(own[std::min<int64_t>(i * ofTile / 2, own.size() - 1)]);
      Value one = pair.front(), other = pair.back();
      sums = t.multiplyHalves({one, other, one, other}, {high, rest}, sums);
      for (auto [i, sum] : llvm::enumerate(own))
        sum = sums[i * 2 / ofTile];
    }
  }
}

void DigitLinear::addSumTerm(ArrayRef<Start> starts, Value share, Value active,
                             Value token, MutableArrayRef<Value> sums) {
  if (!layout.hasSumTerm())
    return;
  auto [first, end] = getEights(share);
  if (active)
    end = t.select(active, end, first);
  SmallVector<Value> none(sums.size(), t.constant(0.0f));
  finishSumTerm(t.loop(first, end, t.index(1), none,
                       [&](Value number, ValueRange before) {
                         SmallVector<Value> chain(before);
                         addEight(loadEight(starts, number, token), chain);
                         return chain;
                       }),
                sums);
}

void DigitLinear::finishSumTerm(ArrayRef<Value> chain,
                                MutableArrayRef<Value> sums) {
  float factor = integer ? std::ldexp(1.0f, sumForm.getScale()) : 1.0f;
  for (auto [sum, more] : llvm::zip_equal(sums, chain))
    sum = factor == 1.0f ? t.addf(sum, more)
                         : t.fma(more, t.constant(factor), sum);
}
