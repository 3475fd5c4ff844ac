// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// relu and gelu, element by element.

#include "LowerStep.h"

#include "tbq/Target/Activation.h"

using namespace mlir;
using namespace mlir::tbq;

void mlir::tbq::lowerActivation(ThreadBuilder &t, ActivationOp op) {
  mapElements(t, op, op.getUnitColumns(), op.getInput(),
              [&](ArrayRef<Value> x) {
                return buildActivation(t.b, t.loc, op.getFunction(), x[0],
                                       /*fused=*/true);
              });
}
