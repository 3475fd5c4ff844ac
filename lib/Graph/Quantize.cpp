// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-quantize: post-training quantisation of a float checkpoint. Each float
// linear inside a decoder layer becomes what the first rule that matches its
// name says; what no rule matches stays float, as do embedding, head and norms
// keep their type. Weights are not touched here: the tbq.quantize op says what
// is made of them when they are written.

#include "tbq/Passes.h"
#include "tbq/QuantizeSpec.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_QUANTIZEPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static void quantize(LinearOp op, const QuantizeSpec &spec,
                     Activations activations) {
  int64_t columns =
      cast<RankedTensorType>(op.getWeight().getType()).getDimSize(1);
  int64_t group = spec.group == 0 ? columns : std::min(spec.group, columns);
  OpBuilder b(op);
  auto quantized =
      QuantizeOp::create(b, op.getWeight().getLoc(), op.getWeight(),
                         *spec.scheme, group, spec.salient);
  op.getWeightMutable().assign(quantized.getDigits());
  if (*spec.scheme == Scheme::DualBinary) {
    op.getScaleMutable().assign(quantized.getCoefficients());
  } else {
    op.getScaleMutable().assign(quantized.getCoefficients()[0]);
    op.getShiftMutable().assign(quantized.getCoefficients()[1]);
  }
  op.getSalientMutable().assign(quantized.getSalient());
  op.setGroup(group);
  op.setActivations(activations);
}

namespace {
struct QuantizePass : tbq::impl::QuantizePassBase<QuantizePass> {
  using QuantizePassBase::QuantizePassBase;

  LogicalResult initialize(MLIRContext *context) override {
    policy.clear();
    SmallVector<std::string> texts;
    for (const std::string &rule : rules) {
      // The option is a list: the comma of a spec has cut it in two.
      if (StringRef(rule).starts_with("salient=") && !texts.empty())
        texts.back() += "," + rule;
      else
        texts.push_back(rule);
    }
    for (const std::string &rule : texts) {
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
      if (name.empty() || rule == policy.end() || !rule->spec.scheme)
        return;
      quantize(op, rule->spec, *mode);
    });
  }

  SmallVector<PolicyRule> policy;
};
} // namespace
