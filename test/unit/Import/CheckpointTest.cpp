// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Float checkpoints by tensor: shapes, types, ties, biases and strangers.
#include "TemporaryModel.h"

using namespace tbq;

static const std::string layer = "model.layers.0.";

class FloatCheckpoint : public testing::Test {
protected:
  Result<Checkpoint> open() {
    model.writeAll();
    return Checkpoint::open(model.path());
  }
  std::string weights() { return model.path() + "/model.safetensors: "; }

  TemporaryModel model;
};

TEST_F(FloatCheckpoint, Linear) {
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  EXPECT_FALSE(checkpoint->quantization());
  auto linear = checkpoint->linear(layer + "mlp.down_proj", 8, 12, false);
  ASSERT_TRUE(linear) << linear.error().message;
  EXPECT_FALSE(linear->quantization);
  EXPECT_EQ(linear->bias, nullptr);
  EXPECT_EQ(linear->codes, nullptr);
  float row[12];
  readFloats(*linear->weight, 12, 12, row);
  EXPECT_EQ(row[0], 12.0f);
  EXPECT_EQ(row[11], 23.0f);
}

TEST_F(FloatCheckpoint, WrongShapeTypeOrNameIsNamed) {
  model.tensors[layer + "mlp.up_proj.weight"] = {
      "I32", {12, 8}, std::string(12 * 8 * 4, '\0')};
  model.tensors.erase(layer + "mlp.gate_proj.weight");
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  auto failure = [&](const char *name, int64_t rows, int64_t columns) {
    auto linear = checkpoint->linear(layer + name, rows, columns, false);
    return linear ? "" : linear.error().message;
  };
  EXPECT_EQ(failure("mlp.down_proj", 12, 8),
            weights() +
                "model.layers.0.mlp.down_proj.weight: tensor is F32 [8, 12], "
                "expected F32 or F16 or BF16 [12, 8] from config.json");
  EXPECT_TRUE(isErrorAbout(failure("mlp.up_proj", 12, 8), weights(),
                           "tensor is I32 [12, 8]"));
  EXPECT_TRUE(isErrorAbout(failure("mlp.gate_proj", 12, 8), weights(),
                           "mlp.gate_proj.weight: tensor is missing"));
}

TEST_F(FloatCheckpoint, BiasMustBeWhereConfigSays) {
  const std::string name = layer + "self_attn.q_proj";
  auto checkpoint = open();
  auto missing = checkpoint->linear(name, 8, 8, true);
  ASSERT_FALSE(missing);
  EXPECT_TRUE(isErrorAbout(missing.error().message, weights(),
                           "q_proj.bias: tensor is missing"));
  model.tensors[name + ".bias"] = halfTensor({8}, 0x3c00);
  checkpoint = open();
  auto linear = checkpoint->linear(name, 8, 8, true);
  ASSERT_TRUE(linear) << linear.error().message;
  float bias[8];
  readFloats(*linear->bias, 0, 8, bias);
  EXPECT_EQ(bias[7], 1.0f);
  auto unexpected = checkpoint->linear(name, 8, 8, false);
  ASSERT_FALSE(unexpected);
  EXPECT_TRUE(isErrorAbout(unexpected.error().message, weights(),
                           "q_proj.bias: is not a tensor of this linear"));
}

TEST_F(FloatCheckpoint, LeftOversUnderALinearAreRefused) {
  model.tensors[layer + "self_attn.q_proj.weight_scale"] = floatTensor({1});
  auto checkpoint = open();
  ASSERT_TRUE(checkpoint);
  auto linear = checkpoint->linear(layer + "self_attn.q_proj", 8, 8, false);
  ASSERT_FALSE(linear);
  EXPECT_TRUE(isErrorAbout(linear.error().message, weights(),
                           "weight_scale: is not a tensor of this linear"));
}

