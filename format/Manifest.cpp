// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The manifest as JSON, both ways; each field once in either direction.
// Invariant: fromJson reports the first field that is missing, of the wrong
// type, out of range or in conflict with another, and never a partial Manifest.
#include "format/Manifest.h"

#include "format/CheckedSize.h"
#include "format/ManifestFields.h"
#include "format/Sidecar.h"
#include "format/StepAbi.h"

#include <algorithm>
#include <xxhash.h>

using namespace tbq;
using nlohmann::json;

static constexpr uint64_t manifestSizeLimit = uint64_t(64) << 20;
static constexpr int64_t byteLimit = int64_t(1) << 46;

static std::string hashText(uint64_t hash) {
  const char *digits = "0123456789abcdef";
  std::string text(16, '0');
  for (int i = 15; i >= 0; --i, hash >>= 4)
    text[i] = digits[hash & 15];
  return text;
}

template <class T>
static void put(json &object, const char *key, const std::optional<T> &value) {
  if (value)
    object[key] = *value;
}

static json toJson(const Manifest::Generation &g) {
  json object = json::object();
  object["bos"] = g.bos ? json(*g.bos) : json();
  object["eos"] = g.eos;
  put(object, "pad", g.pad);
  put(object, "temperature", g.temperature);
  put(object, "top_k", g.topK);
  put(object, "top_p", g.topP);
  put(object, "min_p", g.minP);
  put(object, "repetition_penalty", g.repetitionPenalty);
  put(object, "do_sample", g.doSample);
  return object;
}

static json toJson(const Manifest::Weights &w) {
  json hashes = json::array();
  for (uint64_t hash : w.hashes)
    hashes.push_back(hashText(hash));
  json object = {{"bytes", w.bytes},
                 {"hash_block", w.hashBlock},
                 {"hashes", std::move(hashes)},
                 {"sha256", w.sha256}};
  put(object, "sidecar", w.sidecar);
  if (w.shapeOnly)
    object["shape_only"] = true;
  return object;
}

static json toJson(const Manifest::Operation &operation) {
  json values = json::array();
  for (const Manifest::Operation::Value &value : operation.values)
    values.push_back({{"type", value.type},
                      {"columns", value.columns},
                      {"written", value.written}});
  return {{"name", operation.name},
          {"kind", operation.kind},
          {"values", std::move(values)}};
}

/// What only some manifests have.
static void putOptional(json &object, const Manifest &m) {
  put(object["target"], "device", m.target.device);
  for (const Manifest::Target::Cubin &cubin : m.target.cubins)
    object["target"]["cubins"].push_back({{"device", cubin.device},
                                          {"offset", cubin.offset},
                                          {"bytes", cubin.bytes}});
  if (m.steps.batchFrom > 2)
    object["steps"]["batch_from"] = m.steps.batchFrom;
  if (m.graph)
    object["graph"] = {{"quantize", m.graph->quantize},
                       {"policy", m.graph->policy},
                       {"embedding", m.graph->embedding}};
  for (const Manifest::Operation &operation : m.operations)
    object["operations"].push_back(::toJson(operation));
  if (!m.phases.empty())
    object["phases"] = m.phases;
  if (!m.record.is_null())
    object["record"] = m.record;
}

