// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Parts of tbq-lower-team-to-gpu: tbq.observe.
#ifndef TBQ_GPU_LOWERTEAM_H
#define TBQ_GPU_LOWERTEAM_H

#include "ThreadBuilder.h"

namespace mlir::tbq {

/// Replaces the op, whose team is a pointer already, by a call.
void lowerObserve(ThreadBuilder &t, ObserveOp op);

/// Adds the function that these calls call, if there is any.
void buildWindowObserve(ModuleOp module);

} // namespace mlir::tbq

#endif // TBQ_GPU_LOWERTEAM_H
