// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See VectorBuilder.h. Everything here is plain arith, vector, memref and scf;
// LLVM makes 16 lanes into whatever the target has.

#include "VectorBuilder.h"

using namespace mlir;
using namespace mlir::tbq;

Value VectorBuilder::min(Value x, Value y) {
  return arith::MinUIOp::create(b, loc, x, y);
}
Value VectorBuilder::max(Value x, Value y) {
  return arith::MaxUIOp::create(b, loc, x, y);
}

Value VectorBuilder::splat(Value scalar, int64_t lanes) {
  return vector::BroadcastOp::create(
      b, loc, VectorType::get({lanes}, scalar.getType()), scalar);
}
Value VectorBuilder::splat(float value, int64_t lanes) {
  return arith::ConstantOp::create(
      b, loc, DenseElementsAttr::get(f32Vector(lanes), value));
}
Value VectorBuilder::splatI32(int64_t value, int64_t lanes) {
  return arith::ConstantOp::create(
      b, loc, DenseElementsAttr::get(i32Vector(lanes), int32_t(value)));
}
Value VectorBuilder::bitcast(Value vector, VectorType type) {
  return vector.getType() == type
             ? vector
             : Value(vector::BitCastOp::create(b, loc, type, vector));
}
Value VectorBuilder::fma(Value x, Value y, Value z) {
  if (fused)
    return math::FmaOp::create(b, loc, x, y, z);
  return addf(mulf(x, y), z);
}
Value VectorBuilder::callIntrinsic(StringRef name, ValueRange arguments,
                                   Type type) {
  return LLVM::CallIntrinsicOp::create(b, loc,
                                       type ? type : arguments[0].getType(),
                                       b.getStringAttr(name), arguments)
      .getResult(0);
}
Value VectorBuilder::countTrue(Value conditions) {
  Value bits = bitcast(conditions, VectorType::get({1}, b.getI64Type()));
  Value word = vector::ExtractOp::create(b, loc, bits, 0);
  return arith::IndexCastUIOp::create(b, loc, b.getIndexType(),
                                      math::CtPopOp::create(b, loc, word));
}
Value VectorBuilder::addLanes(Value vector) {
  return vector::ReductionOp::create(b, loc, vector::CombiningKind::ADD,
                                     vector);
}
Value VectorBuilder::maxOfLanes(Value vector) {
  int64_t lanes = cast<VectorType>(vector.getType()).getNumElements();
  for (int64_t far = lanes / 2; far > 0; far /= 2) {
    SmallVector<int64_t> partners;
    for (int64_t lane = 0; lane < lanes; ++lane)
      partners.push_back((lane + far) % lanes);
    Value other = vector::ShuffleOp::create(b, loc, vector, vector, partners);
    vector = arith::MaxNumFOp::create(b, loc, vector, other);
  }
  return vector;
}

Value VectorBuilder::load(Value memref, ValueRange indices, VectorType type) {
  return vector::LoadOp::create(b, loc, type, memref, indices);
}
Value VectorBuilder::load(Value memref, ValueRange indices) {
  return memref::LoadOp::create(b, loc, memref, indices);
}
void VectorBuilder::store(Value vector, Value memref, ValueRange indices) {
  vector::StoreOp::create(b, loc, vector, memref, indices);
}
void VectorBuilder::storeScalar(Value scalar, Value memref,
                                ValueRange indices) {
  memref::StoreOp::create(b, loc, scalar, memref, indices);
}

static Value firstLanes(VectorBuilder &v, int64_t lanes, int64_t valid) {
  return vector::ConstantMaskOp::create(
      v.b, v.loc, VectorType::get({lanes}, v.b.getI1Type()),
      ArrayRef<int64_t>{valid});
}

Value VectorBuilder::loadFirst(Value memref, ValueRange indices,
                               VectorType type, int64_t valid) {
  if (valid >= type.getNumElements())
    return load(memref, indices, type);
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
  return vector::MaskedLoadOp::create(
      b, loc, type, memref, indices,
      firstLanes(*this, type.getNumElements(), valid), zero);
}

void VectorBuilder::storeFirst(Value vector, Value memref, ValueRange indices,
                               int64_t valid) {
  int64_t lanes = cast<VectorType>(vector.getType()).getNumElements();
  if (valid >= lanes)
    return store(vector, memref, indices);
  vector::MaskedStoreOp::create(b, loc, memref, indices,
                                firstLanes(*this, lanes, valid), vector);
}

static Value allLanes(VectorBuilder &v, Value distances) {
  auto type = cast<VectorType>(distances.getType());
  return arith::ConstantOp::create(
      v.b, v.loc,
      DenseElementsAttr::get(type.clone(v.b.getI1Type()), /*value=*/true));
}

Value VectorBuilder::gather(Value memref, ValueRange indices, Value distances,
                            VectorType type) {
  Value zero = arith::ConstantOp::create(b, loc, b.getZeroAttr(type));
  return vector::GatherOp::create(b, loc, type, memref, indices, distances,
                                  allLanes(*this, distances), zero);
}

void VectorBuilder::scatter(Value vector, Value memref, ValueRange indices,
                            Value distances) {
  vector::ScatterOp::create(b, loc, Type(), memref, indices, distances,
                            allLanes(*this, distances), vector);
}

