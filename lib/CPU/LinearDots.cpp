// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Dot products of a packed linear: from the digits of a group's planes to the
// integer brackets of its terms. See LinearGenerator.h.
// Invariant: with integer activations every sum is exact in int32.

#include "LinearGenerator.h"

using namespace mlir;
using namespace mlir::tbq;

/// One plane's steps of a stride, of whose columns the first `valid` exist:
/// what lies past them are neither weights nor activations.
SmallVector<Value> LinearGenerator::generateStride(Value offset, Value column,
                                                   int64_t plane, int64_t valid,
                                                   Value token,
                                                   ValueRange dots) {
  int64_t stepColumns = 32 / layout.getDigits()[plane];
  SmallVector<Value> next(dots);
  for (int64_t step = 0; step * stepColumns < valid; ++step)
    next = generateStep(v.add(offset, layout.getStepOffset(plane, step)),
                        v.add(column, step * stepColumns), plane,
                        std::min(valid - step * stepColumns, stepColumns),
                        token, next);
  return next;
}

/// 64 bytes of digits: every slot and byte of a lane is one column.
SmallVector<Value> LinearGenerator::generateStep(Value offset, Value column,
                                                 int64_t plane, int64_t valid,
                                                 Value token, ValueRange dots) {
  int64_t bits = layout.getDigits()[plane];
  int64_t number = getAccumulators(plane);
  prefetch(offset);
  Value codes = v.loadBytes(bytes, offset, v.i32Vector());
  if (dot == DotProduct::avx2)
    return addPairs(codes, bits, column, valid, token, dots);
  SmallVector<Value> next(dots);
  for (int64_t slot = 0; 4 * slot < valid; ++slot)
    next = generateDots(codes, bits, slot, v.add(column, 4 * slot), token, next,
                        slot % number, number);
  return next;
}

/// The digits of one slot, one in each byte, at the place of slot `place`: they
/// are scaled by 2^(bits * place), and addSlots shifts their sum. With one
/// accumulator a slot they stay where they are.
Value LinearGenerator::getDigits(Value codes, int64_t bits, int64_t slot,
                                 int64_t place) {
  if (bits == 8)
    return codes;
  if (slot != place)
    codes = arith::ShRUIOp::create(v.b, v.loc, codes,
                                   v.splatI32(bits * (slot - place)));
  uint32_t mask = ((1u << bits) - 1) << (bits * place);
  return arith::AndIOp::create(v.b, v.loc, codes,
                               v.splatI32(int32_t(mask * 0x01010101u)));
}

/// A token's activation at a column; of i16, from its digits.
Value LinearGenerator::loadActivation(Value token, Value column) {
  Value x = v.load(input, {token, column});
  if (!integer)
    return x;
  auto widen = [&](Value digit) {
    return arith::ExtSIOp::create(v.b, v.loc, v.b.getI32Type(), digit);
  };
  if (!low)
    return widen(x);
  Value high = arith::MulIOp::create(v.b, v.loc, widen(x), v.constantI32(256));
  return v.add(high, widen(v.load(low, {token, column})));
}

/// Four bytes of a token's activations, or of their low digits, as one word.
Value LinearGenerator::loadFour(Value rows, Value token, Value column) {
  Value four =
      v.bitcast(v.load(rows, {token, column}, v.i8Vector(4)), v.i32Vector(1));
  return vector::ExtractOp::create(v.b, v.loc, four, 0);
}

/// vpdpbusd: adds to each of 16 sums the products of its four bytes.
Value LinearGenerator::addDotProducts(Value dot, Value digits, Value x) {
  return v.callIntrinsic("llvm.x86.avx512.vpdpbusd.512", {dot, digits, x});
}

/// Adds to the 16 sums of `dot` the products of four digits each with the four
/// activations in `x`.
Value LinearGenerator::generateDotProduct(Value digits, Value x, int64_t bits,
                                          Value dot) {
  auto splatBytes = [&](int64_t lanes) {
    Value words =
        vector::BroadcastOp::create(v.b, v.loc, v.i32Vector(lanes), x);
    return v.bitcast(words, v.i8Vector(4 * lanes));
  };
  if (this->dot == DotProduct::vnni)
    return addDotProducts(dot, digits, splatBytes(kLanes));

  // sdot has signed digits. One of 8 bits is itself less 128, and 64 twice.
  auto constant = [&](VectorType type, int8_t value) {
    return arith::ConstantOp::create(v.b, v.loc,
                                     DenseElementsAttr::get(type, value));
  };
  constexpr int64_t lanes = 4;
  VectorType quarterBytes = v.i8Vector(4 * lanes);
  Value activations = splatBytes(lanes);
  if (bits == 8)
    digits = arith::XOrIOp::create(
        v.b, v.loc, digits, constant(v.i8Vector(4 * kLanes), int8_t(0x80)));
  for (int64_t from = 0; from < kLanes; from += lanes) {
    Value sums =
        vector::ExtractStridedSliceOp::create(v.b, v.loc, dot, from, lanes, 1);
    Value quarter = vector::ExtractStridedSliceOp::create(
        v.b, v.loc, digits, 4 * from, 4 * lanes, 1);
    auto add = [&](Value four) {
      sums = v.callIntrinsic("llvm.aarch64.neon.sdot.v4i32.v16i8",
                             {sums, four, activations});
    };
    add(quarter);
    if (bits == 8) {
      add(constant(quarterBytes, 64));
      add(constant(quarterBytes, 64));
    }
    dot = vector::InsertStridedSliceOp::create(v.b, v.loc, sums, dot, from, 1);
  }
  return dot;
}

