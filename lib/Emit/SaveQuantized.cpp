// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes the quantised checkpoint: each tbq.quantize is evaluated once more and
// its tensors take the place of the float one; all others are copied.
// Invariant: memory for one weight at a time.

#include "tbq/SaveQuantized.h"

#include "SafetensorsWriter.h"

#include "tbq/Emit.h"
#include "tbq/Weights.h"

#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"

#include <nlohmann/json.hpp>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::DType;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;
using ::tbq::TensorView;
namespace fs = llvm::sys::fs;

/// What a Hugging Face directory holds beside weights and config.json.
static constexpr const char *kOtherFiles[] = {
    "generation_config.json", "tokenizer.json",    "tokenizer_config.json",
    "chat_template.jinja",    "added_tokens.json", "special_tokens_map.json",
    "tokenizer.model",        "vocab.json",        "merges.txt"};

namespace {
class Saver {
public:
  Saver(ModuleOp module, const Checkpoint &checkpoint,
        const SaveOptions &options)
      : module(module), checkpoint(checkpoint), options(options) {}

  Status run();

private:
  std::string pathOf(StringRef name) const {
    SmallString<128> path(options.directory);
    llvm::sys::path::append(path, name);
    return path.str().str();
  }
  void findQuantized();
  Result<QuantizedWeight> evaluateWeight(QuantizeOp op);
  Status writeTensors();
  Status copyOtherFiles();
  Status writeConfig();
  void removeOtherWeights();

  ModuleOp module;
  const Checkpoint &checkpoint;
  const SaveOptions &options;
  std::vector<std::string> linears; // that a policy speaks of
  llvm::MapVector<StringRef, QuantizeOp>
      quantized; // by the float tensor's name
};
} // namespace

template <typename T>
static std::vector<uint8_t> bytesOf(const std::vector<T> &values) {
  const auto *data = reinterpret_cast<const uint8_t *>(values.data());
  return {data, data + values.size() * sizeof(T)};
}

/// All planes of digits, or all of a few matrices, one behind the other.
template <typename T>
static std::vector<uint8_t> joinBytes(ArrayRef<std::vector<T>> matrices) {
  std::vector<uint8_t> all;
  for (const std::vector<T> &matrix : matrices)
    llvm::append_range(all, bytesOf(matrix));
  return all;
}

void Saver::findQuantized() {
  module->walk([&](LinearOp op) {
    auto made = op.getWeight().getDefiningOp<QuantizeOp>();
    auto weight =
        (made ? made.getWeight() : op.getWeight()).getDefiningOp<WeightOp>();
    StringRef name = weight.getName();
    if (made)
      quantized[name] = made;
    name.consume_back(".weight");
    if (op->getParentOfType<LayerOp>())
      linears.push_back(name.str());
  });
  module->walk([&](EmbeddingOp op) {
    if (auto made = op.getTable().getDefiningOp<QuantizeOp>())
      quantized[made.getWeight().getDefiningOp<WeightOp>().getName()] = made;
  });
}

Result<QuantizedWeight> Saver::evaluateWeight(QuantizeOp op) {
  auto source = op.getWeight().getDefiningOp<WeightOp>();
  const TensorView *matrix = checkpoint.find(source.getName().str());
  if (!matrix)
    return makeError(checkpoint.directory(), source.getName().str(),
                     "no such tensor");
  Result<QuantizedWeight> weight = evaluate(op, *matrix);
  checkpoint.dropPages(*matrix);
  return weight;
}

/// The tensors of a quantised weight.
static std::vector<TensorShape> describeParts(QuantizeOp op) {
  auto matrix = cast<RankedTensorType>(op.getWeight().getType());
  const int64_t rows = matrix.getDimSize(0), columns = matrix.getDimSize(1);
  const int64_t groups = (columns - 1) / int64_t(op.getGroup()) + 1;
  StringRef name = op.getWeight().getDefiningOp<WeightOp>().getName();
  name.consume_back("weight");
  const Scheme scheme = op.getScheme();
  ArrayRef<int64_t> bits = getDigitBits(scheme);
  const int64_t rowBytes = getRowBytes(columns, bits[0]);
  std::vector<TensorShape> parts;
  auto add = [&](StringRef part, DType dtype, std::vector<int64_t> shape) {
    parts.push_back({(name + part).str(), dtype, std::move(shape)});
  };
  if (isInteger(scheme))
    add("q", scheme == Scheme::Int8 ? DType::I8 : DType::U8, {rows, rowBytes});
  else if (scheme == Scheme::Ternary)
    add("codes", DType::U8, {rows, rowBytes});
  else
    add("planes", DType::U8, {int64_t(bits.size()), rows, rowBytes});
  if (scheme == Scheme::DualBinary)
    add("scale", DType::F16, {2, rows, groups});
  else
    add("scale", DType::F16, {rows, groups});
  if (scheme == Scheme::Ternary || scheme == Scheme::Binary)
    add("shift", DType::F16, {rows, groups});
  if (op.getSalientFraction()) {
    add("salient_mask", DType::U8, {rows, rowBytes});
    add("salient_values", DType::I8,
        cast<RankedTensorType>(op.getSalient()[1].getType()).getShape().vec());
    add("salient_offsets", DType::I32, {rows + 1});
    add("salient_scale", DType::F16, {rows});
    add("salient_zero", DType::I16, {rows});
  }
  return parts;
}

