// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-lower-linear-to-cpu: a packed linear becomes loops over vectors. One
// generator serves every scheme: it reads planes, groups and terms from the
// layout (#tbq.layout) and knows no scheme by name. A tile of 16 rows is 16
// lanes, so a row's sums never leave their lane. For a token, the order of all
// float operations is the same whatever the number of tokens in a step.

#include "VectorBuilder.h"

#include "tbq/Passes.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_LOWERLINEARTOCPUPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// Digit steps of a group that are written out instead of looped over, where a
/// step is a few instructions. Elsewhere it is dozens for each token.
static constexpr int64_t kUnrolledSteps = 16;
/// How far ahead of its stream of weights one token's kernel prefetches.
static constexpr int64_t kPrefetchBytes = 8192;
static constexpr int64_t kCacheLine = 64;

namespace {
/// Lowers one packed linear.
class LinearGenerator {
public:
  LinearGenerator(PackedLinearOp op, OpBuilder &b, bool vnni, bool fused)
      : op(op), v(b, op.getLoc(), fused),
        layout(op.getWeight().getType().getLayout()), input(op.getInput()),
        integer(!isF32(input)), vnni(vnni && integer) {
    tokens = getTokenTile(cast<MemRefType>(input.getType()).getDimSize(0));
  }

  void run();

private:
  static bool isF32(Value rows) {
    return cast<MemRefType>(rows.getType()).getElementType().isF32();
  }
  SmallVector<Value> generateFloatTile(Value tile, Value token);
  SmallVector<Value> generateDigitTile(Value tile, Value token);
  SmallVector<Value> generateGroup(Value offset, Value group, int64_t columns,
                                   Value token, ValueRange sums);
  SmallVector<Value> generateStride(Value offset, Value column, int64_t plane,
                                    int64_t valid, Value token,
                                    ValueRange dots);
  SmallVector<Value> generateStep(Value offset, Value column, int64_t plane,
                                  int64_t valid, Value token, ValueRange dots);
  Value getDigits(Value codes, int64_t bits, int64_t slot);
  SmallVector<Value> generateDots(Value digits, int64_t bits, int64_t slot,
                                  Value column, Value token, ValueRange dots,
                                  int64_t first, int64_t stride);
  Value finishDot(ValueRange dots, int64_t plane);
  Value getBracket(int64_t term, ArrayRef<Value> planes, Value sum);
  void finish(Value tile, Value token, ValueRange sums);

  /// Accumulators that plane `plane` has for one token. With one token, each
  /// bit slot of a VNNI digit has its own, so that no digit is shifted; float
  /// sums have two, to hide the latency of additions.
  int64_t getAccumulators(int64_t plane) const {
    if (!integer)
      return 2;
    return vnni && tokens == 1 ? 8 / layout.getDigits()[plane] : 1;
  }
  /// One token reads each weight once, in order: ask for what comes later.
  void prefetch(Value offset) {
    if (tokens == 1)
      memref::PrefetchOp::create(v.b, v.loc, bytes,
                                 v.add(offset, kPrefetchBytes),
                                 /*isWrite=*/false, /*localityHint=*/3,
                                 /*isDataCache=*/true);
  }
  Value row(Value token, int64_t offset) { return v.add(token, offset); }

  PackedLinearOp op;
  VectorBuilder v;
  LayoutAttr layout;
  Value input, bytes;
  bool integer, vnni;
  int64_t tokens; // whose sums are kept in registers at once
};
} // namespace

void LinearGenerator::run() {
  MLIRContext *context = op.getContext();
  bytes = PackedBytesOp::create(
      v.b, op.getLoc(),
      MemRefType::get({layout.getBytes()}, IntegerType::get(context, 8)),
      op.getWeight());
  v.loop(op.getRange()[0], op.getRange()[1], [&](Value tile) {
    v.loop(v.index(0), op.getCount(), tokens, ValueRange(),
           [&](Value token, ValueRange) {
             SmallVector<Value> sums = layout.isFloat()
                                           ? generateFloatTile(tile, token)
                                           : generateDigitTile(tile, token);
             finish(tile, token, sums);
             return SmallVector<Value>();
           });
  });
}

