// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sharded checkpoints: the index and its shards agree, or a one-line error.
#include "TemporaryModel.h"

using namespace tbq;

class Shards : public testing::Test {
protected:
  void SetUp() override {
    model.writeConfig();
    // Every second tensor goes to the second shard.
    TestTensors parts[2];
    for (const auto &[name, tensor] : model.tensors) {
      bool second = index["weight_map"].size() % 2;
      parts[second][name] = tensor;
      index["weight_map"][name] = names[second];
    }
    index["metadata"]["total_size"] = 1;
    for (int i : {0, 1})
      model.write(names[i], safetensorsBytes(parts[i]));
  }

  std::string failureOf(const nlohmann::json &changed) {
    model.write("model.safetensors.index.json", changed.dump());
    return model.failure();
  }

  const char *names[2] = {"model-00001-of-00002.safetensors",
                          "model-00002-of-00002.safetensors"};
  TemporaryModel model;
  nlohmann::json index;
};

TEST_F(Shards, Load) {
  ASSERT_EQ(failureOf(index), "");
  auto checkpoint = Checkpoint::open(model.path());
  ASSERT_EQ(checkpoint->tensors().size(), model.tensors.size());
  for (const auto &[name, tensor] : model.tensors) {
    const TensorView *view = checkpoint->find(name);
    ASSERT_NE(view, nullptr) << name;
    EXPECT_EQ(
        std::string(reinterpret_cast<const char *>(view->data), view->bytes),
        tensor.bytes)
        << name;
    EXPECT_EQ(view->file, model.path() + "/" +
                              index["weight_map"][name].get<std::string>());
    checkpoint->dropPages(*view);
    EXPECT_EQ(view->data[view->bytes - 1],
              static_cast<uint8_t>(tensor.bytes.back()));
  }
  auto missing = checkpoint->requireFloat("model.none.weight", {1});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().message,
            model.path() + "/model.safetensors.index.json: model.none.weight: "
                           "tensor is missing, expected F32 or F16 or BF16 "
                           "[1]");
}

TEST_F(Shards, BadIndexIsRefused) {
  const std::string file = model.path() + "/model.safetensors.index.json: ";
  const std::string norm = "model.norm.weight";
  for (const nlohmann::json &root :
       {nlohmann::json::array(), nlohmann::json(1), nlohmann::json::object(),
        nlohmann::json{{"weight_map", nlohmann::json::array()}},
        nlohmann::json{{"weight_map", nlohmann::json::object()}}})
    EXPECT_TRUE(isErrorAbout(failureOf(root), file, "")) << root;

  nlohmann::json changed = index;
  changed["weight_map"][norm] = 1;
  EXPECT_TRUE(isErrorAbout(failureOf(changed), file,
                           "weight_map." + norm + ": must be a file name"));
  changed["weight_map"][norm] = "model-00003-of-00002.safetensors";
  EXPECT_TRUE(isErrorAbout(failureOf(changed), file,
                           "'model-00003-of-00002.safetensors' does not "
                           "exist"));
  changed["weight_map"][norm] = "pytorch_model.bin";
  EXPECT_TRUE(isErrorAbout(failureOf(changed), file,
                           "'pytorch_model.bin' is not a .safetensors file"));
  changed = index;
  changed["weight_map"]["model.none.weight"] = names[0];
  EXPECT_TRUE(isErrorAbout(failureOf(changed), file,
                           "weight_map.model.none.weight: is not in its "
                           "shard"));
  changed = index;
  bool inFirst = index["weight_map"][norm] == names[0];
  changed["weight_map"][norm] = names[inFirst];
  EXPECT_TRUE(isErrorAbout(failureOf(changed), file, "is not in its shard"));
  model.write("model.safetensors.index.json", "{\"weight_map\":{\"a\":");
  EXPECT_TRUE(isErrorAbout(model.failure(), file, "invalid JSON"));
}

TEST_F(Shards, TensorInTwoShardsIsRefused) {
  model.write(names[1], safetensorsBytes(model.tensors));
  EXPECT_TRUE(isErrorAbout(failureOf(index), model.path() + "/model-0000",
                           "is in another shard too"));
}

TEST_F(Shards, TruncatedShardIsNamed) {
  std::string whole = safetensorsBytes(model.tensors);
  model.write(names[1], whole.substr(0, whole.size() - 1));
  EXPECT_TRUE(isErrorAbout(failureOf(index), model.path() + "/" + names[1],
                           "truncated"));
}

TEST_F(Shards, TooManyShardsAreRefused) {
  nlohmann::json many;
  for (int i = 0; i <= 10'000; ++i)
    many["weight_map"]["t" + std::to_string(i)] =
        std::to_string(i) + ".safetensors";
  EXPECT_TRUE(
      isErrorAbout(failureOf(many), model.path(), "names 10001 shards"));
}

TEST_F(Shards, NeitherFileNorIndex) {
  model.write("pytorch_model.bin", "\x80\x02}.");
  EXPECT_TRUE(isErrorAbout(model.failure(), model.path() + ": ",
                           "model.safetensors: does not exist, nor does "
                           "model.safetensors.index.json"));
}