Value VectorBuilder::loadBytes(Value bytes, Value offset, VectorType type) {
  int64_t size = type.getNumElements() * type.getElementTypeBitWidth() / 8;
  return bitcast(load(bytes, offset, i8Vector(size)), type);
}

Value VectorBuilder::loadIndex(Value bytes, Value offset) {
  Value one = vector::ExtractOp::create(
      b, loc, loadBytes(bytes, offset, i32Vector(1)), 0);
  return arith::IndexCastUIOp::create(b, loc, b.getIndexType(), one);
}

void VectorBuilder::storeBytes(Value vector, Value bytes, Value offset) {
  auto type = cast<VectorType>(vector.getType());
  int64_t size = type.getNumElements() * type.getElementTypeBitWidth() / 8;
  store(bitcast(vector, i8Vector(size)), bytes, offset);
}

Value VectorBuilder::toF32(Value vector, Type from) {
  int64_t lanes = cast<VectorType>(vector.getType()).getNumElements();
  if (from.isF32())
    return vector;
  if (from.isF16())
    return arith::ExtFOp::create(b, loc, f32Vector(lanes), vector);
  // bf16 is the upper half of an f32: no target needs a library for it.
  Value bits = bitcast(vector, VectorType::get({lanes}, b.getI16Type()));
  Value wide = arith::ExtUIOp::create(b, loc, i32Vector(lanes), bits);
  Value high = arith::ShLIOp::create(b, loc, wide, splatI32(16, lanes));
  return bitcast(high, f32Vector(lanes));
}

Value VectorBuilder::loadAsF32(Value bytes, Value offset, Type type,
                               int64_t lanes) {
  return toF32(loadBytes(bytes, offset, VectorType::get({lanes}, type)), type);
}

void VectorBuilder::storeF32As(Value vector, Value bytes, Value offset,
                               Type type) {
  if (!type.isF32()) {
    int64_t lanes = cast<VectorType>(vector.getType()).getNumElements();
    vector =
        arith::TruncFOp::create(b, loc, VectorType::get({lanes}, type), vector);
  }
  storeBytes(vector, bytes, offset);
}

SmallVector<Value> VectorBuilder::loop(Value from, Value to, int64_t step,
                                       ValueRange init, Body body) {
  auto loop = scf::ForOp::create(
      b, loc, from, to, index(step), init,
      [&](OpBuilder &inner, Location, Value i, ValueRange carried) {
        OpBuilder::InsertionGuard guard(b);
        b.setInsertionPoint(inner.getInsertionBlock(),
                            inner.getInsertionPoint());
        SmallVector<Value> next = body(i, carried);
        scf::YieldOp::create(b, loc, next);
      });
  return SmallVector<Value>(loop.getResults());
}

void VectorBuilder::loop(Value from, Value to,
                         llvm::function_ref<void(Value)> body) {
  loop(from, to, 1, ValueRange(), [&](Value i, ValueRange) {
    body(i);
    return SmallVector<Value>();
  });
}

SmallVector<Value> VectorBuilder::unrolled(
    int64_t count, int64_t unroll, ValueRange init,
    llvm::function_ref<SmallVector<Value>(Value, int64_t, ValueRange)> body) {
  SmallVector<Value> carried(init);
  int64_t rounds = count / unroll;
  auto copies = [&](Value base, int64_t number) {
    for (int64_t copy = 0; copy < number; ++copy)
      carried = body(add(base, copy), copy, carried);
  };
  if (rounds == 1) {
    copies(index(0), unroll);
  } else if (rounds > 1) {
    carried = loop(index(0), index(rounds * unroll), unroll, carried,
                   [&](Value i, ValueRange values) {
                     carried.assign(values.begin(), values.end());
                     copies(i, unroll);
                     return carried;
                   });
  }
  copies(index(rounds * unroll), count % unroll);
  return carried;
}

void VectorBuilder::ifThen(Value condition, llvm::function_ref<void()> body) {
  scf::IfOp::create(b, loc, condition, [&](OpBuilder &inner, Location) {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
    body();
    scf::YieldOp::create(b, loc);
  });
}

void VectorBuilder::ifThenElse(Value condition, llvm::function_ref<void()> body,
                               llvm::function_ref<void()> otherwise) {
  auto generate = [&](llvm::function_ref<void()> branch) {
    return [this, branch](OpBuilder &inner, Location) {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
      branch();
      scf::YieldOp::create(b, loc);
    };
  };
  scf::IfOp::create(b, loc, condition, generate(body), generate(otherwise));
}

Value VectorBuilder::equal(Value x, Value y) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, x, y);
}
Value VectorBuilder::less(Value x, Value y) {
  return arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ult, x, y);
}

void mlir::tbq::forEachUnit(
    VectorBuilder &v, StepOp op,
    llvm::function_ref<void(Value token, Value part)> body) {
  int64_t perToken = op.getUnitsPerToken();
  v.loop(op.getRange()[0], op.getRange()[1], [&](Value unit) {
    body(v.div(unit, perToken), v.rem(unit, perToken));
  });
}

void mlir::tbq::forEachElementVector(
    VectorBuilder &v, StepOp op,
    llvm::function_ref<void(Value token, Value column)> body) {
  int64_t columns = op.getUnitColumns();
  forEachUnit(v, op, [&](Value token, Value part) {
    Value first = v.mul(part, columns);
    for (int64_t column = 0; column < columns; column += kLanes)
      body(token, v.add(first, column));
  });
}