/// The bytes of those tensors, in their order.
static std::vector<std::vector<uint8_t>>
getPartBytes(QuantizeOp op, const QuantizedWeight &weight) {
  std::vector<std::vector<uint8_t>> parts{joinBytes<uint8_t>(weight.planes)};
  if (op.getScheme() == Scheme::DualBinary)
    parts.push_back(joinBytes<uint16_t>(weight.coefficients));
  else
    for (const std::vector<uint16_t> &matrix : weight.coefficients)
      parts.push_back(bytesOf(matrix));
  if (op.getSalientFraction())
    llvm::append_values(parts, weight.mask, weight.values,
                        bytesOf(weight.offsets), bytesOf(weight.valueScale),
                        bytesOf(weight.zero));
  return parts;
}

/// An older config.json goes before the tensors that it does not describe.
Status Saver::writeTensors() {
  std::vector<TensorShape> shapes;
  SmallVector<const TensorView *> copied;
  for (const TensorView &tensor : checkpoint.tensors()) {
    // A tied table may be stored twice; quantised, it is stored once.
    const bool again = checkpoint.config().tieEmbeddings &&
                       options.embedding.scheme &&
                       tensor.name == "lm_head.weight";
    if (again || quantized.contains(tensor.name))
      continue;
    copied.push_back(&tensor);
    shapes.push_back({tensor.name, tensor.dtype, tensor.shape});
  }
  for (auto &[name, op] : quantized) {
    llvm::append_range(shapes, describeParts(op));
  }
  auto writer =
      SafetensorsWriter::create(pathOf("model.safetensors"), std::move(shapes));
  if (!writer)
    return writer.error();
  for (const TensorView *tensor : copied) {
    if (Status status =
            writer->write(tensor->name, {tensor->data, tensor->bytes});
        !status)
      return status;
    checkpoint.dropPages(*tensor);
  }
  for (auto &[name, op] : quantized) {
    auto weight = evaluateWeight(op);
    if (!weight)
      return weight.error();
    for (auto [tensor, bytes] :
         llvm::zip_equal(describeParts(op), getPartBytes(op, *weight)))
      if (Status status = writer->write(tensor.name, bytes); !status)
        return status;
  }
  fs::remove(pathOf("config.json"));
  return writer->keep();
}

Status Saver::copyOtherFiles() {
  for (const char *name : kOtherFiles) {
    auto text = checkpoint.readText(name);
    if (!text)
      return text.error();
    if (!*text)
      fs::remove(pathOf(name));
    else if (Status status = writeOutput(pathOf(name), **text); !status)
      return status;
  }
  return Status::ok();
}

/// Weights that an earlier checkpoint of the directory left: an index would be
/// taken for its model's, and shards are of no use.
void Saver::removeOtherWeights() {
  std::error_code code;
  SmallVector<std::string> stale;
  for (fs::directory_iterator at(options.directory, code), end;
       at != end && !code; at.increment(code)) {
    StringRef name = llvm::sys::path::filename(at->path());
    if (name == "model.safetensors.index.json" ||
        (name.starts_with("model-") && name.ends_with(".safetensors")))
      stale.push_back(at->path());
  }
  for (const std::string &path : stale)
    fs::remove(path);
}

Status Saver::writeConfig() {
  auto text = checkpoint.readText("config.json");
  if (!text)
    return text.error();
  auto quantization = describeQuantization(linears, options);
  if (!quantization)
    return quantization.error();
  // Read and bounded when the checkpoint was opened; keys keep their order.
  auto config = nlohmann::ordered_json::parse(**text);
  config["_name_or_path"] = checkpoint.config().name;
  config["quantization_config"] = nlohmann::ordered_json::parse(*quantization);
  return writeOutput(pathOf("config.json"), config.dump(2) + "\n");
}

Status Saver::run() {
  if (auto code = fs::create_directories(options.directory))
    return makeError(options.directory, "", code.message());
  if (fs::equivalent(options.directory, checkpoint.directory()))
    return makeError(options.directory, "", "is the float checkpoint itself");
  findQuantized();
  if (auto described = describeQuantization(linears, options); !described)
    return described.error();
  if (Status status = writeTensors(); !status)
    return status;
  removeOtherWeights();
  if (Status status = copyOtherFiles(); !status)
    return status;
  return writeConfig();
}

Status mlir::tbq::saveQuantized(ModuleOp module, const Checkpoint &checkpoint,
                                const SaveOptions &options) {
  if (Status status = resolveSalient(module, checkpoint); !status)
    return status;
  return Saver(module, checkpoint, options).run();
}
