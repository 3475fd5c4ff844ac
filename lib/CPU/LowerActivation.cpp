// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// relu and gelu on vectors of 16 lanes.

#include "LowerStep.h"

#include "tbq/Target/Activation.h"

using namespace mlir;
using namespace mlir::tbq;

void mlir::tbq::lowerActivation(VectorBuilder &v, ActivationOp op) {
  forEachElementVector(v, op, [&](Value token, Value column) {
    Value at[] = {token, column};
    Value x = v.load(op.getInput(), at, v.f32Vector());
    v.store(buildActivation(v.b, v.loc, op.getFunction(), x, v.fused),
            op.getInto().front(), at);
  });
}