/// One column is `tile` weights, multiplied with one activation a token.
SmallVector<Value> LinearGenerator::generateFloatTile(Value tile, Value token) {
  Type element = layout.getElementType();
  int64_t columnBytes = layout.getTile() * element.getIntOrFloatBitWidth() / 8;
  Value base = v.mul(tile, layout.getTileBytes());
  SmallVector<Value> sums(2 * tokens, v.splat(0.0f));
  sums = v.unrolled(layout.getColumns(), 4, sums,
                    [&](Value column, int64_t copy, ValueRange carried) {
                      SmallVector<Value> next(carried);
                      Value offset = v.add(base, v.mul(column, columnBytes));
                      if (copy * columnBytes % kCacheLine == 0)
                        prefetch(offset);
                      Value weights = v.loadAsF32(bytes, offset, element);
                      for (int64_t t = 0; t < tokens; ++t) {
                        Value x =
                            v.splat(v.load(input, {row(token, t), column}));
                        Value &sum = next[2 * t + copy % 2];
                        sum = v.fma(weights, x, sum);
                      }
                      return next;
                    });
  SmallVector<Value> totals;
  for (int64_t t = 0; t < tokens; ++t)
    totals.push_back(v.addf(sums[2 * t], sums[2 * t + 1]));
  return totals;
}

SmallVector<Value> LinearGenerator::generateDigitTile(Value tile, Value token) {
  Value base = v.mul(tile, layout.getTileBytes());
  SmallVector<Value> sums(tokens, v.splat(0.0f));
  int64_t groups = layout.getNumGroups();
  int64_t whole = layout.getColumns() / layout.getGroup();
  int64_t groupBytes = layout.getGroupBytes(layout.getGroup());
  if (whole > 1)
    sums = v.loop(v.index(0), v.index(whole), 1, sums,
                  [&](Value group, ValueRange carried) {
                    Value offset = v.add(base, v.mul(group, groupBytes));
                    return generateGroup(offset, group, layout.getGroup(),
                                         token, carried);
                  });
  for (int64_t group = whole > 1 ? whole : 0; group < groups; ++group)
    sums =
        generateGroup(v.add(base, layout.getGroupOffset(group)), v.index(group),
                      layout.getGroupColumns(group), token, sums);
  return sums;
}

/// The group at byte `offset`: dot products of all planes, then the terms.
SmallVector<Value> LinearGenerator::generateGroup(Value offset, Value group,
                                                  int64_t columns, Value token,
                                                  ValueRange sums) {
  SmallVector<SmallVector<Value>> dots(layout.getNumPlanes());
  int64_t stride = layout.getStepColumns();
  int64_t strides = columns / stride, rest = columns % stride;
  int64_t strideBytes = layout.getStrideBytes();
  Value first = v.mul(group, layout.getGroup());
  for (int64_t plane = 0; plane < layout.getNumPlanes(); ++plane) {
    Value zero = integer ? v.splatI32(0) : v.splat(0.0f);
    SmallVector<Value> init(tokens * getAccumulators(plane), zero);
    // Planes are interleaved stride by stride; each is summed on its own.
    auto addStride = [&](Value number, int64_t valid, ValueRange carried) {
      return generateStride(v.add(offset, v.mul(number, strideBytes)),
                            v.add(first, v.mul(number, stride)), plane, valid,
                            token, carried);
    };
    dots[plane] = v.unrolled(strides, vnni ? kUnrolledSteps : 1, init,
                             [&](Value number, int64_t, ValueRange carried) {
                               return addStride(number, stride, carried);
                             });
    if (rest)
      dots[plane] = addStride(v.index(strides), rest, dots[plane]);
  }

  SmallVector<Value> coefficients;
  for (int64_t term = 0; term < layout.getNumTerms(); ++term)
    coefficients.push_back(v.loadAsF32(
        bytes, v.add(offset, layout.getCoefficientOffset(term, columns)),
        v.b.getF16Type()));
  SmallVector<Value> next(sums);
  for (int64_t t = 0; t < tokens; ++t) {
    SmallVector<Value> planes;
    for (int64_t plane = 0; plane < layout.getNumPlanes(); ++plane) {
      int64_t number = getAccumulators(plane);
      planes.push_back(
          finishDot(ValueRange(dots[plane]).slice(t * number, number), plane));
    }
    Value sum;
    if (layout.usesSums())
      sum = v.splat(v.load(op.getSums(), {row(token, t), group}));
    for (int64_t term = 0; term < layout.getNumTerms(); ++term)
      next[t] =
          v.fma(getBracket(term, planes, sum), coefficients[term], next[t]);
  }
  return next;
}

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
  SmallVector<Value> next(dots);
  for (int64_t slot = 0; 4 * slot < valid; ++slot)
    next = generateDots(codes, bits, slot, v.add(column, 4 * slot), token, next,
                        slot % number, number);
  return next;
}