/// Adds one slot's four columns to the dot products of all tokens. `first` is
/// the slot's accumulator, of `stride` that a token has for each digit of its
/// activations.
SmallVector<Value> LinearGenerator::generateDots(Value codes, int64_t bits,
                                                 int64_t slot, Value column,
                                                 Value token, ValueRange dots,
                                                 int64_t first,
                                                 int64_t stride) {
  SmallVector<Value> next(dots);
  if (hasInstruction()) {
    VectorType bytesType = v.i8Vector(4 * kLanes);
    Value digits = v.bitcast(getDigits(codes, bits, slot, first), bytesType);
    int64_t inputDigits = getInputDigits();
    for (int64_t i = 0; i < tokens * inputDigits; ++i) {
      Value x = loadFour(i % inputDigits ? low : input,
                         row(token, i / inputDigits), column);
      Value &sum = next[i * stride + first];
      sum = generateDotProduct(digits, x, bits, sum);
    }
    return next;
  }
  uint32_t mask = bits == 8 ? 0xff : (1u << bits) - 1;
  for (int64_t byte = 0; byte < 4; ++byte) {
    Value digit = codes;
    if (int64_t shift = 8 * byte + bits * slot)
      digit = arith::ShRUIOp::create(v.b, v.loc, digit, v.splatI32(shift));
    digit = arith::AndIOp::create(v.b, v.loc, digit, v.splatI32(mask));
    if (!integer)
      digit = arith::SIToFPOp::create(v.b, v.loc, v.f32Vector(), digit);
    for (int64_t t = 0; t < tokens; ++t) {
      Value x = v.splat(loadActivation(row(token, t), v.add(column, byte)));
      Value &dot = next[integer ? t : 2 * t + byte % 2];
      dot = integer ? v.add(dot, v.mul(digit, x)) : v.fma(digit, x, dot);
    }
  }
  return next;
}

/// One dot product from a token's accumulators.
Value LinearGenerator::finishDot(ValueRange dots, int64_t plane) {
  if (!integer)
    return v.addf(dots[0], dots[1]);
  int64_t number = getAccumulators(plane);
  Value total = addSlots(dots.take_front(number), plane);
  if (getInputDigits() == 1)
    return total;
  Value high = arith::ShLIOp::create(v.b, v.loc, total, v.splatI32(8));
  return v.add(high, addSlots(dots.drop_front(number), plane));
}

/// The dot product of one digit of the activations, from that digit's
/// accumulators.
Value LinearGenerator::addSlots(ValueRange dots, int64_t plane) {
  Value total = dots[0];
  // Each slot's sum is a multiple of its scale: the shift is exact. Digits of 8
  // bits have one slot, whatever the number of accumulators.
  int64_t bits = layout.getDigits()[plane];
  for (int64_t slot = 1; slot < int64_t(dots.size()); ++slot)
    total = v.add(total,
                  bits == 8
                      ? dots[slot]
                      : Value(arith::ShRSIOp::create(v.b, v.loc, dots[slot],
                                                     v.splatI32(slot * bits))));
  return total;
}

/// The integer combination of a term, exact in int32, converted once.
Value LinearGenerator::getBracket(int64_t term, ArrayRef<Value> planes,
                                  Value sum) {
  Value total;
  for (int64_t i = 0; i <= layout.getNumPlanes(); ++i) {
    int64_t factor = layout.getTerm(term, i);
    if (factor == 0)
      continue;
    Value part = i < layout.getNumPlanes() ? planes[i] : sum;
    if (integer) {
      if (std::abs(factor) != 1)
        part = v.mul(part, v.splatI32(std::abs(factor)));
      if (!total)
        total =
            factor > 0
                ? part
                : Value(arith::SubIOp::create(v.b, v.loc, v.splatI32(0), part));
      else if (factor > 0)
        total = v.add(total, part);
      else
        total = arith::SubIOp::create(v.b, v.loc, total, part);
    } else {
      part = factor == 1 ? part : v.mulf(part, v.splat(float(factor)));
      total = total ? v.addf(total, part) : part;
    }
  }
  return integer
             ? Value(arith::SIToFPOp::create(v.b, v.loc, v.f32Vector(), total))
             : total;
}
