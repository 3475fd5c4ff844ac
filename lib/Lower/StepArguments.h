// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The arguments that every function of a planned step takes, in the order of
// tbq_step_fn in format/StepAbi.h; layer functions take the layer's number
// after them. Two functions name the same memory by the same argument number.
#ifndef TBQ_LOWER_STEPARGUMENTS_H
#define TBQ_LOWER_STEPARGUMENTS_H

namespace mlir::tbq {
enum StepArgument : unsigned {
  kArena,
  kWeights,
  kCache,
  kTokens,
  kLogits,
  kPosition,
  kCount,
  kFirst,
  kTeam,
  kLayer, // layer functions only
};
} // namespace mlir::tbq

#endif // TBQ_LOWER_STEPARGUMENTS_H
