// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-quantize: post-training quantisation of a float checkpoint. Each float
// linear inside a decoder layer becomes what the first rule that matches its
// name says; what no rule matches stays float, as do embedding, head and norms
// keep their type. Weights are not touched here: the tbq.quantize op says what
// is made of them when they are written.

#include "tbq/Passes.h"
#include "tbq/QuantizeSpec.h"

#include "mlir/IR/Remarks.h"

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

  LogicalResult initialize(MLIRContext *context) override {
    policy.clear();
    for (const std::string &rule : rules) {
      std::string error;
      FailureOr<PolicyRule> parsed = parsePolicyRule(rule, error);
      if (failed(parsed))
        return emitError(UnknownLoc::get(context)) << "tbq-quantize: " << error;
      policy.push_back(std::move(*parsed));
    }
    return success();
  }

  void runOnOperation() override {
    std::optional<Activations> mode = symbolizeActivations(activations);
    if (!mode) {
      getOperation()->emitError("unknown activations '") << activations << "'";
      return signalPassFailure();
    }
    std::string unmatched = findUnmatchedPattern(getOperation(), policy);
    if (!unmatched.empty()) {
      getOperation()->emitError("no linear is called '") << unmatched << "'";
      return signalPassFailure();
    }
    getOperation()->walk([&](LinearOp op) {
      StringRef name = getQuantizableName(op);
      const PolicyRule *rule = llvm::find_if(
          policy, [&](const PolicyRule &rule) { return rule.matches(name); });
      const bool named = !name.empty() && rule != policy.end();
      if (!named || !rule->spec.scheme) {
        if (isa<RankedTensorType>(op.getWeight().getType()))
          remark::missed(op.getLoc(), remarkOptions())
              << "stays float: "
              << (!op->getParentOfType<LayerOp>()
                      ? std::string("it is no part of a decoder layer")
                  : named ? "rule '" + rule->text + "'"
                          : "no rule matches its name");
        return;
      }
      quantize(op, *rule->spec.scheme, rule->spec.group, *mode);
      remark::passed(op.getLoc(), remarkOptions())
          << "quantised: rule '" << rule->text << "'";
    });
  }

  static remark::RemarkOpts remarkOptions() {
    return remark::RemarkOpts::name("quantize").category("graph");
  }

  SmallVector<PolicyRule> policy;
};
} // namespace
