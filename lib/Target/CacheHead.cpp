// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See CacheHead.h; the order of the bytes is described at !tbq.cache.

#include "tbq/Target/CacheHead.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace mlir::tbq;

CacheHead::CacheHead(OpBuilder &b, Location loc, CacheType type, Value layer,
                     Value head)
    : type(type), b(b), loc(loc) {
  Value base = mul(layer, type.getLayerBytes());
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

Value CacheHead::index(int64_t value) {
  return arith::ConstantIndexOp::create(b, loc, value);
}
Value CacheHead::add(Value x, Value y) {
  return arith::AddIOp::create(b, loc, x, y);
}
Value CacheHead::mul(Value x, int64_t y) {
  return arith::MulIOp::create(b, loc, x, index(y));
}
