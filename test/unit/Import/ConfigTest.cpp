// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json and generation_config.json: what is read, and a matrix of field
// and value in which every case is a one-line error naming the field, or loads.
#include "ConfigFixture.h"

using namespace tbq;
using nlohmann::json;

class Config : public ConfigFixture {
protected:
  LlamaConfig openLlama() { return std::get<LlamaConfig>(open().own); }
};

TEST_F(Config, ReadsEveryField) {
  model.config["attention_bias"] = true;
  ModelConfig config = open();
  EXPECT_EQ(config.hidden, 8);
  EXPECT_EQ(config.layers, 1);
  EXPECT_EQ(config.heads, 2);
  EXPECT_EQ(config.kvHeads, 1);
  EXPECT_EQ(config.headDim, 4);
  EXPECT_EQ(config.ffn, 12);
  EXPECT_EQ(config.vocab, 16);
  EXPECT_EQ(config.maxPosition, 32);
  const LlamaConfig &own = std::get<LlamaConfig>(config.own);
  EXPECT_EQ(own.rmsEps, 1e-5);
  EXPECT_EQ(own.ropeTheta, 10000.0);
  EXPECT_EQ(own.rope.kind, RopeScaling::Kind::None);
  EXPECT_FALSE(config.tieEmbeddings);
  EXPECT_EQ(config.architecture, "llama");
  ASSERT_EQ(config.parts.layerLinears.size(), 7u);
  for (const ModelParts::Linear &linear : config.parts.layerLinears)
    EXPECT_EQ(linear.bias, linear.name.rfind("self_attn.", 0) == 0);
  EXPECT_EQ(config.name, model.path().substr(model.path().rfind('/') + 1));
}

TEST_F(Config, DefaultsAreThoseOfTransformers) {
  for (const char *field :
       {"num_key_value_heads", "rms_norm_eps", "rope_theta", "hidden_act",
        "max_position_embeddings", "tie_word_embeddings", "model_type"})
    model.config.erase(field);
  model.config["_name_or_path"] = "org/name";
  ModelConfig config = open();
  EXPECT_EQ(config.kvHeads, 2);
  EXPECT_EQ(std::get<LlamaConfig>(config.own).rmsEps, 1e-6);
  EXPECT_EQ(std::get<LlamaConfig>(config.own).ropeTheta, 10000.0);
  EXPECT_EQ(config.maxPosition, 2048);
  EXPECT_FALSE(config.tieEmbeddings);
  EXPECT_EQ(config.name, "org/name");
}

TEST_F(Config, HeadDimMayBeExplicit) {
  model.config["head_dim"] = 6;
  EXPECT_EQ(open().headDim, 6);
  model.config["num_attention_heads"] = 3; // does not divide hidden_size
  EXPECT_EQ(open().headDim, 6);
  model.config["head_dim"] = nullptr;
  model.writeConfig();
  EXPECT_TRUE(isErrorAbout(model.failure(), model.path() + "/config.json: ",
                           "num_attention_heads: must divide hidden_size, 8"));
}

TEST_F(Config, UnsupportedIsRefusedByName) {
  EXPECT_TRUE(refuses("architectures", {"GPTNeoXForCausalLM"},
                      "architectures: unsupported architecture "
                      "'GPTNeoXForCausalLM' (supported: llama, opt)"));
  EXPECT_TRUE(
      refuses("model_type", "mistral", "unsupported architecture 'mistral'"));
  EXPECT_TRUE(refuses("hidden_act", "gelu", "unsupported activation 'gelu'"));
  for (const char *type : {"dynamic", "yarn", "longrope", "su", "mrope"})
    EXPECT_TRUE(refuses("rope_scaling", {{"rope_type", type}, {"factor", 2.0}},
                        "unsupported rope type '" + std::string(type) + "'"));
  EXPECT_TRUE(refuses("quantization_config",
                      {{"quant_method", "gptq"}, {"bits", 4}},
                      "unsupported quantization method 'gptq'"));
  EXPECT_TRUE(refuses("partial_rotary_factor", 0.5, "partial_rotary_factor"));
}

TEST_F(Config, FieldsMustAgree) {
  EXPECT_TRUE(refuses("num_key_value_heads", 3,
                      "must divide num_attention_heads, 2 (got 3)"));
  EXPECT_TRUE(refuses("num_key_value_heads", 4, "must divide"));
  EXPECT_TRUE(refuses("head_dim", 5, "must be even"));
  EXPECT_TRUE(refuses("head_dim", 1 << 20, "at most 1048576 (got 2097152)"));
  EXPECT_TRUE(refuses("hidden_size", 9, "must divide hidden_size, 9"));
  EXPECT_TRUE(refuses("hidden_size", 2, "head_dim: must be even"));
  EXPECT_TRUE(refuses("architectures", {"LlamaForCausalLM", "X"},
                      "must name one architecture (got 2)"));
  model.config["model_type"] = nullptr;
  EXPECT_TRUE(
      refuses("architectures", nullptr, "model_type: must be a string"));
}

