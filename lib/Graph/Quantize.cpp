// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-quantize: post-training quantisation of a float checkpoint. Every float
// linear inside a decoder layer becomes one of the scheme asked for; embedding,
// head and norms keep their type. Weights are not touched here: the
// tbq.quantize op says what is made of them when they are written.

#include "tbq/Passes.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_QUANTIZEPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static void quantize(LinearOp op, Scheme scheme, int64_t group,
                     Activations activations) {
  auto weight = cast<RankedTensorType>(op.getWeight().getType());
  int64_t rows = weight.getDimSize(0), columns = weight.getDimSize(1);
  if (group == 0 || group > columns)
    group = columns;
  OpBuilder b(op);
  auto digits = DigitsType::get(op.getContext(), rows, columns, scheme);
  auto coefficients = RankedTensorType::get(
      {rows, (columns + group - 1) / group}, b.getF16Type());
  auto quantized = QuantizeOp::create(b, op.getWeight().getLoc(), digits,
                                      TypeRange{coefficients, coefficients},
                                      op.getWeight(), scheme, group);
  op.getWeightMutable().assign(quantized.getDigits());
  if (scheme == Scheme::DualBinary) {
    op.getScaleMutable().assign(quantized.getCoefficients());
  } else {
    op.getScaleMutable().assign(quantized.getCoefficients()[0]);
    op.getShiftMutable().assign(quantized.getCoefficients()[1]);
  }
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
    std::optional<Scheme> kind = symbolizeScheme(scheme);
    if (!kind || *kind == Scheme::SalientMask) {
      getOperation()->emitError("unknown scheme '") << scheme << "'";
      return signalPassFailure();
    }
    getOperation()->walk([&](LayerOp layer) {
      layer.walk([&](LinearOp op) {
        if (isa<RankedTensorType>(op.getWeight().getType()))
          quantize(op, *kind, group, *mode);
      });
    });
  }
};
} // namespace
