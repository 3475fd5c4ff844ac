// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json of an OPT: what is read, which tensors it asks for, and a matrix
// of field and value in which every case is a one-line error, or loads.
#include "ConfigFixture.h"
#include "OptModel.h"

using namespace tbq;
using nlohmann::json;

class OptConfiguration : public ConfigFixture {
protected:
  void SetUp() override {
    makeOpt(model);
    model.writeAll();
  }

  /// The message when this tensor is stored too.
  std::string failureWithTensor(const std::string &name) {
    model.tensors[name] = floatTensor({8});
    model.writeAll();
    model.tensors.erase(name);
    return model.failure();
  }
};

TEST_F(OptConfiguration, DefaultsAreThoseOfTransformers) {
  model.config.erase("model_type");
  ModelConfig config = open();
  EXPECT_EQ(config.architecture, "opt");
  EXPECT_EQ(config.hidden, 8);
  EXPECT_EQ(config.heads, 2);
  EXPECT_EQ(config.kvHeads, 2);
  EXPECT_EQ(config.headDim, 4);
  EXPECT_EQ(config.ffn, 12);
  EXPECT_EQ(config.maxPosition, 32);
  EXPECT_TRUE(config.tieEmbeddings);
  EXPECT_EQ(config.parts.embeddingColumns, 8);
  const OptConfig &own = std::get<OptConfig>(config.own);
  EXPECT_EQ(own.activation, OptConfig::Activation::Relu);
  EXPECT_TRUE(own.normBefore);
  EXPECT_TRUE(own.finalNorm);
  EXPECT_TRUE(own.biases);
  // 2048 positions, and two rows before them.
  model.config.erase("max_position_embeddings");
  model.tensors["model.decoder.embed_positions.weight"] =
      floatTensor({2050, 8});
  config = open();
  EXPECT_EQ(config.maxPosition, 2048);
  EXPECT_EQ(config.parts.vectors.front().shape,
            (std::vector<int64_t>{2050, 8}));
}

TEST_F(OptConfiguration, ReadsEveryField) {
  makePostNormOpt(model);
  model.config["activation_function"] = "gelu";
  model.config["enable_bias"] = false;
  for (auto it = model.tensors.begin(); it != model.tensors.end();)
    it = it->first.find("norm") == std::string::npos &&
                 it->first.find(".bias") != std::string::npos
             ? model.tensors.erase(it)
             : std::next(it);
  ModelConfig config = open();
  const OptConfig &own = std::get<OptConfig>(config.own);
  EXPECT_EQ(own.activation, OptConfig::Activation::Gelu);
  EXPECT_FALSE(own.normBefore);
  EXPECT_FALSE(own.finalNorm);
  EXPECT_FALSE(own.biases);
  EXPECT_EQ(config.parts.embeddingColumns, 6);
  EXPECT_EQ(config.parts.linears.size(), 2u);
  model.config["do_layer_norm_before"] = true;
  addNorm(model, "model.decoder.final_layer_norm");
  EXPECT_TRUE(std::get<OptConfig>(open().own).finalNorm);
  model.config["_remove_final_layer_norm"] = true;
  for (const char *part : {"weight", "bias"})
    model.tensors.erase(std::string("model.decoder.final_layer_norm.") + part);
  EXPECT_FALSE(std::get<OptConfig>(open().own).finalNorm);
}

TEST_F(OptConfiguration, UnsupportedIsRefusedByName) {
  for (const char *name : {"gelu_new", "silu", "swish", "tanh", ""})
    EXPECT_TRUE(refuses("activation_function", name,
                        "activation_function: unsupported activation '" +
                            std::string(name) + "' (supported: relu, gelu)"));
  EXPECT_TRUE(refuses("layerdrop", 0.1,
                      "layerdrop: layers that are left out at random are not "
                      "supported; 0 keeps all"));
  EXPECT_EQ(failureWith("layerdrop", 0.0), "");
  EXPECT_TRUE(refuses("layer_norm_elementwise_affine", false,
                      "layer norms without weights are not supported"));
  EXPECT_TRUE(
      refuses("num_attention_heads", 3, "must divide hidden_size, 8 (got 3)"));
  EXPECT_TRUE(refuses("model_type", "llama",
                      "model_type: must be opt, as architectures says"));
  EXPECT_TRUE(refuses("architectures", {"LlamaForCausalLM"},
                      "model_type: must be llama, as architectures says"));
  EXPECT_TRUE(refuses("architectures", {"OPTModel"},
                      "'OPTModel' (supported: "
                      "llama, opt)"));
}

TEST_F(OptConfiguration, WhatActsInTrainingAloneIsNotRead) {
  for (const char *field : {"dropout", "attention_dropout"})
    EXPECT_EQ(failureWith(field, 0.5), "");
}

TEST_F(OptConfiguration, TensorsOfAnotherFormAreRefused) {
  const std::string decoder = "model.decoder.";
  for (const std::string &name :
       {decoder + "project_in.weight", decoder + "layers.0.fc3.weight",
        decoder + "layers.0.fc10.weight", std::string("model.norm.weight"),
        std::string("decoder.embed_positions.weight")})
    EXPECT_TRUE(isErrorAbout(failureWithTensor(name), model.path(),
                             name + ": is not a tensor of this opt model"));
  EXPECT_TRUE(isErrorAbout(failureWithTensor(decoder + "layers.1.fc1.weight"),
                           model.path(), "belongs to layer 1"));
  makePostNormOpt(model);
  EXPECT_TRUE(
      isErrorAbout(failureWithTensor(decoder + "final_layer_norm.weight"),
                   model.path(), "is not a tensor of this opt model"));
}

TEST_F(OptConfiguration, LinearsOutsideOfLayersAreFloat) {
  makePostNormOpt(model);
  model.config["quantization_config"] = {{"quant_method", "tbq"},
                                         {"scheme", "ternary"},
                                         {"group_size", "row"},
                                         {"shift", true}};
  model.writeAll();
  auto checkpoint = Checkpoint::open(model.path());
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const std::string decoder = "model.decoder.";
  for (const char *part : {"project_in", "project_out", "embed_tokens"})
    EXPECT_FALSE(checkpoint->schemeOf(decoder + part)->has_value()) << part;
  EXPECT_FALSE(checkpoint->schemeOf("lm_head")->has_value());
  EXPECT_TRUE(checkpoint->schemeOf(decoder + "layers.0.fc1")->has_value());
  EXPECT_TRUE(checkpoint->linear(decoder + "project_in", 8, 6, false));
  EXPECT_EQ(checkpoint->embedding()->columns, 6);
  EXPECT_EQ(checkpoint->head()->weight, checkpoint->embedding()->weight);
}

TEST_F(OptConfiguration, Matrix) {
  Matrix tried = tryAll(
      {"architectures", "model_type", "activation_function", "hidden_size",
       "num_hidden_layers", "num_attention_heads", "ffn_dim", "vocab_size",
       "max_position_embeddings", "word_embed_proj_dim", "enable_bias",
       "do_layer_norm_before", "_remove_final_layer_norm",
       "layer_norm_elementwise_affine", "layerdrop", "tie_word_embeddings"},
      {"relu"}, [](const ModelConfig &config) {
        EXPECT_EQ(config.heads * config.headDim, config.hidden);
        EXPECT_GE(config.parts.embeddingColumns, 1);
        EXPECT_GE(config.layers, 1);
      });
  EXPECT_GE(tried.cases, 250);
  EXPECT_GT(tried.loaded, 30);
  EXPECT_LT(tried.loaded, tried.cases / 2);
}
