// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// relu and gelu on vectors of 16 lanes.

#include "LowerStep.h"

#include "tbq/Target/Activation.h"

using namespace mlir;
using namespace mlir::tbq;

void mlir::tbq::lowerActivation(VectorBuilder &v, ActivationOp op) {
  forEachUnit(v, op, [&](Value token, Value part) {
    Value at[] = {token, v.mul(part, kLanes)};
    Value x = v.load(op.getInput(), at, v.f32Vector());
    v.store(buildActivation(v.b, v.loc, op.getFunction(), x, v.fused),
            op.getInto().front(), at);
  });
}
