// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Parts of tbq-lower-team-to-cpu: the team's fields, and tbq.observe.
#ifndef TBQ_CPU_LOWERTEAM_H
#define TBQ_CPU_LOWERTEAM_H

#include "tbq/Passes.h"

namespace mlir::tbq {

/// The field at byte `offset` of a tbq_team.
Value loadField(OpBuilder &b, Location loc, Value team, int64_t offset,
                Type type);

/// Replaces the op, whose team is a pointer already, by a call.
void lowerObserve(ObserveOp op);

/// Adds the function that these calls call, if there is any.
void buildObserve(ModuleOp module);

} // namespace mlir::tbq

#endif // TBQ_CPU_LOWERTEAM_H
