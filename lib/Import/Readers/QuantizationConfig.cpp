// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json's quantization_config, quant_method "tbq".
// Input: the parsed config; output: QuantizationConfig, or nothing.
// Invariant: other quantisation methods, schemes and unknown fields are
// refused by name; every scheme has the group size and shift it needs.
#include "Config.h"

#include "format/NamePattern.h"

#include <algorithm>

using namespace tbq;

static constexpr int64_t groupLimit = 1 << 24;
static constexpr size_t overrideLimit = 256;
static constexpr size_t moduleLimit = 8192;

static constexpr struct {
  Scheme scheme;
  const char *name;
  bool isOfLinears;
} schemes[] = {{Scheme::Ternary, "ternary", true},
               {Scheme::Binary, "binary", true},
               {Scheme::DualBinary, "dual-binary", true},
               {Scheme::Int8, "int8", false},
               {Scheme::Int4, "int4", false}};

const char *tbq::schemeName(Scheme scheme) {
  for (const auto &entry : schemes)
    if (entry.scheme == scheme)
      return entry.name;
  return "";
}

int64_t LinearScheme::groupsPerRow(int64_t columns) const {
  return groupSize == 0 ? 1 : (columns - 1) / groupSize + 1;
}

static Status checkKeys(const JsonObject &object,
                        std::initializer_list<const char *> known) {
  for (const auto &[key, unused] : object.raw().items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      return object.error(key, "unknown field");
  return Status::ok();
}

/// A count of elements, or "row", which is 0 here.
static Result<int64_t> readGroupSize(const JsonObject &object) {
  const nlohmann::json *field = object.find("group_size");
  if (field && *field == "row")
    return 0;
  auto size = object.integer("group_size", 1, groupLimit);
  if (!size)
    return object.unexpected("group_size", "\"row\" or an integer in [1, " +
                                               std::to_string(groupLimit) +
                                               "]");
  return *size;
}

static Result<Scheme> readScheme(const JsonObject &object) {
  auto name = object.string("scheme");
  if (!name)
    return name.error();
  for (const auto &entry : schemes)
    if (entry.isOfLinears && *name == entry.name)
      return entry.scheme;
  return object.error("scheme",
                      "unsupported scheme '" + *name +
                          "' (supported: ternary, binary, dual-binary)");
}

/// Fields that are absent are taken from `base`, and required without one.
static Result<LinearScheme> readLinearScheme(const JsonObject &object,
                                             const LinearScheme *base) {
  LinearScheme result = base ? *base : LinearScheme();
  FieldReader fields;
  if (!base || object.has("scheme"))
    fields.set(result.scheme, readScheme(object));
  if (!base || object.has("group_size"))
    fields.set(result.groupSize, readGroupSize(object));
  const bool dual = result.scheme == Scheme::DualBinary;
  if (object.has("shift") || (!base && !dual))
    fields.set(result.shift, object.boolean("shift"));
  else if (dual)
    result.shift = false; // an override that changes the scheme
  if (Status status = fields.status(); !status)
    return status.error();
  if (dual && result.shift)
    return object.error("shift", "dual-binary has no shift (got true)");
  return result;
}

static Status readOverrides(const JsonObject &object,
                            QuantizationConfig &result) {
  if (!object.has("layers"))
    return Status::ok();
  auto layers = object.object("layers");
  if (!layers)
    return layers.error();
  if (layers->raw().size() > overrideLimit)
    return object.error("layers", "has " +
                                      std::to_string(layers->raw().size()) +
                                      " patterns, more than the limit of " +
                                      std::to_string(overrideLimit));
  for (const auto &[pattern, unused] : layers->raw().items()) {
    auto fields = layers->object(pattern);
    if (!fields)
      return fields.error();
    if (Status status = checkKeys(*fields, {"scheme", "group_size", "shift"});
        !status)
      return status;
    auto scheme = readLinearScheme(*fields, &result.scheme);
    if (!scheme)
      return scheme.error();
    auto matcher = NamePattern::compile(pattern);
    if (!matcher)
      return layers->error(pattern, matcher.error().message);
    result.overrides.push_back({pattern, *scheme, *matcher});
  }
  return Status::ok();
}

static Status readModules(const JsonObject &object,
                          QuantizationConfig &result) {
  if (!object.has("modules_to_not_convert"))
    return Status::ok();
  auto modules = object.strings("modules_to_not_convert");
  if (!modules)
    return modules.error();
  if (modules->size() > moduleLimit)
    return object.unexpected("modules_to_not_convert",
                             "at most " + std::to_string(moduleLimit) +
                                 " names");
  for (const std::string &module : *modules)
    if (module.empty())
      return object.error("modules_to_not_convert", "holds an empty name");
  result.modulesToNotConvert = *std::move(modules);
  return Status::ok();
}

static Status readEmbedding(const JsonObject &object,
                            QuantizationConfig &result) {
  if (!object.has("embedding"))
    return Status::ok();
  auto embedding = object.object("embedding");
  if (!embedding)
    return embedding.error();
  if (Status status = checkKeys(*embedding, {"bits", "group_size"}); !status)
    return status;
  EmbeddingQuantization quantization;
  FieldReader fields;
  fields.set(quantization.bits, embedding->integer("bits", 4, 8));
  fields.set(quantization.groupSize, readGroupSize(*embedding));
  if (Status status = fields.status(); !status)
    return status;
  if (quantization.bits != 4 && quantization.bits != 8)
    return embedding->unexpected("bits", "8 or 4");
  result.embedding = quantization;
  return Status::ok();
}

static Status readActivations(const JsonObject &object,
                              QuantizationConfig &result) {
  if (!object.has("activations"))
    return Status::ok();
  auto name = object.string("activations");
  if (!name)
    return name.error();
  if (*name != "f32" && *name != "i16" && *name != "i8")
    return object.unexpected("activations", "f32, i16 or i8");
  result.activations = *name;
  return Status::ok();
}

Result<std::optional<QuantizationConfig>>
tbq::readQuantizationConfig(const JsonObject &config) {
  if (!config.has("quantization_config"))
    return std::optional<QuantizationConfig>();
  auto object = config.object("quantization_config");
  if (!object)
    return object.error();
  auto method = object->string("quant_method");
  if (!method)
    return method.error();
  if (*method != "tbq")
    return object->error("quant_method", "unsupported quantization method '" +
                                             *method + "' (supported: tbq)");
  Status status = checkKeys(*object, {"quant_method", "scheme", "group_size",
                                      "shift", "activations", "layers",
                                      "modules_to_not_convert", "embedding"});
  if (!status)
    return status.error();
  auto scheme = readLinearScheme(*object, nullptr);
  if (!scheme)
    return scheme.error();
  QuantizationConfig result;
  result.scheme = *scheme;
  for (auto read : {readActivations, readOverrides, readModules, readEmbedding})
    if (status = read(*object, result); !status)
      return status.error();
  return std::optional(std::move(result));
}
