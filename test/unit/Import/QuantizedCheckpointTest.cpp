// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Our quantised checkpoint: its config, and its linears with their checks.
#include "TemporaryModel.h"

using namespace tbq;
using nlohmann::json;

static const std::string upName = "model.layers.0.mlp.up_proj";
static const std::string downName = "model.layers.0.mlp.down_proj";

/// down_proj [8, 12] in groups of 5: 3 groups a row, 3 bytes of codes a row.
class Quantized : public testing::Test {
protected:
  void SetUp() override {
    quantization() = {{"quant_method", "tbq"},
                      {"scheme", "ternary"},
                      {"group_size", 5},
                      {"shift", true},
                      {"activations", "i8"},
                      {"modules_to_not_convert", {"lm_head", "self_attn"}}};
    model.tensors.erase(downName + ".weight");
    model.tensors[downName + ".codes"] = byteTensor({8, 3}, 0x91); // 1 0 1 2
    model.tensors[downName + ".scale"] = halfTensor({8, 3}, 0x3800);
    model.tensors[downName + ".shift"] = halfTensor({8, 3}, 0xb400);
  }

  json &quantization() { return model.config["quantization_config"]; }

  std::string linearFailure(bool hasBias = false) {
    model.writeAll();
    auto checkpoint = Checkpoint::open(model.path());
    if (!checkpoint)
      return checkpoint.error().message;
    auto linear = checkpoint->linear(downName, 8, 12, hasBias);
    return linear ? "" : linear.error().message;
  }

  testing::AssertionResult refuses(const std::string &field, const json &value,
                                   const std::string &detail) {
    json saved = quantization();
    quantization()[field] = value;
    model.writeAll();
    quantization() = saved;
    return isErrorAbout(model.failure(), model.path() + "/config.json: ",
                        "quantization_config" + detail);
  }

  Checkpoint open() {
    model.writeAll();
    auto checkpoint = Checkpoint::open(model.path());
    EXPECT_TRUE(checkpoint) << checkpoint.error().message;
    return *std::move(checkpoint);
  }

  TemporaryModel model;
};

TEST_F(Quantized, ReadsATernaryLinear) {
  Checkpoint checkpoint = open();
  EXPECT_EQ(checkpoint.quantization()->activations, "i8");
  auto linear = checkpoint.linear(downName, 8, 12, false);
  ASSERT_TRUE(linear) << linear.error().message;
  ASSERT_TRUE(linear->quantization);
  EXPECT_EQ(linear->quantization->scheme, Scheme::Ternary);
  EXPECT_EQ(linear->quantization->groupSize, 5);
  EXPECT_EQ(linear->groups, 3);
  EXPECT_EQ(linear->weight, nullptr);
  EXPECT_EQ(linear->codes->data[23], 0x91);
  float value;
  readFloats(*linear->scale, 23, 1, &value);
  EXPECT_EQ(value, 0.5f);
  readFloats(*linear->shift, 0, 1, &value);
  EXPECT_EQ(value, -0.25f);
  auto query =
      checkpoint.linear("model.layers.0.self_attn.q_proj", 8, 8, false);
  ASSERT_TRUE(query) << query.error().message;
  EXPECT_FALSE(query->quantization);
  EXPECT_TRUE(checkpoint.head()) << "the head stays float";
}

TEST_F(Quantized, GroupOfAWholeRow) {
  quantization()["group_size"] = "row";
  EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(),
                           ".scale: tensor is F16 [8, 3], expected F16 [8, "
                           "1]"));
  model.tensors[downName + ".scale"] = halfTensor({8, 1}, 0x3800);
  model.tensors[downName + ".shift"] = halfTensor({8, 1}, 0x3800);
  EXPECT_EQ(linearFailure(), "");
  quantization()["group_size"] = 12;
  EXPECT_EQ(linearFailure(), "");
  quantization()["group_size"] = 4096; // longer than the row: one group
  EXPECT_EQ(linearFailure(), "");
  LinearScheme scheme{Scheme::Ternary, 4, false};
  EXPECT_EQ(scheme.groupsPerRow(12), 3);
  EXPECT_EQ(scheme.groupsPerRow(13), 4);
}

