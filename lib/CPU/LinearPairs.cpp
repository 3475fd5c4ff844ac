// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Dot products of a packed linear by AVX2: vpmaddubsw adds two products of an
// unsigned with a signed byte in 16 bits, vpmaddwd two such sums in 32. See
// LinearGenerator.h.
// Invariant: what is added in 16 bits stays within them. A step of digits of up
// to 4 bits adds at most 2 * 2 * 15 * 128; of 8 bits, one product alone fits.

#include "LinearGenerator.h"

using namespace mlir;
using namespace mlir::tbq;

static constexpr int64_t kHalves = 2;
static constexpr int64_t kHalfBytes = 32;

/// The digits of a step, one a byte, as vectors whose products with their
/// columns' activations may be added in 16 bits: all of them, or of 8-bit
/// digits the even bytes and then the odd ones.
SmallVector<LinearGenerator::Digits>
LinearGenerator::getPairDigits(Value codes, int64_t bits, int64_t valid) {
  SmallVector<Digits> digits;
  auto add = [&](Value words, int64_t column) {
    digits.push_back({v.bitcast(words, v.i8Vector(kBytes)), column});
  };
  if (bits == 8)
    for (uint32_t mask : {0x00ff00ffu, 0xff00ff00u})
      add(arith::AndIOp::create(v.b, v.loc, codes, v.splatI32(int32_t(mask))),
          0);
  else
    for (int64_t slot = 0; 4 * slot < valid; ++slot)
      add(getDigits(codes, bits, slot, /*place=*/0), 4 * slot);
  return digits;
}

/// Adds a step of 64 bytes of digits to the dot products of all tokens.
SmallVector<Value> LinearGenerator::addPairs(Value codes, int64_t bits,
                                             Value column, int64_t valid,
                                             Value token, ValueRange dots) {
  SmallVector<Digits> digits = getPairDigits(codes, bits, valid);
  auto getHalf = [&](Value vector, int64_t half, int64_t size) -> Value {
    return vector::ExtractStridedSliceOp::create(v.b, v.loc, vector,
                                                 half * size, size, 1);
  };
  auto pairType = VectorType::get({kHalfBytes / 2}, v.b.getI16Type());
  VectorType sumType = v.i32Vector(kLanes / kHalves);
  Value ones = arith::ConstantOp::create(
      v.b, v.loc, DenseElementsAttr::get(pairType, int16_t(1)));
  // Two sums of 16 bits become one of 32 in its lane.
  auto widen = [&](Value pairs, Value sum) {
    return v.add(
        sum, v.callIntrinsic("llvm.x86.avx2.pmadd.wd", {pairs, ones}, sumType));
  };
  SmallVector<Value> next(dots);
  int64_t inputDigits = getInputDigits();
  for (auto [i, dot] : llvm::enumerate(next)) {
    Value rows = i % inputDigits ? low : input;
    SmallVector<Value> sums, pairs(kHalves);
    for (int64_t half = 0; half < kHalves; ++half)
      sums.push_back(getHalf(dot, half, kLanes / kHalves));
    for (const Digits &each : digits) {
      Value four = loadFour(rows, row(token, i / inputDigits),
                            v.add(column, each.column));
      Value x =
          v.bitcast(v.splat(four, kHalfBytes / 4), v.i8Vector(kHalfBytes));
      for (int64_t half = 0; half < kHalves; ++half) {
        Value products = v.callIntrinsic(
            "llvm.x86.avx2.pmadd.ub.sw",
            {getHalf(each.bytes, half, kHalfBytes), x}, pairType);
        if (bits == 8)
          sums[half] = widen(products, sums[half]);
        else
          pairs[half] = pairs[half] ? v.add(pairs[half], products) : products;
      }
    }
    for (int64_t half = 0; half < kHalves; ++half) {
      if (bits != 8)
        sums[half] = widen(pairs[half], sums[half]);
      dot = vector::InsertStridedSliceOp::create(v.b, v.loc, sums[half], dot,
                                                 half * kLanes / kHalves, 1);
    }
  }
  return next;
}
