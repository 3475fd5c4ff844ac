// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// All tensors of a model: one safetensors file, or the shards of an index.
// Input: a model directory; output: mapped files and tensors sorted by name.
// Invariant: no tensor name occurs twice, and every tensor of the index is in
// the shard the index says.
#include "Safetensors.h"

#include "format/Json.h"

#include <algorithm>
#include <set>

using namespace tbq;

static const char *const singleName = "model.safetensors";
static const char *const indexName = "model.safetensors.index.json";
static constexpr size_t shardLimit = 10'000;

static const TensorView *findTensor(const std::vector<TensorView> &sorted,
                                    const std::string &name) {
  auto found =
      std::lower_bound(sorted.begin(), sorted.end(), name,
                       [](const TensorView &view, const std::string &wanted) {
                         return view.name < wanted;
                       });
  return found == sorted.end() || found->name != name ? nullptr : &*found;
}

static Status addFile(ModelWeights &weights, MappedFile file) {
  auto tensors = readSafetensors(file);
  if (!tensors)
    return tensors.error();
  weights.files.push_back(std::move(file));
  std::move(tensors->begin(), tensors->end(),
            std::back_inserter(weights.tensors));
  return Status::ok();
}

static Status sortByName(ModelWeights &weights) {
  auto &tensors = weights.tensors;
  auto byName = [](const TensorView &a, const TensorView &b) {
    return a.name < b.name;
  };
  std::sort(tensors.begin(), tensors.end(), byName);
  auto twice = std::adjacent_find(tensors.begin(), tensors.end(),
                                  [](const TensorView &a, const TensorView &b) {
                                    return a.name == b.name;
                                  });
  if (twice != tensors.end())
    return makeError(twice->file, twice->name,
                     "is in another shard too (" + (twice + 1)->file + ")");
  return Status::ok();
}

/// Loads the shards that weight_map names and checks it against them.
static Status readShards(const ModelDirectory &directory,
                         const JsonObject &weightMap, ModelWeights &weights) {
  std::set<std::string> shards;
  for (const auto &[tensor, shard] : weightMap.raw().items()) {
    if (!shard.is_string())
      return weightMap.unexpected(tensor, "a file name");
    shards.insert(shard.get<std::string>());
  }
  if (shards.empty() || shards.size() > shardLimit)
    return makeError(weightMap.file(), "weight_map",
                     "names " + std::to_string(shards.size()) +
                         " shards, expected 1 to " +
                         std::to_string(shardLimit));
  const std::string suffix = ".safetensors";
  for (const std::string &shard : shards) {
    if (shard.size() <= suffix.size() ||
        shard.compare(shard.size() - suffix.size(), suffix.size(), suffix))
      return makeError(weightMap.file(), "weight_map",
                       "shard '" + shard + "' is not a .safetensors file");
    if (!ModelDirectory::isPlainName(shard))
      return makeError(weightMap.file(), "weight_map",
                       "shard '" + shard +
                           "' is not a plain name inside the model directory");
    auto file = directory.mapFile(shard);
    if (!file)
      return file.error();
    if (!*file)
      return makeError(weightMap.file(), "weight_map",
                       "shard '" + shard + "' does not exist");
    if (Status status = addFile(weights, **std::move(file)); !status)
      return status;
  }
  if (Status status = sortByName(weights); !status)
    return status;
  for (const auto &[name, shard] : weightMap.raw().items()) {
    const TensorView *tensor = findTensor(weights.tensors, name);
    const std::string path = directory.pathOf(shard.get<std::string>());
    if (!tensor || tensor->file != path)
      return weightMap.error(name, "is not in its shard " + path);
  }
  return Status::ok();
}

static Status readIndex(const ModelDirectory &directory,
                        const std::string &text, ModelWeights &weights) {
  auto document = parseJson(text, weights.path);
  if (!document)
    return document.error();
  auto index = JsonObject::from(*document, weights.path);
  if (!index)
    return index.error();
  auto weightMap = index->object("weight_map");
  if (!weightMap)
    return weightMap.error();
  return readShards(directory, *weightMap, weights);
}

Result<ModelWeights> tbq::readModelWeights(const ModelDirectory &directory) {
  ModelWeights weights;
  auto single = directory.mapFile(singleName);
  if (!single)
    return single.error();
  if (*single) {
    weights.path = directory.pathOf(singleName);
    Status status = addFile(weights, **std::move(single));
    if (status)
      status = sortByName(weights);
    if (!status)
      return status.error();
    return weights;
  }
  auto index = directory.readFile(indexName, jsonSizeLimit);
  if (!index)
    return index.error();
  if (!*index)
    return makeError(directory.path(), singleName,
                     "does not exist, nor does model.safetensors.index.json; "
                     "convert other formats (pickle is never read) to "
                     "safetensors first");
  weights.path = directory.pathOf(indexName);
  if (Status status = readIndex(directory, **index, weights); !status)
    return status.error();
  return weights;
}