TEST_F(Quantized, CodesMustBeTernary) {
  std::string &codes = model.tensors[downName + ".codes"].bytes;
  for (size_t byte = 0; byte < codes.size(); ++byte)
    for (int code = 0; code < 4; ++code) {
      char saved = codes[byte];
      codes[byte] = static_cast<char>(codes[byte] | (3 << (2 * code)));
      EXPECT_TRUE(isErrorAbout(
          linearFailure(), model.path() + "/model.safetensors: ",
          downName + ".codes: byte " + std::to_string(byte % 3) + " of row " +
              std::to_string(byte / 3) + " holds a code 3"));
      codes[byte] = saved;
    }
  // Every byte without a 3 is good: no false alarm across pairs.
  for (int value = 0; value < 256; ++value) {
    bool hasThree = false;
    for (int code = 0; code < 4; ++code)
      hasThree |= ((value >> (2 * code)) & 3) == 3;
    model.tensors[downName + ".codes"] =
        byteTensor({8, 3}, static_cast<uint8_t>(value));
    EXPECT_EQ(linearFailure().empty(), !hasThree) << value;
  }
}

TEST_F(Quantized, ScalesAndShiftsMustBeFinite) {
  for (const char *kind : {".scale", ".shift"})
    for (uint16_t pattern : {0x7c00, 0xfc00, 0x7e00, 0x7c01}) {
      TestTensor good = model.tensors[downName + kind];
      std::string &bytes = model.tensors[downName + kind].bytes;
      bytes[2 * 7] = static_cast<char>(pattern);
      bytes[2 * 7 + 1] = static_cast<char>(pattern >> 8);
      EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(),
                               std::string(kind) + ": element [2, 1] is "
                                                   "infinite"));
      model.tensors[downName + kind] = good;
    }
  model.tensors[downName + ".scale"] = halfTensor({8, 3}, 0x7bff);
  EXPECT_EQ(linearFailure(), "") << "the largest f16 is finite";
}

TEST_F(Quantized, TensorsMustBeCompleteAndOfTheRightKind) {
  const std::map<std::string, TestTensor> wrong = {
      {".codes", byteTensor({8, 12}, 0)},
      {".scale", floatTensor({8, 3})},
      {".shift", halfTensor({8, 2}, 0)}};
  for (const auto &[kind, tensor] : wrong) {
    TestTensor good = model.tensors[downName + kind];
    model.tensors[downName + kind] = tensor;
    EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(),
                             downName + kind + ": tensor is "));
    model.tensors.erase(downName + kind);
    EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(),
                             downName + kind + ": tensor is missing"));
    model.tensors[downName + kind] = good;
  }
  EXPECT_EQ(linearFailure(), "");
  EXPECT_TRUE(isErrorAbout(linearFailure(true), model.path(), ".bias"));
}

TEST_F(Quantized, NothingMayBeLeftOver) {
  for (const char *kind :
       {".weight", ".planes", ".salient_mask", ".q", ".bias"}) {
    model.tensors[downName + kind] = floatTensor({8, 12});
    EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(),
                             downName + kind +
                                 ": is not a tensor of this linear, which "
                                 "config.json says is ternary"));
    model.tensors.erase(downName + kind);
  }
  quantization()["shift"] = false;
  EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(), "without shift"));
  model.tensors.erase(downName + ".shift");
  EXPECT_EQ(linearFailure(), "");
  model.config.erase("quantization_config");
  EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(),
                           downName + ".weight: tensor is missing"));
}

/// down_proj [8, 12] in groups of 5, binary or dual binary.
class Bits : public Quantized {
protected:
  void setScheme(const std::string &scheme) {
    dual = scheme == "dual-binary";
    quantization()["scheme"] = scheme;
    quantization()["shift"] = !dual;
    for (const char *kind : {".codes", ".shift"})
      model.tensors.erase(downName + kind);
    model.tensors[downName + ".planes"] =
        byteTensor({dual ? 2 : 1, 8, 2}, 0x0d);
    model.tensors[downName + ".scale"] = halfTensor({8, 3}, 0x3800);
    if (dual)
      model.tensors[downName + ".scale"] = halfTensor({2, 8, 3}, 0x3800);
    else
      model.tensors[downName + ".shift"] = halfTensor({8, 3}, 0xb400);
  }

  bool dual = false;
};

