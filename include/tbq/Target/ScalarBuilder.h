// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Short words for the arithmetic that lowering to any target writes, and where
// it is written: what VectorBuilder (CPU) and ThreadBuilder (GPU) begin with.
#ifndef TBQ_TARGET_SCALARBUILDER_H
#define TBQ_TARGET_SCALARBUILDER_H

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace mlir::tbq {

class ScalarBuilder {
public:
  ScalarBuilder(OpBuilder &b, Location loc) : b(b), loc(loc) {}

  OpBuilder &b;
  Location loc;

  Value index(int64_t value);
  Value constant(float value);
  Value constantI32(int64_t value);

  /// A number of the type of x, an index or i32.
  Value like(Value x, int64_t value);

  // Of indices or integers; quotients without a sign.
  Value add(Value x, Value y);
  Value add(Value x, int64_t y) { return y ? add(x, like(x, y)) : x; }
  Value sub(Value x, Value y);
  Value sub(Value x, int64_t y) { return y ? sub(x, like(x, y)) : x; }
  Value mul(Value x, Value y);
  Value mul(Value x, int64_t y) { return y == 1 ? x : mul(x, like(x, y)); }
  Value div(Value x, int64_t y);
  Value rem(Value x, int64_t y);

  // Of floats or of vectors of them.
  Value addf(Value x, Value y);
  Value subf(Value x, Value y);
  Value mulf(Value x, Value y);
  Value divf(Value x, Value y);
};

} // namespace mlir::tbq

#endif // TBQ_TARGET_SCALARBUILDER_H
