// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Looks at float weights whose largest are to be salient, before they are
// packed. Input: tbq.quantize ops and the checkpoint; output: the same ops with
// their thresholds, and as many values as weights are above them.

#include "tbq/Weights.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::makeError;
using ::tbq::Status;
using ::tbq::TensorView;

static Status resolve(QuantizeOp op, const Checkpoint &checkpoint) {
  auto source = op.getWeight().getDefiningOp<WeightOp>();
  auto type = cast<RankedTensorType>(op.getWeight().getType());
  const TensorView *matrix =
      source ? checkpoint.find(source.getName().str()) : nullptr;
  if (!matrix || llvm::ArrayRef(matrix->shape) != type.getShape())
    return makeError(checkpoint.directory(),
                     source ? source.getName().str() : "tbq.quantize",
                     "is no matrix of the checkpoint of this shape");
  auto found = findThresholds(op, *matrix);
  checkpoint.dropPages(*matrix);
  if (!found)
    return found.error();
  op.setThresholds(found->blocks);
  Value values = op.getSalient()[1];
  values.setType(RankedTensorType::get(
      {found->above},
      cast<RankedTensorType>(values.getType()).getElementType()));
  return Status::ok();
}

Status mlir::tbq::resolveSalient(ModuleOp module,
                                 const Checkpoint &checkpoint) {
  Status status = Status::ok();
  module.walk([&](QuantizeOp op) {
    if (!op.getSalientFraction() || op.getThresholds())
      return WalkResult::advance();
    status = resolve(op, checkpoint);
    return status ? WalkResult::advance() : WalkResult::interrupt();
  });
  return status;
}
