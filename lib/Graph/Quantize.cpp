// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-quantize: post-training quantisation of a float checkpoint. Every float
// linear inside a decoder layer becomes a ternary one with scale and shift;
// embedding, head and norms keep their type. Weights are not touched here: the
// tbq.quantize op says what is made of them when they are written.

#include "tbq/Passes.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_QUANTIZEPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static void quantize(LinearOp op, int64_t group, Activations activations) {
  auto weight = cast<RankedTensorType>(op.getWeight().getType());
  int64_t rows = weight.getDimSize(0), columns = weight.getDimSize(1);
  if (group == 0 || group > columns)
    group = columns;
  OpBuilder b(op);
  auto digits =
      DigitsType::get(op.getContext(), rows, columns, Scheme::Ternary);
  auto coefficients = RankedTensorType::get(
      {rows, (columns + group - 1) / group}, b.getF16Type());
  auto quantized =
      QuantizeOp::create(b, op.getWeight().getLoc(), digits, coefficients,
                         coefficients, op.getWeight(), Scheme::Ternary, group);
  op.getWeightMutable().assign(quantized.getDigits());
  op.getScaleMutable().assign(quantized.getScale());
  op.getShiftMutable().assign(quantized.getShift());
  op.setGroup(group);
  op.setActivations(activations);
}

namespace {
struct QuantizePass : tbq::impl::QuantizePassBase<QuantizePass> {
  using QuantizePassBase::QuantizePassBase;

  void runOnOperation() override {
    std::optional<Activations> mode = symbolizeActivations(activations);
    if (!mode) {
      getOperation()->emitError("unknown activations '") << activations << "'";
      return signalPassFailure();
    }
    getOperation()->walk([&](LayerOp layer) {
      layer.walk([&](LinearOp op) {
        if (isa<RankedTensorType>(op.getWeight().getType()))
          quantize(op, group, *mode);
      });
    });
  }
};
} // namespace
