// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reading of specs and rules, and which linears they speak of.

#include "tbq/QuantizeSpec.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Regex.h"

using namespace mlir;
using namespace mlir::tbq;

/// Reads "salient=R" of a binary spec.
static FailureOr<double> parseSalient(StringRef spec, StringRef text,
                                      std::string &error) {
  double fraction = 0;
  if (spec.starts_with("binary:") && text.consume_front("salient=") &&
      !text.getAsDouble(fraction) && fraction > 0 && fraction <= 0.5)
    return fraction;
  error =
      ("'" + spec + "': only binary has a second part: salient=R, 0 < R <= 0.5")
          .str();
  return failure();
}

FailureOr<QuantizeSpec> mlir::tbq::parseQuantizeSpec(StringRef spec,
                                                     std::string &error) {
  if (spec == "float")
    return QuantizeSpec();
  auto [name, parts] = spec.split(':');
  auto [group, second] = parts.split(',');
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
  double salient = 0;
  if (parts.contains(',')) {
    FailureOr<double> fraction = parseSalient(spec, second, error);
    if (failed(fraction))
      return failure();
    salient = *fraction;
  }
  if (group == "row")
    return QuantizeSpec{scheme, 0, salient};
  // Groups end with a step of the layout, which is wider for narrower digits.
  int64_t multiple = *scheme == Scheme::Ternary ? 16 : 32, columns = 0;
  if (!group.consume_front("g") || group.getAsInteger(10, columns) ||
      columns < multiple || columns % multiple != 0) {
    error = ("'" + spec + "': expected " + name + ":row or " + name +
             ":gN with N a multiple of " + Twine(multiple))
                .str();
    return failure();
  }
  return QuantizeSpec{scheme, columns, salient};
}

static llvm::Regex compilePattern(StringRef pattern) {
  return llvm::Regex(("^(" + pattern + ")$").str());
}

bool PolicyRule::matches(StringRef name) const {
  return compilePattern(pattern).match(name);
}

FailureOr<PolicyRule> mlir::tbq::parsePolicyRule(StringRef rule,
                                                 std::string &error) {
  // The last '=' but that of "salient=": a pattern may have some.
  auto [pattern, text] = rule.split(",salient=").first.rsplit('=');
  text = rule.drop_front(std::min(rule.size(), pattern.size() + 1));
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
