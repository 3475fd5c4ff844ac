// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The quantization_config of our checkpoint: which scheme a linear has, and
// what is refused.
#include "QuantizedModel.h"

using namespace tbq;
using nlohmann::json;

TEST_F(Quantized, OverridesByPattern) {
  quantization()["layers"] = {
      {"model\\.layers\\.\\d+\\.mlp\\.up_proj", {{"group_size", "row"}}},
      {".*down_proj", {{"scheme", "dual-binary"}, {"group_size", 64}}}};
  Checkpoint checkpoint = open();
  auto up = checkpoint.schemeOf("model.layers.0.mlp.up_proj");
  EXPECT_EQ((*up)->groupSize, 0);
  EXPECT_TRUE((*up)->shift);
  auto down = checkpoint.schemeOf(downName);
  EXPECT_EQ((*down)->scheme, Scheme::DualBinary);
  EXPECT_EQ((*down)->groupSize, 64);
  EXPECT_FALSE((*down)->shift);
  auto gate = checkpoint.schemeOf("model.layers.0.mlp.gate_proj");
  EXPECT_EQ((*gate)->groupSize, 5) << "the whole name must match";
  EXPECT_FALSE(*checkpoint.schemeOf("model.layers.0.self_attn.q_proj"));
  EXPECT_FALSE(*checkpoint.schemeOf("lm_head"));
  EXPECT_FALSE(*checkpoint.schemeOf("model.embed_tokens"));
  auto linear = checkpoint.linear(downName, 8, 12, false);
  ASSERT_FALSE(linear);
  EXPECT_TRUE(isErrorAbout(linear.error().message, model.path(),
                           downName + ".planes: tensor is missing"));
}

TEST_F(Quantized, ModulesMatchWholeParts) {
  quantization()["modules_to_not_convert"] = {"model.layers.1", "up_proj",
                                              "layers.0.mlp.g"};
  Checkpoint checkpoint = open();
  EXPECT_TRUE(*checkpoint.schemeOf("model.layers.10.mlp.down_proj"));
  EXPECT_FALSE(*checkpoint.schemeOf("model.layers.1.mlp.down_proj"));
  EXPECT_FALSE(*checkpoint.schemeOf("model.layers.0.mlp.up_proj"));
  EXPECT_TRUE(*checkpoint.schemeOf("model.layers.0.mlp.gate_up_proj"));
  EXPECT_TRUE(*checkpoint.schemeOf("model.layers.0.mlp.gate_proj"));
}

TEST_F(Quantized, PatternsThatConflictOrExplodeAreErrors) {
  quantization()["layers"] = {{".*proj", {{"group_size", 8}}},
                              {".*down_proj", {{"group_size", 16}}}};
  EXPECT_TRUE(isErrorAbout(linearFailure(), model.path() + "/config.json: ",
                           "match " + downName + " and differ"));
  quantization()["layers"] = {{"([a-z0-9_]+\\.?)+[!?]", json::object()}};
  EXPECT_TRUE(isErrorAbout(linearFailure(),
                           model.path() + "/config.json: ", "takes too long"));
}

TEST_F(Quantized, BadConfigsAreRefused) {
  EXPECT_TRUE(refuses("quant_method", nullptr, ".quant_method: must be"));
  EXPECT_TRUE(refuses("quant_method", "bitnet",
                      ".quant_method: unsupported quantization method"));
  EXPECT_TRUE(refuses("scheme", "quaternary",
                      ".scheme: unsupported scheme 'quaternary'"));
  EXPECT_TRUE(refuses("scheme", nullptr, ".scheme: must be a string"));
  EXPECT_TRUE(refuses("scheme", "dual-binary", ".shift: dual-binary has no"));
  for (const json &size :
       std::vector<json>{0, -1, 1.5, "column", nullptr, 1 << 25, true})
    EXPECT_TRUE(refuses("group_size", size, ".group_size: must be \"row\" or "))
        << size;
  EXPECT_TRUE(refuses("shift", nullptr, ".shift: must be true or false"));
  EXPECT_TRUE(refuses("shift", 1, ".shift: must be true or false"));
  EXPECT_TRUE(refuses("activations", "i4", ".activations: must be f32, i16"));
  EXPECT_TRUE(refuses("activations", 8, ".activations: must be a string"));
  EXPECT_TRUE(refuses("bits", 2, ".bits: unknown field"));
  EXPECT_TRUE(refuses("modules_to_not_convert", "lm_head", ".modules_to"));
  EXPECT_TRUE(refuses("modules_to_not_convert", {1}, ".modules_to"));
  EXPECT_TRUE(refuses("modules_to_not_convert", {""}, ".modules_to"));
  EXPECT_TRUE(refuses("modules_to_not_convert",
                      std::vector<std::string>(8193, "a"), ".modules_to"));
}

TEST_F(Quantized, BadOverridesAreRefused) {
  EXPECT_TRUE(refuses("layers", json::array(), ".layers: must be an object"));
  EXPECT_TRUE(refuses("layers", {{"a", 1}}, ".layers.a: must be an object"));
  EXPECT_TRUE(refuses("layers", {{"a", {{"bits", 1}}}}, ".layers.a.bits: "));
  EXPECT_TRUE(refuses("layers", {{"a", {{"shift", 1}}}}, ".layers.a.shift: "));
  EXPECT_TRUE(refuses("layers", {{"(", json::object()}},
                      ".layers.(: invalid pattern, at 1"));
  EXPECT_TRUE(refuses("layers", {{std::string(1001, 'a'), json::object()}},
                      ".layers."));
  json many = json::object();
  for (int i = 0; i < 257; ++i)
    many["p" + std::to_string(i)] = json::object();
  EXPECT_TRUE(refuses("layers", many, ".layers: has 257 patterns"));
}

TEST_F(Quantized, BadEmbeddingConfigsAreRefused) {
  EXPECT_TRUE(refuses("embedding", 8, ".embedding: must be an object"));
  EXPECT_TRUE(refuses("embedding", {{"bits", 6}, {"group_size", 64}},
                      ".embedding.bits: must be 8 or 4"));
  EXPECT_TRUE(refuses("embedding", {{"bits", 8}}, ".embedding.group_size"));
  EXPECT_TRUE(refuses("embedding",
                      {{"bits", 8}, {"group_size", 8}, {"zero", 1}},
                      ".embedding.zero: unknown field"));
  EXPECT_TRUE(refuses("scheme", "int8", ".scheme: unsupported scheme 'int8'"));
}
