// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Embedding and head in 8 and 4 bits, tied and not, with their checks. The
// linears of the checkpoint stay float.
#include "TemporaryModel.h"

using namespace tbq;

static const std::string tableName = "model.embed_tokens";
static const std::string headName = "lm_head";

/// 16 tokens of 7 features, in groups of 4: 2 groups a row, and half a byte of
/// every 4-bit row is unused.
class Embedding : public testing::Test {
protected:
  void SetUp() override {
    model.config["hidden_size"] = 7;
    model.config["head_dim"] = 4;
    model.config["quantization_config"] = {
        {"quant_method", "tbq"},
        {"scheme", "ternary"},
        {"group_size", "row"},
        {"shift", true},
        {"modules_to_not_convert", {"self_attn", "mlp"}}};
    store(8);
  }

  void store(int bits) {
    model.config["quantization_config"]["embedding"] = {{"bits", bits},
                                                        {"group_size", 4}};
    for (const std::string &name : {tableName, headName}) {
      model.tensors.erase(name + ".weight");
      model.tensors[name + ".q"] = codes(bits);
      model.tensors[name + ".scale"] = halfTensor({16, 2}, 0x3800);
    }
  }

  static TestTensor codes(int bits) {
    TestTensor result = byteTensor({16, bits == 8 ? 7 : 4}, 0x09);
    if (bits == 8)
      result.dtype = "I8";
    return result;
  }

  void tie() {
    model.config["tie_word_embeddings"] = true;
    for (const char *kind : {".q", ".scale"})
      model.tensors.erase(headName + kind);
  }

  Checkpoint open() {
    model.writeAll();
    auto checkpoint = Checkpoint::open(model.path());
    EXPECT_TRUE(checkpoint) << checkpoint.error().message;
    return *std::move(checkpoint);
  }

  /// What is wrong with the embedding or the head, or "".
  std::string failure(bool head = false) {
    Checkpoint checkpoint = open();
    auto found = head ? checkpoint.head() : checkpoint.embedding();
    return found ? "" : found.error().message;
  }

  testing::AssertionResult refuses(const std::string &detail,
                                   bool head = false) {
    return isErrorAbout(failure(head),
                        model.path() + "/model.safetensors: ", detail);
  }

  TemporaryModel model;
};

TEST_F(Embedding, ReadsBytesAndNibbles) {
  for (int bits : {8, 4}) {
    store(bits);
    Checkpoint checkpoint = open();
    auto table = checkpoint.embedding(), head = checkpoint.head();
    ASSERT_TRUE(table) << table.error().message;
    ASSERT_TRUE(head) << head.error().message;
    ASSERT_TRUE(table->quantization);
    EXPECT_EQ(table->quantization->scheme,
              bits == 8 ? Scheme::Int8 : Scheme::Int4);
    EXPECT_STREQ(schemeName(table->quantization->scheme),
                 bits == 8 ? "int8" : "int4");
    EXPECT_EQ(table->quantization->groupSize, 4);
    EXPECT_FALSE(table->quantization->shift);
    EXPECT_EQ(table->name, tableName);
    EXPECT_EQ(table->rows, 16);
    EXPECT_EQ(table->columns, 7);
    EXPECT_EQ(table->groups, 2);
    EXPECT_EQ(table->weight, nullptr);
    EXPECT_EQ(table->codes->name, tableName + ".q");
    EXPECT_EQ(table->scale->name, tableName + ".scale");
    EXPECT_EQ(head->codes->name, headName + ".q");
    EXPECT_EQ(head->scale->name, headName + ".scale");
  }
}

TEST_F(Embedding, GroupOfAWholeRow) {
  model.config["quantization_config"]["embedding"]["group_size"] = "row";
  EXPECT_TRUE(refuses(".scale: tensor is F16 [16, 2], expected F16 [16, 1]"));
  model.tensors[tableName + ".scale"] = halfTensor({16, 1}, 0x3800);
  EXPECT_EQ(failure(), "");
}

