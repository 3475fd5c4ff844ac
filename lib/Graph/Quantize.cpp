// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-quantize: post-training quantisation of a float checkpoint. Each float
// linear inside a decoder layer becomes what the first rule that matches its
// name says, embedding and head what their own spec says; what none speaks of
// stays float. Weights are not touched here: the tbq.quantize op says what is
// made of them when they are written.

#include "tbq/Passes.h"
#include "tbq/QuantizeSpec.h"

#include "mlir/IR/Remarks.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_QUANTIZEPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static QuantizeOp createQuantize(OpBuilder &b, Value weight,
                                 const QuantizeSpec &spec) {
  int64_t columns = cast<RankedTensorType>(weight.getType()).getDimSize(1);
  int64_t group = spec.group == 0 ? columns : std::min(spec.group, columns);
  return QuantizeOp::create(b, weight.getLoc(), weight, *spec.scheme, group,
                            spec.salient);
}

static void useQuantized(LinearOp op, QuantizeOp quantized,
                         Activations activations) {
  op.getWeightMutable().assign(quantized.getDigits());
  ValueRange coefficients = quantized.getCoefficients();
  bool hasShift = quantized.getScheme() == Scheme::Ternary ||
                  quantized.getScheme() == Scheme::Binary;
  op.getScaleMutable().assign(coefficients.drop_back(hasShift));
  if (hasShift)
    op.getShiftMutable().assign(coefficients.back());
  op.getSalientMutable().assign(quantized.getSalient());
  op.setGroup(quantized.getGroup());
  op.setActivations(activations);
}

/// The float weight of the embedding or of the head, which is the linear that
/// makes the logits; else null.
static Value getTableOrHead(Operation *op) {
  Value weight;
  if (auto embedding = dyn_cast<EmbeddingOp>(op))
    weight = embedding.getTable();
  else if (auto linear = dyn_cast<LinearOp>(op);
           linear &&
           llvm::any_of(op->getUsers(), llvm::IsaPred<func::ReturnOp>))
    weight = linear.getWeight();
  return weight && weight.getDefiningOp<WeightOp>() &&
                 isa<RankedTensorType>(weight.getType())
             ? weight
             : Value();
}

/// A weight that both use is quantised once.
static LogicalResult quantizeEmbedding(Operation *root,
                                       const QuantizeSpec &spec,
                                       Activations activations) {
  DenseMap<Value, QuantizeOp> made;
  root->walk([&](Operation *op) {
    Value weight = getTableOrHead(op);
    if (!weight)
      return;
    QuantizeOp &quantized = made[weight];
    if (!quantized) {
      OpBuilder b(op->getContext());
      b.setInsertionPointAfterValue(weight);
      quantized = createQuantize(b, weight, spec);
    }
    if (auto linear = dyn_cast<LinearOp>(op)) {
      useQuantized(linear, quantized, activations);
      return;
    }
    auto embedding = cast<EmbeddingOp>(op);
    embedding.getTableMutable().assign(quantized.getDigits());
    embedding.getScaleMutable().assign(quantized.getCoefficients());
    embedding.setGroup(quantized.getGroup());
  });
  if (made.empty())
    return root->emitError("no float embedding to quantise");
  return success();
}

namespace {
struct QuantizePass : mlir::tbq::impl::QuantizePassBase<QuantizePass> {
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
    std::string error;
    FailureOr<QuantizeSpec> parsed = parseEmbeddingSpec(embedding, error);
    if (failed(parsed))
      return emitError(UnknownLoc::get(context))
             << "tbq-quantize: embedding: " << error;
    embeddingSpec = *parsed;
    return success();
  }

  void runOnOperation() override {
    std::optional<Activations> mode = symbolizeActivations(activations);
    if (!mode) {
      getOperation()->emitError("unknown activations '") << activations << "'";
      return signalPassFailure();
    }
    if (::tbq::Status checked = checkPolicy(getOperation(), policy); !checked) {
      getOperation()->emitError() << checked.error().message;
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
      OpBuilder b(op);
      useQuantized(op, createQuantize(b, op.getWeight(), rule->spec), *mode);
      remark::passed(op.getLoc(), remarkOptions())
          << "quantised: rule '" << rule->text << "'";
    });
    if (embeddingSpec.scheme &&
        failed(quantizeEmbedding(getOperation(), embeddingSpec, *mode)))
      signalPassFailure();
  }

  static remark::RemarkOpts remarkOptions() {
    return remark::RemarkOpts::name("quantize").category("graph");
  }

  SmallVector<PolicyRule> policy;
  QuantizeSpec embeddingSpec;
};
} // namespace
