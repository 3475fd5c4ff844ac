// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs the recipe of a `tbq.weights` op: reads the checkpoint's tensors,
// quantises and packs them, and hands the weights section on, front to back.
// Invariant: exactly the op's `bytes` are handed on, gaps as zeros; memory is
// bounded by the largest single quantised weight, whatever the model.
#ifndef TBQ_WEIGHTWRITER_H
#define TBQ_WEIGHTWRITER_H

#include "tbq/Checkpoint.h"
#include "tbq/IR/Tbq.h"

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace mlir::tbq {

/// `sink` takes the bytes in order, about a MiB at a time; its error ends the
/// writing. Other errors name file and tensor: one that the checkpoint does not
/// have as the recipe says, or that cannot be quantised.
::tbq::Status
writeWeights(WeightsOp weights, const ::tbq::Checkpoint &checkpoint,
             llvm::function_ref<::tbq::Status(llvm::ArrayRef<uint8_t>)> sink);

/// Bytes of memory that writeWeights takes at its most, pages of the checkpoint
/// among them.
int64_t getWritingMemory(WeightsOp weights,
                         const ::tbq::Checkpoint &checkpoint);

} // namespace mlir::tbq

#endif // TBQ_WEIGHTWRITER_H