TEST_F(Embedding, TensorsMustBeCompleteAndOfTheRightKind) {
  for (bool head : {false, true}) {
    const std::string &name = head ? headName : tableName;
    const std::map<std::string, std::vector<TestTensor>> wrong = {
        {".q", {byteTensor({16, 7}, 0), floatTensor({16, 7}), codes(4)}},
        {".scale", {floatTensor({16, 2}), halfTensor({16, 1}, 0)}}};
    for (const auto &[kind, tensors] : wrong) {
      TestTensor good = model.tensors[name + kind];
      for (const TestTensor &tensor : tensors) {
        model.tensors[name + kind] = tensor;
        EXPECT_TRUE(refuses(name + kind + ": tensor is ", head));
      }
      model.tensors.erase(name + kind);
      EXPECT_TRUE(refuses(name + kind + ": tensor is missing", head));
      model.tensors[name + kind] = good;
    }
  }
  store(4);
  model.tensors[tableName + ".q"] = codes(8);
  EXPECT_TRUE(refuses(".q: tensor is I8 [16, 7], expected U8 [16, 4]"));
}

TEST_F(Embedding, ScalesMustBeFinite) {
  std::string &bytes = model.tensors[tableName + ".scale"].bytes;
  bytes[2 * 7 + 1] = 0x7c;
  EXPECT_TRUE(refuses(tableName + ".scale: element [3, 1] is infinite"));
}

TEST_F(Embedding, TheLastNibbleOfAnOddRowIsUnused) {
  store(4);
  EXPECT_EQ(failure(), "");
  std::string &bytes = model.tensors[tableName + ".q"].bytes;
  bytes[4 * 5 + 2] = '\xff';
  EXPECT_EQ(failure(), "");
  bytes[4 * 5 + 3] = 0x19;
  EXPECT_TRUE(refuses(tableName + ".q: byte [5, 3] has bits past the 7"));
}

TEST_F(Embedding, NothingMayBeLeftOver) {
  for (bool head : {false, true}) {
    const std::string &name = head ? headName : tableName;
    for (const char *kind : {".weight", ".shift", ".codes", ".bias"}) {
      model.tensors[name + kind] = floatTensor({16, 7});
      EXPECT_TRUE(refuses(name + kind +
                              ": is not a tensor of this linear, which "
                              "config.json says is int8",
                          head));
      model.tensors.erase(name + kind);
    }
    EXPECT_EQ(failure(head), "");
  }
  model.config["quantization_config"].erase("embedding");
  EXPECT_TRUE(refuses(tableName + ".weight: tensor is missing"));
}

TEST_F(Embedding, TiedUnderEitherName) {
  tie();
  Checkpoint both = open();
  ASSERT_TRUE(both.head());
  EXPECT_EQ(both.head()->codes, both.embedding()->codes);
  EXPECT_EQ(both.head()->scale, both.embedding()->scale);
  EXPECT_EQ(both.head()->codes->name, tableName + ".q");

  for (const char *kind : {".q", ".scale"}) {
    model.tensors[headName + kind] = model.tensors[tableName + kind];
    model.tensors.erase(tableName + kind);
  }
  Checkpoint other = open();
  ASSERT_TRUE(other.embedding());
  EXPECT_EQ(other.head()->codes, other.embedding()->codes);
  EXPECT_EQ(other.head()->codes->name, headName + ".q");
}

TEST_F(Embedding, TiedCopiesMustBeEqual) {
  tie();
  for (const char *kind : {".q", ".scale"})
    model.tensors[headName + kind] = model.tensors[tableName + kind];
  EXPECT_EQ(failure(true), "");
  for (const char *kind : {".q", ".scale"}) {
    model.tensors[headName + kind].bytes[9] ^= 1;
    EXPECT_TRUE(refuses(headName + kind + ": differs from " + tableName + kind +
                            ", but config.json's tie_word_embeddings is true",
                        true));
    model.tensors[headName + kind] = model.tensors[tableName + kind];
  }
  // Half a copy, under either name.
  model.tensors.erase(headName + ".q");
  EXPECT_TRUE(refuses(headName + ".q: tensor is missing", true));
  model.tensors[headName + ".q"] = model.tensors[tableName + ".q"];
  model.tensors.erase(tableName + ".q");
  EXPECT_TRUE(refuses(tableName + ".q: tensor is missing", true));
}