/// The digits of one slot, one in each byte. With one accumulator a slot they
/// stay where they are, scaled by 2^(bits * slot); finishDot shifts the sum.
Value LinearGenerator::getDigits(Value codes, int64_t bits, int64_t slot) {
  bool inPlace = tokens == 1;
  if (bits == 8)
    return codes;
  if (!inPlace && slot != 0)
    codes = arith::ShRUIOp::create(v.b, v.loc, codes, v.splatI32(bits * slot));
  uint32_t mask = ((1u << bits) - 1) << (inPlace ? bits * slot : 0);
  return arith::AndIOp::create(v.b, v.loc, codes,
                               v.splatI32(int32_t(mask * 0x01010101u)));
}

/// Adds one slot's four columns to the dot products of all tokens. `first` is
/// the slot's accumulator, of `stride` that a token has.
SmallVector<Value> LinearGenerator::generateDots(Value codes, int64_t bits,
                                                 int64_t slot, Value column,
                                                 Value token, ValueRange dots,
                                                 int64_t first,
                                                 int64_t stride) {
  SmallVector<Value> next(dots);
  if (vnni) {
    VectorType bytesType = v.i8Vector(4 * kLanes);
    Value digits = v.bitcast(getDigits(codes, bits, slot), bytesType);
    for (int64_t t = 0; t < tokens; ++t) {
      Value four =
          v.bitcast(v.load(input, {row(token, t), column}, v.i8Vector(4)),
                    v.i32Vector(1));
      Value scalar = vector::ExtractOp::create(v.b, v.loc, four, 0);
      Value x = v.bitcast(v.splat(scalar), bytesType);
      Value &dot = next[t * stride + first];
      // x86vector has no such op; the intrinsic is the instruction.
      dot = LLVM::CallIntrinsicOp::create(
                v.b, v.loc, Type(v.i32Vector()),
                v.b.getStringAttr("llvm.x86.avx512.vpdpbusd.512"),
                ValueRange{dot, digits, x})
                .getResult(0);
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
      Value x = v.load(input, {row(token, t), v.add(column, byte)});
      Value &dot = next[integer ? t : 2 * t + byte % 2];
      if (integer) {
        Value wide = arith::ExtSIOp::create(v.b, v.loc, v.b.getI32Type(), x);
        dot =
            v.add(dot, arith::MulIOp::create(v.b, v.loc, digit, v.splat(wide)));
      } else {
        dot = v.fma(digit, v.splat(x), dot);
      }
    }
  }
  return next;
}

/// One dot product from a token's accumulators.
Value LinearGenerator::finishDot(ValueRange dots, int64_t plane) {
  if (!integer)
    return v.addf(dots[0], dots[1]);
  Value total = dots[0];
  // Each slot's sum is a multiple of its scale: the shift is exact.
  for (int64_t slot = 1; slot < int64_t(dots.size()); ++slot)
    total = v.add(total, arith::ShRSIOp::create(
                             v.b, v.loc, dots[slot],
                             v.splatI32(slot * layout.getDigits()[plane])));
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

/// Activation scale, bias, residual; rows of tokens that exist are stored.
void LinearGenerator::finish(Value tile, Value token, ValueRange sums) {
  Value column = v.mul(tile, kLanes);
  Value bias;
  if (layout.getBias())
    bias = v.loadBytes(
        bytes,
        v.add(v.mul(tile, layout.getTileBytes()), layout.getBiasOffset()),
        v.f32Vector());
  for (int64_t t = 0; t < tokens; ++t) {
    Value at = row(token, t);
    auto finishRow = [&] {
      Value y = sums[t];
      if (Value scale = op.getActivationScale())
        y = v.mulf(y, v.splat(v.load(scale, {at, v.index(0)})));
      if (bias)
        y = v.addf(y, bias);
      if (Value residual = op.getResidual())
        y = v.addf(y, v.load(residual, {at, column}, v.f32Vector()));
      v.store(y, op.getInto().front(), {at, column});
    };
    if (tokens == 1)
      finishRow();
    else
      v.ifThen(v.less(at, op.getCount()), finishRow);
  }
}

namespace {
struct LowerLinearToCPUPass
    : tbq::impl::LowerLinearToCPUPassBase<LowerLinearToCPUPass> {
  using LowerLinearToCPUPassBase::LowerLinearToCPUPassBase;

  void runOnOperation() override {
    if (dot != "plain" && dot != "vnni") {
      getOperation()->emitError("unknown dot product '") << dot << "'";
      return signalPassFailure();
    }
    SmallVector<PackedLinearOp> ops;
    getOperation()->walk([&](PackedLinearOp op) { ops.push_back(op); });
    for (PackedLinearOp op : ops) {
      OpBuilder b(op);
      LinearGenerator(op, b, dot == "vnni", fma).run();
      op.erase();
    }
  }
};
} // namespace
