// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What is said of a linear's kernel: how it is stored and multiplied, and which
// share of the machine's roofline it is predicted to reach.
#ifndef TBQ_CPU_REMARKKERNEL_H
#define TBQ_CPU_REMARKKERNEL_H

#include "LinearGenerator.h"

namespace mlir::tbq {

/// How a linear is multiplied.
struct Kernel {
  DotProduct dot;
  bool inBlocks; // of tokens, whose digits are spread once
  bool amx;      // in blocks, by tiles where they fill them
  bool terms;    // by tiles, each term's digits as signed bytes
};

/// Limits are the roofline's: what reads the weight's information from memory,
/// or multiplies each weight with each token once, as fast as the machine can.
/// The prediction is of what the kernel reads and multiplies: padding too, and
/// each plane with each digit of an activation, at the rates that whole steps
/// had.
struct Prediction {
  double share; // of the limit, at most 1
  bool byMemory;
};

/// Nothing where the machine is not known, floats are multiplied, or the layout
/// does not say how much there is to read: salient digits are counted in the
/// weights.
std::optional<Prediction> predict(PackedLinearOp op, const Kernel &kernel,
                                  const Tuning &tuning,
                                  const Roofline &roofline);

/// Of layers that share code, the first is named.
void remarkKernel(PackedLinearOp op, const Kernel &kernel, const Tuning &tuning,
                  const Roofline &roofline);

} // namespace mlir::tbq

#endif // TBQ_CPU_REMARKKERNEL_H
