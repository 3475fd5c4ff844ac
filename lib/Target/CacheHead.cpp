// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See CacheHead.h; the order of the bytes is described at !tbq.cache.

#include "tbq/Target/CacheHead.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"

using namespace mlir;
using namespace mlir::tbq;

TokenPlace mlir::tbq::getPlace(OpBuilder &b, Location loc, Value position,
                               Value token) {
  if (position.getType().isIndex())
    return {arith::AddIOp::create(b, loc, position, token), nullptr};
  auto load = [&](int64_t field) -> Value {
    Value column = arith::ConstantIndexOp::create(b, loc, field);
    Value number =
        memref::LoadOp::create(b, loc, position, ValueRange{token, column});
    return arith::IndexCastOp::create(b, loc, b.getIndexType(), number);
  };
  return {load(0), load(1)};
}

CacheHead::CacheHead(OpBuilder &b, Location loc, CacheType type, Value layer,
                     Value head, Value begin)
    : type(type), b(b), loc(loc) {
  Value base = mul(layer, type.getLayerBytes());
  if (begin)
    base = add(base, begin);
  keys = add(base, mul(head, type.getKeyHeadBytes()));
  values = add(add(base, index(type.getValuesOffset())),
               mul(head, type.getValueHeadBytes()));
}

Value CacheHead::getKeyOffset(Value block, Value feature) {
  Value row = add(mul(block, type.getHeadDim()), feature);
  return add(keys, mul(row, type.getKeyRowBytes()));
}

Value CacheHead::getValueOffset(Value position, Value feature) {
  return add(add(values, mul(position, type.getValueRowBytes())),
             mul(feature, type.getElementBytes()));
}

Value CacheHead::getValueOffset(Value position, int64_t feature) {
  return getValueOffset(position, index(feature));
}

Value CacheHead::getKeyElement(Value position, Value feature) {
  constexpr int64_t kBlock = CacheType::kBlock;
  Value block = div(position, kBlock), row = rem(position, kBlock);
  if (!type.getTiled())
    return add(getKeyOffset(block, feature), mul(row, type.getElementBytes()));
  Value lane = add(mul(div(row, 2), 4), div(rem(feature, kLanes), 4));
  Value own = add(mul(rem(row, 2), 4), rem(feature, 4));
  return add(getKeyTile(block, div(feature, kLanes)),
             mul(add(mul(lane, 8), own), type.getElementBytes()));
}

Value CacheHead::getValueElement(Value position, Value feature) {
  constexpr int64_t kBlock = CacheType::kBlock;
  if (!type.getTiled())
    return getValueOffset(position, feature);
  Value block = div(position, kBlock), row = rem(position, kBlock);
  Value four = add(mul(div(rem(feature, kLanes), 2), 8), div(row, 2));
  Value own = add(mul(rem(feature, 2), 2), rem(row, 2));
  return add(getValueTile(block, div(feature, kLanes)),
             mul(add(mul(four, 4), own), type.getElementBytes()));
}

Value CacheHead::getKeyTile(Value block, Value tile) {
  Value number = add(mul(block, type.getPaddedHeadDim() / kLanes), tile);
  return add(keys, mul(number, type.getTileBytes()));
}

Value CacheHead::getValueTile(Value block, Value tile) {
  Value number = add(mul(block, type.getPaddedHeadDim() / kLanes), tile);
  return add(values, mul(number, type.getTileBytes()));
}

Value CacheHead::index(int64_t value) {
  return arith::ConstantIndexOp::create(b, loc, value);
}
Value CacheHead::add(Value x, Value y) {
  return arith::AddIOp::create(b, loc, x, y);
}
Value CacheHead::mul(Value x, int64_t y) {
  return arith::MulIOp::create(b, loc, x, index(y));
}
Value CacheHead::div(Value x, int64_t y) {
  return arith::DivUIOp::create(b, loc, x, index(y));
}
Value CacheHead::rem(Value x, int64_t y) {
  return arith::RemUIOp::create(b, loc, x, index(y));
}
