// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reading of specs and rules, and which linears they speak of.

#include "tbq/QuantizeSpec.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Regex.h"

using namespace mlir;
using namespace mlir::tbq;

FailureOr<QuantizeSpec> mlir::tbq::parseQuantizeSpec(StringRef spec,
                                                     std::string &error) {
  if (spec == "float")
    return QuantizeSpec();
  auto [name, group] = spec.split(':');
  auto scheme = llvm::StringSwitch<std::optional<Scheme>>(name)
                    .Case("ternary", Scheme::Ternary)
                    .Case("binary", Scheme::Binary)
                    .Case("dual-binary", Scheme::DualBinary)
                    .Default(std::nullopt);
  if (!scheme) {
    error = ("unknown scheme '" + name +
             "' (supported: ternary, binary, dual-binary)")
                .str();
    return failure();
  }
  if (group == "row")
    return QuantizeSpec{scheme, 0};
  // Groups end with a step of the layout, which is wider for narrower digits.
  int64_t multiple = *scheme == Scheme::Ternary ? 16 : 32, columns = 0;
  if (!group.consume_front("g") || group.getAsInteger(10, columns) ||
      columns < multiple || columns % multiple != 0) {
    error = ("'" + spec + "': expected " + name + ":row or " + name +
             ":gN with N a multiple of " + Twine(multiple))
                .str();
    return failure();
  }
  return QuantizeSpec{scheme, columns};
}

static llvm::Regex compilePattern(StringRef pattern) {
  return llvm::Regex(("^(" + pattern + ")$").str());
}

bool PolicyRule::matches(StringRef name) const {
  return compilePattern(pattern).match(name);
}

FailureOr<PolicyRule> mlir::tbq::parsePolicyRule(StringRef rule,
                                                 std::string &error) {
  auto [pattern, text] = rule.rsplit('=');
  FailureOr<QuantizeSpec> spec = parseQuantizeSpec(text, error);
  if (failed(spec))
    return failure();
  std::string reason;
  if (!compilePattern(pattern).isValid(reason)) {
    error = ("'" + pattern + "': " + reason).str();
    return failure();
  }
  return PolicyRule{rule.str(), pattern.str(), *spec};
}

StringRef mlir::tbq::getQuantizableName(LinearOp op) {
  auto weight = op.getWeight().getDefiningOp<WeightOp>();
  if (!weight || !isa<RankedTensorType>(weight.getType()) ||
      !op->getParentOfType<LayerOp>())
    return "";
  StringRef name = weight.getName();
  name.consume_back(".weight");
  return name;
}

std::string mlir::tbq::findUnmatchedPattern(Operation *module,
                                            llvm::ArrayRef<PolicyRule> policy) {
  SmallVector<StringRef> names;
  module->walk([&](LinearOp op) { names.push_back(getQuantizableName(op)); });
  for (const PolicyRule &rule : policy)
    if (llvm::none_of(names, [&](StringRef name) {
          return !name.empty() && rule.matches(name);
        }))
      return rule.pattern;
  return "";
}
