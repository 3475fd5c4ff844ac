// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A real Hugging Face checkpoint, where the test data is at hand (environment
// variable TBQ_TEST_DATA); skipped otherwise.
#include "TemporaryModel.h"

#include <cmath>
#include <cstdlib>
#include <filesystem>

using namespace tbq;

TEST(RealCheckpoint, TinyStories) {
  const char *data = std::getenv("TBQ_TEST_DATA");
  const std::string path = std::string(data ? data : TBQ_DEFAULT_TEST_DATA) +
                           "/models/TinyStories-656K";
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << path << " does not exist (set TBQ_TEST_DATA)";
  auto checkpoint = Checkpoint::open(path);
  ASSERT_TRUE(checkpoint) << checkpoint.error().message;
  const ModelConfig &config = checkpoint->config();
  EXPECT_EQ(config.hidden, 128);
  EXPECT_EQ(config.layers, 2);
  EXPECT_EQ(config.heads, 8);
  EXPECT_EQ(config.kvHeads, 4);
  EXPECT_EQ(config.headDim, 16);
  EXPECT_EQ(config.ffn, 384);
  EXPECT_EQ(config.vocab, 2048);
  EXPECT_TRUE(config.tieEmbeddings);
  EXPECT_EQ(checkpoint->generation().bos, 1);
  EXPECT_EQ(checkpoint->generation().eos, std::vector<int64_t>{2});

  // The file holds the tied matrix as lm_head.weight only.
  ASSERT_TRUE(checkpoint->embedding());
  EXPECT_EQ(checkpoint->embedding()->weight->name, "lm_head.weight");
  EXPECT_EQ(checkpoint->head()->weight, checkpoint->embedding()->weight);
  ASSERT_TRUE(checkpoint->requireFloat("model.norm.weight", {128}));
  const std::map<std::string, std::pair<int64_t, int64_t>> linears = {
      {"self_attn.q_proj", {128, 128}}, {"self_attn.k_proj", {64, 128}},
      {"self_attn.v_proj", {64, 128}},  {"self_attn.o_proj", {128, 128}},
      {"mlp.gate_proj", {384, 128}},    {"mlp.up_proj", {384, 128}},
      {"mlp.down_proj", {128, 384}}};
  for (const char *layer : {"model.layers.0.", "model.layers.1."})
    for (const auto &[name, shape] : linears) {
      auto linear =
          checkpoint->linear(layer + name, shape.first, shape.second, false);
      ASSERT_TRUE(linear) << linear.error().message;
      std::vector<float> row(static_cast<size_t>(shape.second));
      readFloats(*linear->weight, 0, shape.second, row.data());
      float sum = 0;
      for (float value : row)
        sum += std::fabs(value);
      EXPECT_GT(sum, 0.01f);
      EXPECT_LT(sum, 1000.0f);
    }
  auto tokenizer = checkpoint->readText("tokenizer.json");
  ASSERT_TRUE(tokenizer && *tokenizer);
  EXPECT_TRUE(parseJson(**tokenizer, "tokenizer.json"));
}