TEST_F(FloatCheckpoint, StrangersAreRefused) {
  ASSERT_TRUE(open());
  for (const char *name :
       {"model.layers.0.self_attn.q_norm.weight", "transformer.h.0.attn.weight",
        "model.layers.00.input_layernorm.weight",
        "model.layers.x.input_layernorm.weight",
        "model.layers..input_layernorm.weight", "model.layers.0", "model",
        "model.layers.0.input_layernorm.bias", "", "model.norm.bias",
        "model.layers.99999999999999999999.input_layernorm.weight"}) {
    model.tensors[name] = floatTensor({1});
    auto checkpoint = open();
    ASSERT_FALSE(checkpoint) << name;
    EXPECT_TRUE(isErrorAbout(checkpoint.error().message, weights(),
                             "is not a tensor of this llama model"))
        << name;
    model.tensors.erase(name);
  }
  model.tensors["model.layers.1.input_layernorm.weight"] = floatTensor({8});
  EXPECT_TRUE(isErrorAbout(open().error().message, weights(),
                           "belongs to layer 1, but config.json's "
                           "num_hidden_layers is 1"));
  model.tensors.erase("model.layers.1.input_layernorm.weight");
  model.tensors[layer + "self_attn.rotary_emb.inv_freq"] = floatTensor({2});
  EXPECT_TRUE(open()) << "an old checkpoint's table is ignored";
}

TEST_F(FloatCheckpoint, UntiedHead) {
  auto checkpoint = open();
  EXPECT_EQ(checkpoint->embedding()->weight->name, "model.embed_tokens.weight");
  EXPECT_EQ(checkpoint->head()->weight->name, "lm_head.weight");
  model.tensors.erase("lm_head.weight");
  checkpoint = open();
  auto head = checkpoint->head();
  ASSERT_FALSE(head);
  EXPECT_TRUE(isErrorAbout(head.error().message, weights(),
                           "lm_head.weight: tensor is missing"));
  EXPECT_TRUE(checkpoint->embedding());
}

TEST_F(FloatCheckpoint, TiedHead) {
  model.config["tie_word_embeddings"] = true;
  auto checkpoint = open(); // both are stored, and differ
  auto differs = checkpoint->head();
  ASSERT_FALSE(differs);
  EXPECT_TRUE(isErrorAbout(differs.error().message, weights(),
                           "lm_head.weight: differs from"));

  model.tensors["lm_head.weight"] = model.tensors["model.embed_tokens.weight"];
  checkpoint = open();
  ASSERT_TRUE(checkpoint->head());
  EXPECT_EQ(checkpoint->head()->weight, checkpoint->embedding()->weight);

  for (const char *stored : {"model.embed_tokens.weight", "lm_head.weight"}) {
    TemporaryModel other;
    other.config["tie_word_embeddings"] = true;
    other.tensors.erase(stored);
    other.writeAll();
    auto tied = Checkpoint::open(other.path());
    ASSERT_TRUE(tied);
    ASSERT_TRUE(tied->head()) << "without " << stored;
    EXPECT_NE(tied->head()->weight->name, stored);
    EXPECT_EQ(tied->head()->weight, tied->embedding()->weight);
  }
}

TEST_F(FloatCheckpoint, TablesMustFitTheConfig) {
  model.tensors["model.embed_tokens.weight"] = floatTensor({15, 8});
  model.tensors["lm_head.bias"] = floatTensor({16});
  auto checkpoint = open();
  EXPECT_TRUE(isErrorAbout(checkpoint->embedding().error().message, weights(),
                           "tensor is F32 [15, 8]"));
  EXPECT_TRUE(isErrorAbout(checkpoint->head().error().message, weights(),
                           "lm_head.bias: is not a tensor"));
}

TEST_F(FloatCheckpoint, ReadsTextOfOtherFiles) {
  model.write("tokenizer.json", "{\"x\": 1}");
  auto checkpoint = open();
  EXPECT_EQ(*checkpoint->readText("tokenizer.json"), "{\"x\": 1}");
  EXPECT_EQ(*checkpoint->readText("chat_template.jinja"), std::nullopt);
  EXPECT_EQ(checkpoint->directory(), model.path());
}