TEST_F(Config, RopeScalingInBothSpellings) {
  const json llama3 = {{"rope_type", "llama3"},
                       {"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 8192}};
  model.config["rope_scaling"] = llama3;
  RopeScaling old = openLlama().rope;
  EXPECT_EQ(old.kind, RopeScaling::Kind::Llama3);
  EXPECT_EQ(old.factor, 8.0);
  EXPECT_EQ(old.lowFrequencyFactor, 1.0);
  EXPECT_EQ(old.highFrequencyFactor, 4.0);
  EXPECT_EQ(old.originalMaxPosition, 8192);

  model.config.erase("rope_scaling");
  model.config.erase("rope_theta");
  model.config["rope_parameters"] = llama3;
  model.config["rope_parameters"]["rope_theta"] = 500000.0;
  LlamaConfig config = openLlama();
  EXPECT_TRUE(config.rope == old);
  EXPECT_EQ(config.ropeTheta, 500000.0);
  EXPECT_TRUE(refuses("rope_theta", 10000.0,
                      "rope_parameters.rope_theta: must be equal"));
  EXPECT_TRUE(refuses("rope_scaling", {{"type", "linear"}, {"factor", 2}},
                      "rope_scaling: disagrees"));

  model.config["rope_parameters"] = {{"rope_type", "default"},
                                     {"rope_theta", 100000}};
  config = openLlama();
  EXPECT_EQ(config.rope.kind, RopeScaling::Kind::None);
  EXPECT_EQ(config.ropeTheta, 100000.0);

  model.config["rope_parameters"] = {{"type", "linear"}, {"factor", 2}};
  EXPECT_EQ(openLlama().rope.kind, RopeScaling::Kind::Linear);
  EXPECT_EQ(openLlama().rope.factor, 2.0);
}

TEST_F(Config, BadRopeScalingIsRefused) {
  const json good = {{"rope_type", "llama3"},
                     {"factor", 8.0},
                     {"low_freq_factor", 1.0},
                     {"high_freq_factor", 4.0},
                     {"original_max_position_embeddings", 8192}};
  for (const auto &[field, values] : std::map<std::string, std::vector<json>>{
           {"factor", {0.5, 0, -1, "8", nullptr, 1e9}},
           {"low_freq_factor", {0, -1, 4.0, 5.0, "1", nullptr}},
           {"high_freq_factor", {0, 1.0, 0.5, nullptr, true}},
           {"original_max_position_embeddings", {0, -1, 1.5, nullptr}},
           {"rope_type", {"", 1, nullptr, "LLAMA3"}},
           {"type", {"linear", 2}},
           {"partial_rotary_factor", {0.5, "1"}},
           {"rope_theta", {0, -1, 2, "x"}},
           {"full_attention", {json::object()}}})
    for (const json &value : values) {
      json changed = good;
      changed[field] = value;
      EXPECT_TRUE(refuses("rope_scaling", changed, "rope_scaling."))
          << field << " = " << value;
    }
  EXPECT_TRUE(refuses("rope_scaling", json::array(), "must be an object"));
  EXPECT_TRUE(refuses("rope_scaling", {{"factor", 2}}, "rope_type"));
}

TEST_F(Config, Matrix) {
  Matrix tried =
      tryAll({"architectures",
              "model_type",
              "hidden_act",
              "hidden_size",
              "num_hidden_layers",
              "num_attention_heads",
              "num_key_value_heads",
              "head_dim",
              "intermediate_size",
              "vocab_size",
              "max_position_embeddings",
              "rms_norm_eps",
              "rope_theta",
              "rope_scaling",
              "rope_parameters",
              "tie_word_embeddings",
              "attention_bias",
              "mlp_bias",
              "bos_token_id",
              "eos_token_id",
              "pad_token_id",
              "quantization_config",
              "_name_or_path"},
             {"8", 1e-7, "silu"}, [](const ModelConfig &config) {
               EXPECT_GE(config.headDim, 2);
               EXPECT_EQ(config.heads % config.kvHeads, 0);
               EXPECT_GT(std::get<LlamaConfig>(config.own).rmsEps, 0.0);
               EXPECT_GE(std::get<LlamaConfig>(config.own).ropeTheta, 1.0);
               EXPECT_GE(config.layers, 1);
             });
  EXPECT_GE(tried.cases, 250);
  EXPECT_GT(tried.loaded, 50);
  EXPECT_LT(tried.loaded, tried.cases / 2);
}

TEST_F(Config, RequiredSizes) {
  for (const char *field :
       {"hidden_size", "num_hidden_layers", "num_attention_heads",
        "intermediate_size", "vocab_size"})
    for (const json &value :
         std::vector<json>{nullptr, 0, -1, 1.0, "1", INT64_MAX, UINT64_MAX})
      EXPECT_TRUE(refuses(field, value,
                          std::string(field) + ": must be an integer in [1, "))
          << value;
}

TEST_F(Config, BadFilesAreRefused) {
  for (const std::string &text :
       {std::string(), std::string("[]"), std::string("{\"a\":1,\"a\":2}"),
        std::string("null"), std::string(1 << 20, '['),
        std::string(5 << 20, ' ')}) {
    model.write("config.json", text);
    EXPECT_TRUE(
        isErrorAbout(model.failure(), model.path() + "/config.json: ", ""));
  }
  model.remove("config.json");
  EXPECT_TRUE(isErrorAbout(model.failure(), model.path() + ": ",
                           "config.json: does not exist"));
}

class Generation : public Config {
protected:
  GenerationConfig openWith(const std::string &text) {
    model.writeConfig();
    model.write("generation_config.json", text);
    auto checkpoint = Checkpoint::open(model.path());
    EXPECT_TRUE(checkpoint) << checkpoint.error().message;
    return checkpoint ? checkpoint->generation() : GenerationConfig();
  }
};

TEST_F(Generation, FileThenConfig) {
  model.config["bos_token_id"] = 1;
  model.config["eos_token_id"] = 2;
  model.config["pad_token_id"] = -1;
  model.writeConfig();
  auto checkpoint = Checkpoint::open(model.path());
  ASSERT_TRUE(checkpoint);
  EXPECT_EQ(checkpoint->generation().bos, 1);
  EXPECT_EQ(checkpoint->generation().eos, std::vector<int64_t>{2});
  EXPECT_EQ(checkpoint->generation().pad, std::nullopt);
  EXPECT_EQ(checkpoint->generation().temperature, std::nullopt);

  GenerationConfig both = openWith(
      R"({"eos_token_id":[3,4],"pad_token_id":0,"do_sample":true,
          "temperature":0.6,"top_k":50,"top_p":0.9,"min_p":null,
          "repetition_penalty":1.1,"max_length":4096})");
  EXPECT_EQ(both.bos, 1);
  EXPECT_EQ(both.eos, (std::vector<int64_t>{3, 4}));
  EXPECT_EQ(both.pad, 0);
  EXPECT_EQ(both.doSample, true);
  EXPECT_EQ(both.temperature, 0.6);
  EXPECT_EQ(both.topK, 50);
  EXPECT_EQ(both.topP, 0.9);
  EXPECT_EQ(both.minP, std::nullopt);
  EXPECT_EQ(both.repetitionPenalty, 1.1);
}

TEST_F(Generation, BadValuesAreRefused) {
  for (const char *text : {R"({"bos_token_id":16})",
                           R"({"bos_token_id":-1})",
                           R"({"bos_token_id":[1,2]})",
                           R"({"bos_token_id":"1"})",
                           R"({"eos_token_id":16})",
                           R"({"eos_token_id":[1,16]})",
                           R"({"eos_token_id":[-1]})",
                           R"({"eos_token_id":[[1]]})",
                           R"({"eos_token_id":{}})",
                           R"({"pad_token_id":-2})",
                           R"({"temperature":-0.1})",
                           R"({"temperature":"hot"})",
                           R"({"temperature":1e999})",
                           R"({"top_k":-1})",
                           R"({"top_k":1.5})",
                           R"({"top_p":1.5})",
                           R"({"min_p":-1})",
                           R"({"repetition_penalty":0})",
                           R"({"do_sample":1})",
                           R"([])",
                           R"({)"}) {
    model.write("generation_config.json", text);
    EXPECT_TRUE(isErrorAbout(model.failure(),
                             model.path() + "/generation_config.json: ", ""))
        << text;
  }
  json many = {{"eos_token_id", json::array()}};
  for (int i = 0; i < 257; ++i)
    many["eos_token_id"].push_back(1);
  model.write("generation_config.json", many.dump());
  EXPECT_TRUE(isErrorAbout(model.failure(), model.path(), "at most 256"));
}
