// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-expand-math: after it, nothing is left that a target would call a library
// for. exp is upstream's polynomial; what the target lacks (fused
// multiply-adds, f16 conversions, rounding) becomes plain operations.

#include "tbq/Passes.h"

#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_EXPANDMATHPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

namespace {
/// Integer constants and operations on vectors of one shape.
struct Bits {
  PatternRewriter &b;
  Location loc;
  VectorType type; // i32

  Value constant(uint32_t value) {
    return arith::ConstantOp::create(
        b, loc, DenseElementsAttr::get(type, APInt(32, value)));
  }
  Value andBits(Value x, uint32_t mask) {
    return arith::AndIOp::create(b, loc, x, constant(mask));
  }
  Value orBits(Value x, Value y) { return arith::OrIOp::create(b, loc, x, y); }
  Value shiftLeft(Value x, uint32_t bits) {
    return arith::ShLIOp::create(b, loc, x, constant(bits));
  }
  Value shiftRight(Value x, uint32_t bits) {
    return arith::ShRUIOp::create(b, loc, x, constant(bits));
  }
  Value add(Value x, Value y) { return arith::AddIOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return arith::SubIOp::create(b, loc, x, y); }
  Value less(Value x, uint32_t y) {
    return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, x,
                                 constant(y));
  }
  Value select(Value condition, Value x, Value y) {
    return arith::SelectOp::create(b, loc, condition, x, y);
  }
  Value asFloat(Value x) {
    return arith::BitcastOp::create(
        b, loc, VectorType::get(type.getShape(), b.getF32Type()), x);
  }
  Value asBits(Value x) { return arith::BitcastOp::create(b, loc, type, x); }
};

/// f16 -> f32: the exponent is rebiased by a multiplication with 2^112, which
/// is exact for subnormals too; infinities and NaNs keep their kind.
struct ExpandExtF16 : OpRewritePattern<arith::ExtFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::ExtFOp op,
                                PatternRewriter &b) const override {
    auto from = dyn_cast<VectorType>(op.getIn().getType());
    if (!from || !from.getElementType().isF16())
      return failure();
    Location loc = op.getLoc();
    Bits bits{b, loc, VectorType::get(from.getShape(), b.getI32Type())};
    Value half = arith::ExtUIOp::create(
        b, loc, bits.type,
        arith::BitcastOp::create(
            b, loc, VectorType::get(from.getShape(), b.getI16Type()),
            op.getIn()));
    Value sign = bits.shiftLeft(bits.andBits(half, 0x8000), 16);
    Value magnitude = bits.andBits(half, 0x7fff);
    Value shifted = bits.shiftLeft(magnitude, 13);
    Value scaled = bits.asBits(
        arith::MulFOp::create(b, loc, bits.asFloat(shifted),
                              bits.asFloat(bits.constant(0x77800000))));
    Value special = bits.orBits(shifted, bits.constant(0x7f800000));
    Value finite = bits.less(magnitude, 0x7c00);
    b.replaceOp(op, bits.asFloat(bits.orBits(
                        bits.select(finite, scaled, special), sign)));
    return success();
  }
};

/// f32 -> f16, to nearest, ties to even. Normal results round in the integer
/// domain; subnormal ones by adding a float whose last place is theirs.
struct ExpandTruncF16 : OpRewritePattern<arith::TruncFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::TruncFOp op,
                                PatternRewriter &b) const override {
    auto to = dyn_cast<VectorType>(op.getType());
    if (!to || !to.getElementType().isF16())
      return failure();
    Location loc = op.getLoc();
    Bits bits{b, loc, VectorType::get(to.getShape(), b.getI32Type())};
    Value x = bits.asBits(op.getIn());
    Value sign = bits.shiftRight(bits.andBits(x, 0x80000000u), 16);
    Value magnitude = bits.andBits(x, 0x7fffffff);
    // Normal: rebias by -112, add half a unit (less one if even), cut 13 bits.
    Value odd = bits.andBits(bits.shiftRight(magnitude, 13), 1);
    Value rounded =
        bits.add(bits.sub(magnitude, bits.constant(0x38000000 - 0xfff)), odd);
    Value normal = bits.shiftRight(rounded, 13);
    // Subnormal: 0.5 has the unit in the last place 2^-24.
    Value sum = arith::AddFOp::create(b, loc, bits.asFloat(magnitude),
                                      bits.asFloat(bits.constant(0x3f000000)));
    Value subnormal = bits.sub(bits.asBits(sum), bits.constant(0x3f000000));
    Value result =
        bits.select(bits.less(magnitude, 0x38800000), subnormal, normal);
    // 65520 and above round to infinity; NaN stays one.
    result = bits.select(bits.less(magnitude, 0x477ff000), result,
                         bits.constant(0x7c00));
    result = bits.select(bits.less(magnitude, 0x7f800001), result,
                         bits.constant(0x7e00));
    Value half = arith::TruncIOp::create(
        b, loc, VectorType::get(to.getShape(), b.getI16Type()),
        bits.orBits(result, sign));
    b.replaceOpWithNewOp<arith::BitcastOp>(op, to, half);
    return success();
  }
};

/// floor through i32, for values within its range: the polynomial of exp, its
/// only user, selects other results outside of that. Upstream has no expansion.
struct ExpandFloor : OpRewritePattern<math::FloorOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::FloorOp op,
                                PatternRewriter &b) const override {
    auto type = dyn_cast<VectorType>(op.getType());
    if (!type || !type.getElementType().isF32())
      return failure();
    Location loc = op.getLoc();
    Value x = op.getOperand();
    Value whole = arith::FPToSIOp::create(
        b, loc, VectorType::get(type.getShape(), b.getI32Type()), x);
    Value truncated = arith::SIToFPOp::create(b, loc, type, whole);
    Value above =
        arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OGT, truncated, x);
    Value one =
        arith::ConstantOp::create(b, loc, DenseElementsAttr::get(type, 1.0f));
    Value below = arith::SubFOp::create(b, loc, truncated, one);
    b.replaceOpWithNewOp<arith::SelectOp>(op, above, below, truncated);
    return success();
  }
};

struct ExpandMathPass : tbq::impl::ExpandMathPassBase<ExpandMathPass> {
  using ExpandMathPassBase::ExpandMathPassBase;

  LogicalResult apply(llvm::function_ref<void(RewritePatternSet &)> populate) {
    RewritePatternSet patterns(&getContext());
    populate(patterns);
    return applyPatternsGreedily(getOperation(), std::move(patterns));
  }

  void runOnOperation() override {
    // The polynomial first: it is made of what the others expand.
    if (failed(apply([](RewritePatternSet &patterns) {
          populateMathPolynomialApproximationPatterns(
              patterns, [](StringRef name) { return name == "math.exp"; });
        })))
      return signalPassFailure();
    if (failed(apply([&](RewritePatternSet &patterns) {
          if (!fma)
            math::populateExpansionPatterns(patterns, {"fma"});
          if (!floor)
            patterns.add<ExpandFloor>(&getContext());
          if (!f16)
            patterns.add<ExpandExtF16, ExpandTruncF16>(&getContext());
        })))
      return signalPassFailure();
  }
};
} // namespace
