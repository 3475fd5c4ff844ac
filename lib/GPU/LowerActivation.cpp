// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// relu and gelu, an element a thread. gelu needs the normal distribution to a
// few units in the last place in its tail too; so the tail is computed, as
// exp(-u^2 / 2) times a polynomial.

#include "LowerStep.h"

#include "tbq/IR/Gelu.h"

using namespace mlir;
using namespace mlir::tbq;

/// exp(-u^2 / 2). A rounding error of u^2 would be one of the exponent: the
/// upper half of u has an exact square, and the rest is small.
static Value expSquare(ThreadBuilder &t, Value u) {
  Value bits = arith::BitcastOp::create(t.b, t.loc, t.b.getI32Type(), u);
  Value high = arith::BitcastOp::create(t.b, t.loc, t.b.getF32Type(),
                                        t.andBits(bits, 0xfffff000u));
  Value rest = t.mulf(t.subf(u, high), t.addf(u, high));
  auto exp = [&](Value x) { return t.exp(t.mulf(x, t.constant(-0.5f))); };
  return t.mulf(exp(t.mulf(high, high)), exp(rest));
}

static Value isNegative(ThreadBuilder &t, Value x) {
  return arith::CmpFOp::create(t.b, t.loc, arith::CmpFPredicate::OLT, x,
                               t.constant(0.0f));
}

static Value gelu(ThreadBuilder &t, Value x) {
  Value one = t.constant(1.0f);
  Value u = arith::MinNumFOp::create(
      t.b, t.loc, math::AbsFOp::create(t.b, t.loc, x), t.constant(kGeluEnd));
  Value s = t.divf(one, t.fma(u, t.constant(kTailSlope), one));
  Value polynomial = t.constant(kTail[std::size(kTail) - 1]);
  for (float coefficient : llvm::reverse(ArrayRef(kTail).drop_back()))
    polynomial = t.fma(polynomial, s, t.constant(coefficient));
  Value above = t.mulf(t.mulf(s, polynomial), expSquare(t, u));
  Value share = t.select(isNegative(t, x), above, t.subf(one, above));
  return t.mulf(x, share);
}

void mlir::tbq::lowerActivation(ThreadBuilder &t, ActivationOp op) {
  forEachElement(t, op, kLanes, [&](Value token, Value column) {
    Value at[] = {token, column};
    Value x = t.load(op.getInput(), at);
    // What is not a number stays so.
    Value y = op.getFunction() == ActivationFunction::Gelu
                  ? gelu(t, x)
                  : t.select(isNegative(t, x), t.constant(0.0f), x);
    t.store(y, op.getInto().front(), at);
  });
}
