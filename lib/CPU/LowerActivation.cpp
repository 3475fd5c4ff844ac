// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// relu and gelu on vectors of 16 lanes. gelu needs the normal
// distribution to a few units in the last place in its tail too, where what
// 1 + erf(x) leaves has cancelled; so the tail is computed, as exp(-u^2 / 2)
// times a polynomial.

#include "LowerStep.h"

#include "tbq/IR/Gelu.h"

using namespace mlir;
using namespace mlir::tbq;

/// exp(-u^2 / 2). A rounding error of u^2 would be one of the exponent: the
/// upper half of u has an exact square, and the rest is small.
static Value expSquare(VectorBuilder &v, Value u) {
  Value bits = arith::AndIOp::create(v.b, v.loc, v.bitcast(u, v.i32Vector()),
                                     v.splatI32(int32_t(0xfffff000u)));
  Value high = v.bitcast(bits, v.f32Vector());
  Value rest = v.mulf(v.subf(u, high), v.addf(u, high));
  auto exp = [&](Value x) -> Value {
    return math::ExpOp::create(v.b, v.loc, v.mulf(x, v.splat(-0.5f)));
  };
  return v.mulf(exp(v.mulf(high, high)), exp(rest));
}

static Value isNegative(VectorBuilder &v, Value x) {
  return arith::CmpFOp::create(v.b, v.loc, arith::CmpFPredicate::OLT, x,
                               v.splat(0.0f));
}

static Value gelu(VectorBuilder &v, Value x) {
  Value one = v.splat(1.0f);
  Value u = arith::MinNumFOp::create(
      v.b, v.loc, math::AbsFOp::create(v.b, v.loc, x), v.splat(kGeluEnd));
  Value t = v.divf(one, v.fma(u, v.splat(kTailSlope), one));
  Value polynomial = v.splat(kTail[std::size(kTail) - 1]);
  for (float coefficient : llvm::reverse(ArrayRef(kTail).drop_back()))
    polynomial = v.fma(polynomial, t, v.splat(coefficient));
  Value above = v.mulf(v.mulf(t, polynomial), expSquare(v, u));
  Value share = arith::SelectOp::create(v.b, v.loc, isNegative(v, x), above,
                                        v.subf(one, above));
  return v.mulf(x, share);
}

/// What is not a number stays so.
static Value relu(VectorBuilder &v, Value x) {
  return arith::SelectOp::create(v.b, v.loc, isNegative(v, x), v.splat(0.0f),
                                 x);
}

void mlir::tbq::lowerActivation(VectorBuilder &v, ActivationOp op) {
  auto apply = op.getFunction() == ActivationFunction::Relu ? relu : gelu;
  forEachUnit(v, op, [&](Value token, Value part) {
    Value at[] = {token, v.mul(part, kLanes)};
    v.store(apply(v, v.load(op.getInput(), at, v.f32Vector())),
            op.getInto().front(), at);
  });
}
