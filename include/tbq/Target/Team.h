// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What every target does with the workers of a step: the team is a pointer, and
// their barrier a function that counts in memory all of them share.
#ifndef TBQ_TARGET_TEAM_H
#define TBQ_TARGET_TEAM_H

#include "tbq/IR/Tbq.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace mlir::tbq {

/// The team is a pointer from here on, in signatures too.
void convertTeamToPointer(func::FuncOp function);

/// Adds `void tbq_barrier_wait(pointer, more ...)`, without a body.
LLVM::LLVMFuncOp createBarrier(ModuleOp module, ArrayRef<Type> more = {});
/// Replaces the op by a call of it.
void lowerBarrier(BarrierOp op, ValueRange more = {});

Value getFieldAddress(OpBuilder &b, Location loc, Value base, int64_t offset);

/// The barrier's counters, of 32 bits. `scope`: who looks at them; none: all.
Value loadCounter(OpBuilder &b, Location loc, Value address,
                  LLVM::AtomicOrdering ordering, StringRef scope = {});
void storeCounter(OpBuilder &b, Location loc, Value value, Value address,
                  LLVM::AtomicOrdering ordering, StringRef scope = {});

} // namespace mlir::tbq

#endif // TBQ_TARGET_TEAM_H
