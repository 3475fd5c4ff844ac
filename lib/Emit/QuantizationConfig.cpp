// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From a policy to the "quantization_config" that says the same. A policy's
// first matching rule wins, while patterns of a config must agree; so the
// config's patterns are made from the linears' names: one for each kind of
// linear (the name but for its layer's number) that has a scheme of its own.

#include "tbq/SaveQuantized.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

#include <map>
#include <nlohmann/json.hpp>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Result;

/// What readers take (lib/Import/Readers/QuantizationConfig.cpp).
static constexpr size_t kMostPatterns = 256, kMostPatternBytes = 1000;

/// A linear's scheme as a config says it.
static nlohmann::json describeScheme(const QuantizeSpec &spec) {
  nlohmann::json scheme;
  const bool dual = *spec.scheme == Scheme::DualBinary;
  scheme["scheme"] = dual ? "dual-binary" : stringifyScheme(*spec.scheme).str();
  scheme["group_size"] =
      spec.group ? nlohmann::json(spec.group) : nlohmann::json("row");
  scheme["shift"] = !dual; // quantised in closed form, others have one
  return scheme;
}

/// "model.layers.12.mlp.up_proj" is number 12 of "model.layers.",
/// ".mlp.up_proj".
static std::tuple<std::string, std::string, std::string>
splitNumber(StringRef name) {
  SmallVector<StringRef> parts;
  name.split(parts, '.');
  auto *number = llvm::find_if(
      parts, [](StringRef part) { return llvm::all_of(part, llvm::isDigit); });
  if (number == parts.end())
    return {name.str(), "", ""};
  const size_t begin = number->data() - name.data();
  return {name.take_front(begin).str(), number->str(),
          name.drop_front(begin + number->size()).str()};
}

static std::string quote(StringRef text) {
  std::string pattern;
  for (char c : text) {
    if (!llvm::isAlnum(c) && c != '_')
      pattern += '\\';
    pattern += c;
  }
  return pattern;
}

namespace {
/// Linears of one kind and scheme.
struct Kind {
  std::string before, after;
  nlohmann::json scheme;
  std::vector<std::string> numbers;

  std::string getPattern() const {
    if (numbers.size() == 1)
      return quote(before + numbers[0] + after);
    return quote(before) + "(" + llvm::join(numbers, "|") + ")" + quote(after);
  }
};
} // namespace

/// The scheme that most linears have.
static nlohmann::json findCommon(ArrayRef<Kind> kinds) {
  std::map<std::string, size_t> counts;
  for (const Kind &kind : kinds)
    counts[kind.scheme.dump()] += kind.numbers.size();
  auto most = llvm::max_element(
      counts, [](const auto &a, const auto &b) { return a.second < b.second; });
  return nlohmann::json::parse(most->first);
}

Result<std::string>
mlir::tbq::describeQuantization(llvm::ArrayRef<std::string> names,
                                const SaveOptions &options) {
  std::vector<Kind> kinds;
  std::vector<std::string> floats;
  for (const std::string &name : names) {
    const auto rule = llvm::find_if(
        options.policy, [&](const PolicyRule &r) { return r.matches(name); });
    if (rule == options.policy.end() || !rule->spec.scheme) {
      floats.push_back(name);
      continue;
    }
    const nlohmann::json scheme = describeScheme(rule->spec);
    auto [before, number, after] = splitNumber(name);
    auto kind = llvm::find_if(kinds, [&, &b = before, &a = after](Kind &k) {
      return k.before == b && k.after == a && k.scheme == scheme;
    });
    if (kind == kinds.end())
      kind = kinds.insert(kinds.end(), {before, after, scheme, {}});
    kind->numbers.push_back(number);
  }
  nlohmann::json config;
  if (!kinds.empty())
    config = findCommon(kinds);
  else // a config must name one, though no linear has it
    config = describeScheme({Scheme::Ternary, 0});
  nlohmann::json layers = nlohmann::json::object();
  for (const Kind &kind : kinds)
    if (kind.scheme != config) {
      const std::string pattern = kind.getPattern();
      if (pattern.size() > kMostPatternBytes || layers.size() == kMostPatterns)
        return makeError(options.directory, "quantization_config.layers",
                         "the policy is too varied for a config: " +
                             std::to_string(kinds.size()) +
                             " kinds of linears and schemes");
      layers[pattern] = kind.scheme;
    }
  config["quant_method"] = "tbq";
  config["activations"] = options.activations;
  config["layers"] = layers;
  config["modules_to_not_convert"] = floats;
  if (options.embedding.scheme)
    config["embedding"] = {
        {"bits", *options.embedding.scheme == Scheme::Int8 ? 8 : 4},
        {"group_size", options.embedding.group
                           ? nlohmann::json(options.embedding.group)
                           : nlohmann::json("row")}};
  return config.dump();
}
