// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "tbq/Target/ScalarBuilder.h"

using namespace mlir;
using namespace mlir::tbq;

Value ScalarBuilder::index(int64_t value) {
  return arith::ConstantIndexOp::create(b, loc, value);
}
Value ScalarBuilder::constant(float value) {
  return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(value));
}
Value ScalarBuilder::constantI32(int64_t value) {
  return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(value));
}
Value ScalarBuilder::like(Value x, int64_t value) {
  return x.getType().isIndex() ? index(value) : constantI32(value);
}
Value ScalarBuilder::add(Value x, Value y) {
  return arith::AddIOp::create(b, loc, x, y);
}
Value ScalarBuilder::sub(Value x, Value y) {
  return arith::SubIOp::create(b, loc, x, y);
}
Value ScalarBuilder::mul(Value x, Value y) {
  return arith::MulIOp::create(b, loc, x, y);
}
Value ScalarBuilder::div(Value x, int64_t y) {
  return y == 1 ? x : arith::DivUIOp::create(b, loc, x, like(x, y)).getResult();
}
Value ScalarBuilder::rem(Value x, int64_t y) {
  return y == 1 ? like(x, 0)
                : arith::RemUIOp::create(b, loc, x, like(x, y)).getResult();
}
Value ScalarBuilder::addf(Value x, Value y) {
  return arith::AddFOp::create(b, loc, x, y);
}
Value ScalarBuilder::subf(Value x, Value y) {
  return arith::SubFOp::create(b, loc, x, y);
}
Value ScalarBuilder::mulf(Value x, Value y) {
  return arith::MulFOp::create(b, loc, x, y);
}
Value ScalarBuilder::divf(Value x, Value y) {
  return arith::DivFOp::create(b, loc, x, y);
}
