// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// relu and gelu, an element a thread.

#include "LowerStep.h"

#include "tbq/Target/Activation.h"

using namespace mlir;
using namespace mlir::tbq;

void mlir::tbq::lowerActivation(ThreadBuilder &t, ActivationOp op) {
  forEachElement(t, op, op.getUnitColumns(), [&](Value token, Value column) {
    Value at[] = {token, column};
    Value x = t.load(op.getInput(), at);
    t.store(buildActivation(t.b, t.loc, op.getFunction(), x, /*fused=*/true),
            op.getInto().front(), at);
  });
}
