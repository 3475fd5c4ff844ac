// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reading of specs and rules, and which linears they speak of.

#include "tbq/QuantizeSpec.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/Twine.h"

using namespace mlir;
using namespace mlir::tbq;

/// Reads "salient=R" of a binary spec; 0 is the same as none of it.
static FailureOr<double> parseSalient(StringRef spec, StringRef text,
                                      std::string &error) {
  double fraction = 0;
  if (spec.starts_with("binary:") && text.consume_front("salient=") &&
      !text.getAsDouble(fraction) && fraction >= 0 && fraction <= 0.5)
    return fraction;
  error = ("'" + spec +
           "': only binary has a second part: salient=R, 0 <= R <= 0.5")
              .str();
  return failure();
}

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
  auto [name, parts] = spec.split(':');
  auto [group, second] = parts.split(',');
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
  double salient = 0;
  if (parts.contains(',')) {
    FailureOr<double> fraction = parseSalient(spec, second, error);
    if (failed(fraction))
      return failure();
    salient = *fraction;
  }
  if (group == "row")
    return QuantizeSpec{found->scheme, 0, salient};
  int64_t multiple = found->groupMultiple, columns = 0;
  if (!group.consume_front("g") || group.getAsInteger(10, columns) ||
      columns < multiple || columns % multiple != 0) {
    error = ("'" + spec + "': expected " + name + ":row or " + name +
             ":gN with N a multiple of " + Twine(multiple))
                .str();
    return failure();
  }
  return QuantizeSpec{found->scheme, columns, salient};
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

bool PolicyRule::matches(StringRef name) const {
  ::tbq::Result<bool> found = matcher->matches(name.str());
  return found && *found;
}

FailureOr<PolicyRule> mlir::tbq::parsePolicyRule(StringRef rule,
                                                 std::string &error) {
  // The last '=' but that of "salient=": a pattern may have some.
  auto [pattern, text] = rule.split(",salient=").first.rsplit('=');
  text = rule.drop_front(std::min(rule.size(), pattern.size() + 1));
  FailureOr<QuantizeSpec> spec = parseQuantizeSpec(text, error);
  if (failed(spec))
    return failure();
  auto matcher = ::tbq::NamePattern::compile(pattern.str());
  if (!matcher) {
    error =
        ("'" + pattern.take_front(100) + "': " + matcher.error().message).str();
    return failure();
  }
  return PolicyRule{rule.str(), pattern.str(), *spec, *matcher};
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

::tbq::Status mlir::tbq::checkPolicy(Operation *module,
                                     ArrayRef<PolicyRule> policy) {
  SmallVector<StringRef> names;
  module->walk([&](LinearOp op) { names.push_back(getQuantizableName(op)); });
  for (const PolicyRule &rule : policy) {
    bool used = false;
    for (StringRef name : names) {
      ::tbq::Result<bool> found = rule.matcher->matches(name.str());
      if (!found)
        return ::tbq::makeError("", "'" + rule.pattern + "'",
                                found.error().message);
      used |= !name.empty() && *found;
    }
    if (!used)
      return ::tbq::makeError("", "'" + rule.pattern + "'",
                              "matches no float linear of the decoder layers");
  }
  return ::tbq::Status::ok();
}
