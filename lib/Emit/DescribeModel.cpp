// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Input: a module after the cpu stage and the recipe of its weights. Output:
// the manifest, but for what only the checkpoint or the written weights say.
// Invariant: every number comes from an attribute or a layout; a missing one
// is an error.

#include "tbq/Emit.h"

#include "format/StepAbi.h"
#include "tbq/IR/Tbq.h"
#include "tbq/Version.h"

#include "llvm/Config/llvm-config.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Manifest;
using ::tbq::Result;

namespace {
/// Typed attributes of a dictionary; remembers the first that is missing.
class Fields {
public:
  explicit Fields(DictionaryAttr dictionary) : dictionary(dictionary) {}

  int64_t integer(StringRef name) {
    auto value = find<IntegerAttr>(name);
    return value ? value.getInt() : 0;
  }
  std::string text(StringRef name) {
    auto value = find<StringAttr>(name);
    return value ? value.str() : "";
  }
  const std::string &missing() const { return firstMissing; }

private:
  template <class T> T find(StringRef name) {
    auto value = dictionary ? dictionary.getAs<T>(name) : T();
    if (!value && firstMissing.empty())
      firstMissing = name.str();
    return value;
  }

  DictionaryAttr dictionary;
  std::string firstMissing;
};
} // namespace

/// What a manifest calls a weight's scheme; digits have one, floats none.
static std::string getSchemeName(DigitsType digits) {
  if (!digits)
    return "float";
  return digits.getScheme() == Scheme::DualBinary
             ? "dual-binary"
             : stringifyScheme(digits.getScheme()).str();
}

static Manifest::Layer describeLayer(PlaceOp place, PackOp pack) {
  LayoutAttr layout = pack.getType().getLayout();
  auto digits = dyn_cast<DigitsType>(pack.getWeight().getType());
  Manifest::Layer layer;
  layer.name = place.getName().str();
  layer.scheme = getSchemeName(digits);
  layer.n = layout.getRows();
  layer.k = layout.getColumns();
  if (!layout.isFloat() && pack.getCoefficientGroup() < layout.getColumns())
    layer.group = pack.getCoefficientGroup();
  // A scale and a shift, but for dual binary, which has two scales.
  layer.shift = digits && digits.getScheme() != Scheme::DualBinary &&
                pack.getCoefficients().size() == 2;
  layer.salient = pack.getSalientDigits();
  layer.bitsPerWeight = pack.getBitsPerWeight();
  layer.bytes = pack.getBytes();
  return layer;
}

/// Bytes that carry information in `rows` rows of a weight.
static uint64_t getInformation(PackOp pack, int64_t rows) {
  double bits =
      pack.getBitsPerWeight() * pack.getType().getLayout().getColumns() * rows;
  return std::llround(bits / 8);
}

/// Matrices as layers, and the bytes one decode step reads: of a table with a
/// row a token or a position one row, of all else everything. Places stand in
/// the order of their first use: the first matrix is the embedding, the last
/// one the head, unless the embedding serves as the head as well. Only the two
/// have the same shape.
static ::tbq::Status describeWeights(WeightsOp weights, Manifest &manifest) {
  PackOp first;
  for (auto place : weights.getBody().getOps<PlaceOp>()) {
    auto pack = place.getWeight().getDefiningOp<PackOp>();
    if (!pack)
      return makeError("", place.getName().str(), "placed but not packed");
    LayoutAttr layout = pack.getType().getLayout();
    if (layout.getTile() == 1) { // a vector of a norm, or a table of positions
      manifest.bytesPerToken += getInformation(pack, 1);
      continue;
    }
    manifest.bytesPerToken += getInformation(pack, layout.getRows());
    manifest.layers.push_back(describeLayer(place, pack));
    if (manifest.layers.size() == 1)
      first = pack;
  }
  const auto &layers = manifest.layers;
  bool untied = layers.size() > 1 && layers.back().n == layers.front().n &&
                layers.back().k == layers.front().k;
  if (untied) {
    manifest.bytesPerToken -= getInformation(first, layers.front().n);
    manifest.bytesPerToken += getInformation(first, 1);
  }
  return ::tbq::Status::ok();
}

