// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Opens a model directory and answers for its tensors by name.
// Input: a directory; output: Checkpoint.
// Invariant: config and tensor headers are validated at opening; tensor bytes
// are touched only when a caller asks for them.
#include "CheckpointState.h"

#include "Config.h"
#include "Tensor.h"
#include "TensorNames.h"

#include <algorithm>

using namespace tbq;

static constexpr uint64_t configLimit = uint64_t(4) << 20;

Checkpoint::Checkpoint(std::unique_ptr<State> state)
    : state(std::move(state)) {}
Checkpoint::Checkpoint(Checkpoint &&) noexcept = default;
Checkpoint &Checkpoint::operator=(Checkpoint &&) noexcept = default;
Checkpoint::~Checkpoint() = default;

const std::string &Checkpoint::directory() const {
  return state->directory.path();
}
const ModelConfig &Checkpoint::config() const { return state->config; }
const GenerationConfig &Checkpoint::generation() const {
  return state->generation;
}
const std::optional<QuantizationConfig> &Checkpoint::quantization() const {
  return state->quantization;
}
const std::vector<TensorView> &Checkpoint::tensors() const {
  return state->weights.tensors;
}

/// Nothing if the directory has no such file.
static Result<std::optional<nlohmann::json>>
readJsonFile(const ModelDirectory &directory, const std::string &name) {
  auto text = directory.readFile(name, configLimit);
  if (!text)
    return text.error();
  if (!*text)
    return std::optional<nlohmann::json>();
  auto document = parseJson(**text, directory.pathOf(name));
  if (!document)
    return document.error();
  return std::optional(*std::move(document));
}

static Status readConfigs(const ModelDirectory &directory, ModelConfig &config,
                          GenerationConfig &generation,
                          std::optional<QuantizationConfig> &quantization) {
  auto document = readJsonFile(directory, "config.json");
  if (!document)
    return document.error();
  if (!*document)
    return makeError(directory.path(), "config.json",
                     "does not exist, expected a Hugging Face model "
                     "directory");
  auto root = JsonObject::from(**document, directory.pathOf("config.json"));
  if (!root)
    return root.error();
  FieldReader fields;
  fields.set(config, readModelConfig(*root));
  fields.set(quantization, readQuantizationConfig(*root));
  if (Status status = fields.status(); !status)
    return status;
  if (config.name.empty())
    config.name = directory.baseName();

  auto defaults = readJsonFile(directory, "generation_config.json");
  if (!defaults)
    return defaults.error();
  if (!*defaults) {
    fields.set(generation, readGenerationConfig(*root, nullptr, config.vocab));
    return fields.status();
  }
  auto object =
      JsonObject::from(**defaults, directory.pathOf("generation_config.json"));
  if (!object)
    return object.error();
  fields.set(generation, readGenerationConfig(*root, &*object, config.vocab));
  return fields.status();
}

Result<Checkpoint> Checkpoint::open(const std::string &path) {
  auto directory = ModelDirectory::open(path);
  if (!directory)
    return directory.error();
  auto state = std::make_unique<State>(*std::move(directory));
  Status status = readConfigs(state->directory, state->config,
                              state->generation, state->quantization);
  if (!status)
    return status.error();
  auto weights = readModelWeights(state->directory);
  if (!weights)
    return weights.error();
  state->weights = *std::move(weights);
  status = checkTensorNames(state->weights.tensors, state->config);
  if (!status)
    return status.error();
  return Checkpoint(std::move(state));
}

const TensorView *Checkpoint::find(std::string_view name) const {
  const auto &tensors = state->weights.tensors;
  auto found =
      std::lower_bound(tensors.begin(), tensors.end(), name,
                       [](const TensorView &view, std::string_view wanted) {
                         return view.name < wanted;
                       });
  return found == tensors.end() || found->name != name ? nullptr : &*found;
}

Result<const TensorView *>
Checkpoint::require(const std::string &name, const std::vector<DType> &dtypes,
                    const std::vector<int64_t> &shape) const {
  std::string wanted;
  for (DType dtype : dtypes)
    wanted += (wanted.empty() ? "" : " or ") + std::string(dtypeName(dtype));
  wanted += " " + shapeText(shape);
  const TensorView *tensor = find(name);
  if (!tensor)
    return makeError(state->weights.path, name,
                     "tensor is missing, expected " + wanted);
  if (tensor->shape != shape ||
      std::find(dtypes.begin(), dtypes.end(), tensor->dtype) == dtypes.end())
    return makeError(tensor->file, name,
                     "tensor is " + std::string(dtypeName(tensor->dtype)) +
                         " " + shapeText(tensor->shape) + ", expected " +
                         wanted + " from config.json");
  return tensor;
}

Result<const TensorView *>
Checkpoint::requireFloat(const std::string &name,
                         const std::vector<int64_t> &shape) const {
  return require(name, {DType::F32, DType::F16, DType::BF16}, shape);
}

Result<std::optional<std::string>>
Checkpoint::readText(const std::string &name) const {
  return state->directory.readFile(name, jsonSizeLimit);
}

void Checkpoint::dropPages(const TensorView &tensor) const {
  for (const MappedFile &file : state->weights.files)
    if (tensor.data >= file.data() && tensor.data < file.data() + file.size())
      file.dropPages(static_cast<uint64_t>(tensor.data - file.data()),
                     tensor.bytes);
}
