// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See BitColumns.h.

#include "BitColumns.h"

using namespace mlir;
using namespace mlir::tbq;

static constexpr const char *kAttribute = "tbq.bit_columns";

std::optional<BitColumns> BitColumns::get(Operation *op) {
  auto attribute = op->getAttrOfType<DenseI64ArrayAttr>(kAttribute);
  if (!attribute)
    return std::nullopt;
  return BitColumns{attribute[0], attribute[1]};
}

void BitColumns::set(Operation *op) const {
  op->setAttr(kAttribute,
              DenseI64ArrayAttr::get(op->getContext(), {width, digits}));
}

/// A quarter has 32 neighbouring columns of one bit, those of eight lanes; else
/// 16, and 16 more, of the same piece or the next one, 16 lanes further.
std::array<int64_t, 3> BitColumns::getDistances() const {
  if (digits == 2)
    return {16, 1, 2};
  return {1, 2, width == kTogether ? 4 : 16};
}

/// A matrix of eight by eight bits, four times: whose number has a bit, of
/// lanes, against that of places in a byte, three times.
Value BitColumns::transpose(ThreadBuilder &t, Value four) const {
  Value word = four;
  const uint32_t lower[] = {0x55555555, 0x33333333, 0x0f0f0f0f};
  for (auto [step, distance] : llvm::enumerate(getDistances())) {
    Value lane = t.toI32(t.lane());
    Value isUpper = t.same(t.andBits(lane, distance), t.constantI32(distance));
    auto choose = [&](int32_t ofUpper, int32_t ofLower) {
      return t.select(isUpper, t.constantI32(ofUpper), t.constantI32(ofLower));
    };
    Value other = t.shuffle(word, distance);
    int32_t by = 1 << step;
    word = t.choose(choose(~lower[step], lower[step]), word,
                    t.rotateLeft(other, choose(32 - by, by)));
  }
  return word;
}

Value BitColumns::getPlace(ThreadBuilder &t, Value column) const {
  Value lane = t.rem(t.div(column, 4), kWarpLanes);
  Value bit = t.index(0);
  for (auto [step, distance] : llvm::enumerate(getDistances()))
    bit = t.add(bit, t.mul(t.rem(t.div(lane, distance), 2), 1 << step));
  int64_t ofQuarter = digits == 1 && width == kTogether ? 8 : 4;
  Value quarter = t.rem(t.div(lane, ofQuarter), 4);
  Value word = t.add(t.mul(bit, 4), quarter);
  return t.add(t.mul(t.div(column, kTogether), kTogether), t.mul(word, 4));
}

SmallVector<Value> BitColumns::load(ThreadBuilder &t, Value rows, Value token,
                                    Value begin) const {
  Value first = t.sub(begin, t.rem(begin, kTogether));
  Value at = t.add(first, t.mul(t.lane(), 4));
  auto type = VectorType::get({1}, t.b.getI32Type());
  Value word = t.extract(t.loadVector(rows, {token, at}, type), 0);
  uint32_t mask = digits == 2 ? 0x55555555 : 0x0f0f0f0f;
  int64_t by = digits == 2 ? 1 : 4; // to the others
  if (width < kTogether) {
    Value isSecond = t.toI32(t.rem(t.div(begin, width), 2));
    return {t.andBits(t.shiftRight(word, t.mul(isSecond, t.constantI32(by))),
                      mask)};
  }
  if (digits == 1)
    return {word};
  return {t.andBits(word, mask), t.andBits(t.shiftRight(word, by), mask)};
}

Value BitColumns::getWeights(ThreadBuilder &t, Value quarter, int64_t bit) {
  constexpr int32_t kBias = 15, kMantissa = 10; // of f16
  auto inBoth = [](int32_t exponent) {
    return exponent << kMantissa | exponent << (16 + kMantissa);
  };
  Value more = t.mul(t.toI32(quarter), t.constantI32(inBoth(2)));
  Value weights =
      t.add(more, t.constantI32(inBoth(kBias + bit) + (1 << (16 + kMantissa))));
  Value isHighest = t.equal(quarter, 3);
  return t.select(isHighest, t.exclusiveOr(weights, t.constantI32(1u << 31)),
                  weights);
}
