// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reading of specs and rules, and which linears they speak of.

#include "tbq/QuantizeSpec.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"
#include "llvm/Support/Regex.h"

using namespace mlir;
using namespace mlir::tbq;

namespace {
/// A scheme that a spec may name. Groups end with a step of the layout, which
/// is wider for narrower digits.
struct SchemeName {
  StringRef name;
  Scheme scheme;
  int64_t groupMultiple;
};
} // namespace

static FailureOr<QuantizeSpec>
parseSpec(StringRef spec, ArrayRef<SchemeName> known, std::string &error) {
  if (spec == "float")
    return QuantizeSpec();
  auto [name, group] = spec.split(':');
  const SchemeName *found =
      llvm::find_if(known, [name = name](const SchemeName &entry) {
        return entry.name == name;
      });
  if (found == known.end()) {
    auto names = llvm::map_range(
        known, [](const SchemeName &entry) { return entry.name; });
    error = ("unknown scheme '" + name +
             "' (supported: " + llvm::join(names, ", ") + ")")
                .str();
    return failure();
  }
  if (group == "row")
    return QuantizeSpec{found->scheme, 0};
  int64_t multiple = found->groupMultiple, columns = 0;
  if (!group.consume_front("g") || group.getAsInteger(10, columns) ||
      columns < multiple || columns % multiple != 0) {
    error = ("'" + spec + "': expected " + name + ":row or " + name +
             ":gN with N a multiple of " + Twine(multiple))
                .str();
    return failure();
  }
  return QuantizeSpec{found->scheme, columns};
}

FailureOr<QuantizeSpec> mlir::tbq::parseQuantizeSpec(StringRef spec,
                                                     std::string &error) {
  return parseSpec(spec,
                   {{"ternary", Scheme::Ternary, 16},
                    {"binary", Scheme::Binary, 32},
                    {"dual-binary", Scheme::DualBinary, 32}},
                   error);
}

FailureOr<QuantizeSpec> mlir::tbq::parseEmbeddingSpec(StringRef spec,
                                                      std::string &error) {
  return parseSpec(spec, {{"int8", Scheme::Int8, 4}, {"int4", Scheme::Int4, 8}},
                   error);
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