json tbq::toJson(const Manifest &m) {
  json layers = json::array();
  for (const Manifest::Layer &layer : m.layers)
    layers.push_back({{"name", layer.name},
                      {"scheme", layer.scheme},
                      {"shape", {layer.n, layer.k}},
                      {"group", layer.group},
                      {"shift", layer.shift},
                      {"salient", layer.salient},
                      {"bits_per_weight", layer.bitsPerWeight},
                      {"bytes", layer.bytes}});
  json object = {{"abi", m.abi},
                 {"tbq_version", m.tbqVersion},
                 {"llvm_version", m.llvmVersion},
                 {"target",
                  {{"triple", m.target.triple},
                   {"cpu", m.target.cpu},
                   {"features", m.target.features}}},
                 {"model",
                  {{"architecture", m.model.architecture},
                   {"name", m.model.name},
                   {"hidden", m.model.hidden},
                   {"layers", m.model.layers},
                   {"heads", m.model.heads},
                   {"kv_heads", m.model.kvHeads},
                   {"head_dim", m.model.headDim},
                   {"ffn", m.model.ffn},
                   {"vocab", m.model.vocab},
                   {"context", m.model.context}}},
                 {"steps",
                  {{"decode_tokens", m.steps.decodeTokens},
                   {"prefill_tokens", m.steps.prefillTokens},
                   {"batch_tokens", m.steps.batchTokens},
                   {"arena_bytes", m.steps.arenaBytes},
                   {"cache_bytes", m.steps.cacheBytes},
                   {"logits_stride", m.steps.logitsStride},
                   {"summarizes_logits", m.steps.summarizesLogits}}},
                 {"activations", m.activations},
                 {"kv_cache", m.kvCache},
                 {"weights", ::toJson(m.weights)},
                 {"layers", std::move(layers)},
                 {"generation", ::toJson(m.generation)},
                 {"chat", m.chat},
                 {"bytes_per_token", m.bytesPerToken}};
  putOptional(object, m);
  return object;
}

std::string tbq::manifestText(const Manifest &manifest) {
  // A name that is not UTF-8 must not make dump() throw.
  return toJson(manifest).dump(1, ' ', false, json::error_handler_t::replace);
}

static Manifest::Target readTarget(Fields f) {
  Manifest::Target target;
  target.triple = f.string("triple");
  target.cpu = f.string("cpu");
  target.features = f.strings("features");
  if (f.has("device"))
    target.device = f.string("device");
  if (f.has("cubins"))
    f.forEach("cubins", [&](Fields cubin) {
      target.cubins.push_back(
          {cubin.string("device"),
           static_cast<uint64_t>(cubin.integer("offset", 1, byteLimit)),
           static_cast<uint64_t>(cubin.integer("bytes", 1, byteLimit))});
    });
  return target;
}

static Manifest::Model readModel(Fields f) {
  constexpr int64_t dimension = int64_t(1) << 24;
  Manifest::Model model;
  model.architecture = f.string("architecture");
  model.name = f.string("name");
  model.hidden = f.integer("hidden", 1, dimension);
  model.layers = f.integer("layers", 1, 65536);
  model.heads = f.integer("heads", 1, 65536);
  model.kvHeads = f.integer("kv_heads", 1, 65536);
  model.headDim = f.integer("head_dim", 1, 65536);
  model.ffn = f.integer("ffn", 1, dimension);
  model.vocab = f.integer("vocab", 1, dimension);
  model.context = f.integer("context", 1, dimension);
  if (f.good() && model.heads % model.kvHeads)
    f.refuse("kv_heads", "must divide heads " + std::to_string(model.heads) +
                             " (got " + std::to_string(model.kvHeads) + ")");
  return model;
}

static Manifest::Steps readSteps(Fields f, const Manifest::Model &model) {
  Manifest::Steps steps;
  steps.decodeTokens = f.integer("decode_tokens", 1, 65536);
  steps.prefillTokens = f.integer("prefill_tokens", 1, 65536);
  steps.batchTokens = f.integer("batch_tokens", 1, kMostSequences);
  if (f.has("batch_from"))
    steps.batchFrom = f.integer("batch_from", 2, kMostSequences);
  steps.arenaBytes = f.integer("arena_bytes", 0, byteLimit);
  steps.cacheBytes = f.integer("cache_bytes", 0, byteLimit);
  steps.summarizesLogits = f.boolean("summarizes_logits");
  int64_t columns = model.vocab;
  if (steps.summarizesLogits) {
    int64_t groups = (columns + TBQ_LOGITS_GROUP - 1) / TBQ_LOGITS_GROUP;
    columns = groups * TBQ_LOGITS_GROUP + groups;
  }
  steps.logitsStride = f.integer("logits_stride", columns, int64_t(1) << 25);
  return steps;
}

