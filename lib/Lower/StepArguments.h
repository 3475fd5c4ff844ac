// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The entry points, and the arguments that every function of a planned step
// takes, in the order of tbq_step_fn in format/StepAbi.h; layer functions take
// the layer's number after them. Two functions name the same memory by the same
// argument number.
#ifndef TBQ_LOWER_STEPARGUMENTS_H
#define TBQ_LOWER_STEPARGUMENTS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace mlir::tbq {

/// @decode and @prefill, and @batch if there is one; an error if there is
/// either not.
inline FailureOr<SmallVector<func::FuncOp>> getEntries(ModuleOp module) {
  SmallVector<func::FuncOp> entries;
  for (StringRef name : {"decode", "prefill", "batch"}) {
    if (auto entry = module.lookupSymbol<func::FuncOp>(name))
      entries.push_back(entry);
    else if (name != "batch")
      return module.emitError("has no entry point '") << name << "'";
  }
  return entries;
}

enum StepArgument : unsigned {
  kArena,
  kWeights,
  kCache,
  kTokens,
  kLogits,
  kPosition, // of a batch, the places of its tokens
  kCount,
  kFirst,
  kTeam,
  kLayer, // layer functions only
};
} // namespace mlir::tbq

#endif // TBQ_LOWER_STEPARGUMENTS_H