TEST_F(Bits, ReadsBinaryLinears) {
  setScheme("binary");
  Checkpoint checkpoint = open();
  auto linear = checkpoint.linear(downName, 8, 12, false);
  ASSERT_TRUE(linear) << linear.error().message;
  EXPECT_EQ(linear->quantization->scheme, Scheme::Binary);
  EXPECT_EQ(linear->groups, 3);
  EXPECT_EQ(linear->codes, nullptr);
  EXPECT_EQ(linear->planes->shape, (std::vector<int64_t>{1, 8, 2}));
  EXPECT_EQ(linear->shift->shape, (std::vector<int64_t>{8, 3}));
  quantization()["shift"] = false;
  EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(), "without shift"));
  model.tensors.erase(downName + ".shift");
  EXPECT_EQ(linearFailure(), "");
}

TEST_F(Bits, ReadsDualBinaryLinears) {
  setScheme("dual-binary");
  Checkpoint checkpoint = open();
  auto linear = checkpoint.linear(downName, 8, 12, false);
  ASSERT_TRUE(linear) << linear.error().message;
  EXPECT_EQ(linear->quantization->scheme, Scheme::DualBinary);
  EXPECT_EQ(linear->planes->shape, (std::vector<int64_t>{2, 8, 2}));
  EXPECT_EQ(linear->scale->shape, (std::vector<int64_t>{2, 8, 3}));
  EXPECT_EQ(linear->shift, nullptr);
  model.tensors[downName + ".shift"] = halfTensor({8, 3}, 0);
  EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(),
                           downName + ".shift: is not a tensor of this linear, "
                                      "which config.json says is dual-binary"));
}

TEST_F(Bits, NothingPastARowsEnd) {
  for (const char *scheme : {"binary", "dual-binary"}) {
    setScheme(scheme);
    std::string &bytes = model.tensors[downName + ".planes"].bytes;
    for (size_t byte = 0; byte < bytes.size(); ++byte)
      for (int bit = 0; bit < 8; ++bit) {
        const char saved = bytes[byte];
        bytes[byte] = static_cast<char>(saved | 1 << bit);
        const bool past = byte % 2 == 1 && bit >= 4;
        const std::string index = "byte [" + std::to_string(byte / 16) + ", " +
                                  std::to_string(byte / 2 % 8) +
                                  ", 1] has bits past the 12 columns";
        EXPECT_TRUE(past ? isErrorAbout(linearFailure(), model.path(), index)
                         : testing::AssertionResult(linearFailure().empty()));
        bytes[byte] = saved;
      }
  }
}

TEST_F(Bits, RefusesOtherTensors) {
  for (const char *scheme : {"binary", "dual-binary"}) {
    setScheme(scheme);
    const std::map<std::string, TestTensor> wrong = {
        {".planes", byteTensor({dual ? 1 : 2, 8, 2}, 0)},
        {".scale", halfTensor({dual ? 1 : 2, 8, 3}, 0)}};
    for (const auto &[kind, tensor] : wrong) {
      TestTensor good = model.tensors[downName + kind];
      model.tensors[downName + kind] = tensor;
      EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(),
                               downName + kind + ": tensor is "));
      model.tensors.erase(downName + kind);
      EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(),
                               downName + kind + ": tensor is missing"));
      model.tensors[downName + kind] = good;
    }
    std::string &bytes = model.tensors[downName + ".scale"].bytes;
    bytes[bytes.size() - 1] = 0x7e;
    EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(),
                             dual ? ".scale: element [1, 7, 2] is infinite"
                                  : ".scale: element [7, 2] is infinite"));
    setScheme(scheme);
    for (const char *kind : {".salient_mask", ".salient_values"}) {
      model.tensors[downName + kind] = byteTensor({8, 2}, 0);
      EXPECT_TRUE(isErrorAbout(linearFailure(), model.path(),
                               downName + kind + ": salient weights are not "));
      model.tensors.erase(downName + kind);
    }
    EXPECT_EQ(linearFailure(), "");
  }
}

TEST_F(Quantized, OverridesByPattern) {
  quantization()["layers"] = {
      {"model\\.layers\\.\\d+\\.mlp\\.up_proj", {{"group_size", "row"}}},
      {".*down_proj", {{"scheme", "dual-binary"}, {"group_size", 64}}}};
  Checkpoint checkpoint = open();
  auto up = checkpoint.schemeOf(upName);
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
