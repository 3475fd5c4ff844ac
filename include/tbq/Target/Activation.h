// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// relu and gelu in arith and math, alike for every target.
#ifndef TBQ_TARGET_ACTIVATION_H
#define TBQ_TARGET_ACTIVATION_H

#include "tbq/IR/Tbq.h"

namespace mlir::tbq {

/// Of `x`, an f32 or a vector of them. `fused`: multiply-adds round once.
Value buildActivation(OpBuilder &b, Location loc, ActivationFunction function,
                      Value x, bool fused);

} // namespace mlir::tbq

#endif // TBQ_TARGET_ACTIVATION_H
