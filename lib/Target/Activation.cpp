// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// relu and gelu of scalars and vectors. gelu needs the normal distribution to a
// few units in the last place in its tail too, where what 1 + erf(x) leaves has
// cancelled; so the tail is computed, as exp(-u^2 / 2) times a polynomial.

#include "tbq/Target/Activation.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace mlir::tbq;

/// Of what gelu leaves above here, float32 holds nothing.
static constexpr float kGeluEnd = 15.0f;
/// The share of a normal distribution above u >= 0, times exp(u^2 / 2), is
/// t P(t) with t = 1 / (1 + kTailSlope u), within 3.5e-9 of itself up to 13.4,
/// from where on exp(-u^2 / 2) is zero. A weighted least-squares fit at
/// Chebyshev's points, its weights moved until the error was even.
static constexpr float kTailSlope = 0.3f;
static constexpr float kTail[] = {
    0.119686514f, 0.119575098f, 0.110209599f,  0.0785039589f, 0.0958423987f,
    -0.07886485f, 0.191142052f, -0.227751374f, 0.112246469f,  -0.020589862f};

namespace {
/// Arithmetic of whatever shape the argument has.
struct Elementwise {
  OpBuilder &b;
  Location loc;
  Type type; // f32, or a vector of it
  bool fused;

  Value constant(float value) {
    return constant(type, b.getF32FloatAttr(value));
  }
  Value constantI32(int32_t value) {
    return constant(getI32(), b.getI32IntegerAttr(value));
  }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, loc, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
  Value div(Value x, Value y) { return arith::DivFOp::create(b, loc, x, y); }
  Value fma(Value x, Value y, Value z) {
    return fused ? math::FmaOp::create(b, loc, x, y, z) : add(mul(x, y), z);
  }
  Value exp(Value x) { return math::ExpOp::create(b, loc, x); }
  Value isNegative(Value x) {
    return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, x,
                                 constant(0.0f));
  }
  Value select(Value condition, Value x, Value y) {
    return arith::SelectOp::create(b, loc, condition, x, y);
  }
  /// Without the lower half of its bits, so that its square is exact.
  Value getUpperHalf(Value x) {
    Value bits = arith::BitcastOp::create(b, loc, getI32(), x);
    Value upper =
        arith::AndIOp::create(b, loc, bits, constantI32(int32_t(0xfffff000u)));
    return arith::BitcastOp::create(b, loc, type, upper);
  }

private:
  Type getI32() {
    auto vector = dyn_cast<VectorType>(type);
    return vector ? Type(vector.clone(b.getI32Type())) : b.getI32Type();
  }
  Value constant(Type shape, TypedAttr value) {
    if (auto vector = dyn_cast<VectorType>(shape))
      value = DenseElementsAttr::get(vector, Attribute(value));
    return arith::ConstantOp::create(b, loc, value);
  }
};
} // namespace

/// exp(-u^2 / 2). A rounding error of u^2 would be one of the exponent: the
/// upper half of u has an exact square, and the rest is small.
static Value expSquare(Elementwise &e, Value u) {
  Value high = e.getUpperHalf(u);
  Value rest = e.mul(e.sub(u, high), e.add(u, high));
  auto exp = [&](Value x) { return e.exp(e.mul(x, e.constant(-0.5f))); };
  return e.mul(exp(e.mul(high, high)), exp(rest));
}

static Value gelu(Elementwise &e, Value x) {
  Value one = e.constant(1.0f);
  Value u = arith::MinNumFOp::create(
      e.b, e.loc, math::AbsFOp::create(e.b, e.loc, x), e.constant(kGeluEnd));
  Value t = e.div(one, e.fma(u, e.constant(kTailSlope), one));
  Value polynomial = e.constant(kTail[std::size(kTail) - 1]);
  for (float coefficient : llvm::reverse(ArrayRef(kTail).drop_back()))
    polynomial = e.fma(polynomial, t, e.constant(coefficient));
  Value above = e.mul(e.mul(t, polynomial), expSquare(e, u));
  Value share = e.select(e.isNegative(x), above, e.sub(one, above));
  return e.mul(x, share);
}

/// What is not a number stays so.
static Value relu(Elementwise &e, Value x) {
  return e.select(e.isNegative(x), e.constant(0.0f), x);
}

Value mlir::tbq::buildActivation(OpBuilder &b, Location loc,
                                 ActivationFunction function, Value x,
                                 bool fused) {
  Elementwise e{b, loc, x.getType(), fused};
  return function == ActivationFunction::Relu ? relu(e, x) : gelu(e, x);
}