/// What the graph stage was asked for, if anything.
static void describeGraph(ModuleOp module, Manifest &manifest) {
  auto asked = module->getAttrOfType<DictionaryAttr>("tbq.graph");
  if (!asked)
    return;
  Fields fields(asked);
  manifest.graph = {fields.text("quantize"), {}, fields.text("embedding")};
  for (auto rule : asked.getAs<ArrayAttr>("policy").getAsRange<StringAttr>())
    manifest.graph->policy.push_back(rule.str());
}

/// What tbq-observe-steps says of the ops, if it ran.
static void describeOperations(ModuleOp module, Manifest &manifest) {
  auto list = module->getAttrOfType<ArrayAttr>("tbq.operations");
  if (!list)
    return;
  for (auto shown : list.getAsRange<DictionaryAttr>()) {
    Fields fields(shown);
    Manifest::Operation operation{fields.text("name"), fields.text("kind"), {}};
    for (auto value :
         shown.getAs<ArrayAttr>("values").getAsRange<DictionaryAttr>())
      operation.values.push_back({Fields(value).text("type"),
                                  Fields(value).integer("columns"),
                                  value.getAs<BoolAttr>("written").getValue()});
    manifest.operations.push_back(std::move(operation));
  }
}

/// What tbq-time-phases says of what stands between barriers, if it ran.
static void describePhases(ModuleOp module, Manifest &manifest) {
  if (auto list = module->getAttrOfType<ArrayAttr>("tbq.phases"))
    for (auto name : list.getAsRange<StringAttr>())
      manifest.phases.push_back(name.str());
}

Result<Manifest> mlir::tbq::describeModel(ModuleOp module, WeightsOp weights,
                                          const CodeTarget &target,
                                          const CodeTarget *device) {
  Manifest manifest;
  manifest.abi = TBQ_STEP_ABI;
  manifest.tbqVersion = TBQ_VERSION;
  manifest.llvmVersion = LLVM_VERSION_STRING;
  manifest.target = {target.triple, target.cpu, target.needed, {}, {}};
  if (device)
    manifest.target.device = device->cpu;

  Fields model(module->getAttrOfType<DictionaryAttr>("tbq.model"));
  manifest.model.architecture = model.text("architecture");
  manifest.model.name = model.text("name");
  manifest.model.hidden = model.integer("hidden");
  manifest.model.layers = model.integer("layers");
  manifest.model.heads = model.integer("heads");
  manifest.model.kvHeads = model.integer("kv_heads");
  manifest.model.headDim = model.integer("head_dim");
  manifest.model.ffn = model.integer("ffn");
  manifest.model.vocab = model.integer("vocab");
  manifest.model.context = model.integer("context");
  manifest.activations = model.text("activations");
  manifest.kvCache = model.text("kv_cache");
  if (!model.missing().empty())
    return makeError("", "tbq.model." + model.missing(),
                     "the module does not say this");

  Fields plan(module->getAttrDictionary());
  manifest.steps.decodeTokens = plan.integer("tbq.decode_tokens");
  manifest.steps.prefillTokens = plan.integer("tbq.prefill_tokens");
  manifest.steps.batchTokens = getBatchTokens(module);
  if (auto from = module->getAttrOfType<IntegerAttr>("tbq.batch_from"))
    manifest.steps.batchFrom = from.getInt();
  manifest.steps.arenaBytes = plan.integer("tbq.arena_bytes");
  manifest.steps.cacheBytes = plan.integer("tbq.cache_bytes");
  manifest.steps.logitsStride = plan.integer("tbq.logits_stride");
  manifest.steps.summarizesLogits = module->hasAttr("tbq.summarizes_logits");
  if (!plan.missing().empty())
    return makeError("", plan.missing(), "the module does not say this");

  describeGraph(module, manifest);
  describeOperations(module, manifest);
  describePhases(module, manifest);
  manifest.weights.bytes = weights.getBytes();
  if (::tbq::Status status = describeWeights(weights, manifest); !status)
    return status.error();
  return manifest;
}