static uint64_t parseHash(Fields &f, const json &value) {
  uint64_t hash = 0;
  std::string text = value.is_string() ? value.get<std::string>() : "";
  for (char c : text) {
    bool digit = c >= '0' && c <= '9';
    if (text.size() != 16 || (!digit && (c < 'a' || c > 'f')))
      text.clear();
    hash = hash << 4 | static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  if (text.empty())
    f.refuse("hashes", "must hold only 16 hexadecimal digits (got " +
                           describeJson(value) + ")");
  return hash;
}

static Manifest::Weights readWeights(Fields f) {
  Manifest::Weights weights;
  weights.bytes = f.integer("bytes", 0, byteLimit);
  weights.hashBlock = f.integer("hash_block", 4096, int64_t(1) << 30);
  weights.sha256 = f.string("sha256");
  if (f.good() && (weights.sha256.size() != 64 ||
                   weights.sha256.find_first_not_of("0123456789abcdef") !=
                       std::string::npos))
    f.refuse("sha256", "must be 64 hexadecimal digits");
  if (f.has("sidecar")) {
    weights.sidecar = f.string("sidecar");
    if (f.good() && !isSidecarName(*weights.sidecar))
      f.refuse("sidecar",
               "must be a plain file name (got \"" + *weights.sidecar + "\")");
  }
  if (f.has("shape_only"))
    weights.shapeOnly = f.boolean("shape_only");
  if (f.good() && weights.shapeOnly && weights.sidecar)
    f.refuse("shape_only", "must be false where there is a sidecar");
  const json *hashes = f.array("hashes");
  if (!f.good())
    return weights;
  uint64_t blocks =
      weights.shapeOnly ? 0 : *checkedCeilDiv(weights.bytes, weights.hashBlock);
  if (hashes->size() != blocks)
    f.refuse("hashes", "must have " + std::to_string(blocks) + " (got " +
                           std::to_string(hashes->size()) + ")");
  for (const json &hash : *hashes)
    weights.hashes.push_back(parseHash(f, hash));
  return weights;
}

static bool isIntegerIn(const json &value, int64_t minimum, int64_t maximum) {
  return value.is_number_integer() && value >= minimum && value <= maximum;
}

static Manifest::Layer readLayer(Fields f) {
  Manifest::Layer layer;
  layer.name = f.string("name");
  layer.scheme = f.oneOf(
      "scheme", {"float", "ternary", "binary", "dual-binary", "int8", "int4"});
  const json *shape = f.array("shape");
  if (shape && shape->size() == 2 &&
      isIntegerIn((*shape)[0], 1, int64_t(1) << 32) &&
      isIntegerIn((*shape)[1], 1, int64_t(1) << 32)) {
    layer.n = (*shape)[0].get<int64_t>();
    layer.k = (*shape)[1].get<int64_t>();
  } else if (shape) {
    f.refuse("shape", "must be two sizes (got " + shape->dump() + ")");
  }
  layer.group = f.integer("group", 0, int64_t(1) << 32);
  layer.shift = f.boolean("shift");
  layer.salient = f.integer("salient", 0, layer.n * layer.k);
  // A row of one weight has its coefficients to itself.
  layer.bitsPerWeight = f.number("bits_per_weight", 0, 1024);
  layer.bytes = f.integer("bytes", 0, byteLimit);
  return layer;
}

static Manifest::Generation readGeneration(Fields f, int64_t vocab) {
  Manifest::Generation g;
  f.maybeInteger("bos", g.bos, 0, vocab - 1);
  f.maybeInteger("pad", g.pad, 0, vocab - 1);
  if (const json *eos = f.array("eos"))
    for (const json &id : *eos) {
      if (!isIntegerIn(id, 0, vocab - 1)) {
        f.refuse("eos", "must hold token ids below " + std::to_string(vocab) +
                            " (got " + describeJson(id) + ")");
        break;
      }
      g.eos.push_back(id.get<int32_t>());
    }
  f.maybeNumber("temperature", g.temperature, 0, 1e6);
  f.maybeInteger("top_k", g.topK, 0, int64_t(1) << 31);
  f.maybeNumber("top_p", g.topP, 0, 1);
  f.maybeNumber("min_p", g.minP, 0, 1);
  f.maybeNumber("repetition_penalty", g.repetitionPenalty, 1e-6, 1e6);
  if (f.has("do_sample"))
    g.doSample = f.boolean("do_sample");
  return g;
}

static Manifest::Graph readGraph(Fields f) {
  Manifest::Graph graph;
  graph.quantize = f.string("quantize");
  graph.policy = f.strings("policy");
  graph.embedding = f.string("embedding");
  return graph;
}

static Manifest::Operation::Value readValue(Fields f) {
  Manifest::Operation::Value value;
  value.type = f.oneOf("type", {"f32", "i8", "i32", "cache"});
  value.columns = f.integer("columns", 1, byteLimit);
  value.written = f.boolean("written");
  return value;
}

static Manifest::Operation readOperation(Fields f) {
  Manifest::Operation operation;
  operation.name = f.string("name");
  operation.kind = f.string("kind");
  f.forEach("values", [&](Fields value) {
    operation.values.push_back(readValue(std::move(value)));
  });
  return operation;
}

Result<Manifest> tbq::fromJson(const json &value, const std::string &file) {
  Result<JsonObject> root = JsonObject::from(value, file, "manifest");
  if (!root)
    return root.error();
  std::optional<Error> failure;
  Fields f(std::move(*root), failure);
  Manifest m;
  m.abi = static_cast<uint32_t>(f.integer("abi", 1, INT32_MAX));
  m.tbqVersion = f.string("tbq_version");
  m.llvmVersion = f.string("llvm_version");
  m.target = readTarget(f.inside("target"));
  m.model = readModel(f.inside("model"));
  m.steps = readSteps(f.inside("steps"), m.model);
  m.activations = f.oneOf("activations", {"f32", "i16", "i8"});
  m.kvCache = f.oneOf("kv_cache", {"f32", "f16"});
  m.weights = readWeights(f.inside("weights"));
  f.forEach("layers", [&](Fields layer) {
    m.layers.push_back(readLayer(std::move(layer)));
  });
  if (f.has("graph"))
    m.graph = readGraph(f.inside("graph"));
  if (f.has("operations"))
    f.forEach("operations", [&](Fields operation) {
      m.operations.push_back(readOperation(std::move(operation)));
    });
  if (f.has("phases"))
    m.phases = f.strings("phases");
  m.generation = readGeneration(f.inside("generation"), m.model.vocab);
  if (f.has("chat"))
    m.chat = value["chat"];
  if (!m.chat.is_null() && !m.chat.is_object())
    f.refuse("chat", "must be an object or null");
  if (f.has("record"))
    m.record = value["record"];
  if (!m.record.is_null() && !m.record.is_object())
    f.refuse("record", "must be an object or null");
  m.bytesPerToken = f.integer("bytes_per_token", 0, byteLimit);
  if (failure)
    return *failure;
  return m;
}

Result<Manifest> tbq::parseManifest(std::string_view text,
                                    const std::string &file) {
  Result<json> value = parseJson(text, file, manifestSizeLimit);
  if (!value)
    return value.error();
  return fromJson(*value, file);
}

std::vector<uint64_t> tbq::hashWeightBlocks(const uint8_t *data, uint64_t size,
                                            uint64_t block) {
  std::vector<uint64_t> hashes;
  for (uint64_t at = 0; at < size; at += block)
    hashes.push_back(XXH64(data + at, std::min(block, size - at), 0));
  return hashes;
}
