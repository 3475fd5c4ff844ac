// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Which packed linears a GPU runs as one: those of few tokens that read one
// input, as query, key and value do, or gate and up. Invariant: each block
// writes what it would have written, or a barrier stands before whoever reads.
#ifndef TBQ_GPU_LINEARGROUP_H
#define TBQ_GPU_LINEARGROUP_H

#include "tbq/IR/Tbq.h"

namespace mlir::tbq {

/// Linears of one input that run as one.
struct LinearGroup {
  SmallVector<PackedLinearOp> ops;
  /// Of two that have as many tiles a warp has one of each at once; else the
  /// tiles stand one linear's behind the other's, and blocks divide them all.
  bool inPairs = false;
  /// Of a pair: what alone reads the two, tile by tile; null: nothing.
  GatedActivationOp gated = nullptr;

  int64_t countTiles() const; // that blocks divide
};

/// All linears that are like `op` and read the same rows, in a step of one
/// token or of many, whether or not they run as one. Before any of them is
/// lowered.
LinearGroup findAlike(PackedLinearOp op);

/// Of many tokens, the first of `rest`, or it and the next one and what makes
/// of each two rows one behind a barrier, if none else reads them: for one that
/// has rows of both.
LinearGroup findGatedPair(ArrayRef<PackedLinearOp> rest);

/// The first of `rest`, and those behind it that may run with it.
LinearGroup findLinearGroup(ArrayRef<PackedLinearOp> rest);

/// The linears that read what the op writes, before it is written anew; none if
/// others do, too.
SmallVector<PackedLinearOp> findReaders(QuantizeActivationsOp op);

/// The form that a row has for all its readers, if `takes` gives each the same.
template <typename Form>
std::optional<Form>
findForm(QuantizeActivationsOp op, ArrayRef<PackedLinearOp> readers,
         llvm::function_ref<std::optional<Form>(PackedLinearOp)> takes) {
  std::optional<Form> form;
  for (PackedLinearOp reader : readers) {
    std::optional<Form> own = takes(reader);
    if (!own || (form && !(*form == *own)) ||
        int64_t(op.getGroup()) !=
            reader.getWeight().getType().getLayout().getGroup())
      return std::nullopt;
    form = own;
  }
  return form;
}

/// What comes before (or behind) an op and touches memory; null: nothing does.
Operation *findEffect(Operation *op, bool isBehind);

} // namespace mlir::tbq

#endif // TBQ_GPU_LINEARGROUP_H
