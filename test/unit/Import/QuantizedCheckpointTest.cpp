// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The linears of our quantised checkpoint, with their checks.
#include "QuantizedModel.h"

#include <fstream>
#include <functional>

using namespace tbq;

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
    if (dual) { // only binary has a salient part
      model.tensors[downName + ".salient_mask"] = byteTensor({8, 2}, 0);
      EXPECT_TRUE(
          isErrorAbout(linearFailure(), model.path(),
                       downName + ".salient_mask: is not a tensor of "));
      model.tensors.erase(downName + ".salient_mask");
    }
    EXPECT_EQ(linearFailure(), "");
  }
}

/// down_proj [8, 12] with a salient weight in columns 2 and 9 of each row.
class Salient : public Bits {
protected:
  void SetUp() override {
    Bits::SetUp();
    setScheme("binary");
    set("mask", byteTensor({8, 2}, 0));
    std::string &mask = bytes("salient_mask");
    for (int row = 0; row < 8; ++row)
      mask[2 * row] = 1 << 2, mask[2 * row + 1] = 1 << 1;
    for (char &byte : bytes("planes"))
      byte &= 0b01011001;
    std::string offsets;
    for (int row = 0; row <= 8; ++row)
      offsets += std::string{char(2 * row), 0, 0, 0};
    set("offsets", {"I32", {9}, offsets});
    set("values", {"I8", {16}, std::string(16, '\x85')});
    set("scale", halfTensor({8}, 0x2001));
    set("zero", {"I16", {8}, std::string(16, '\xff')}); // -1
  }

  void set(const std::string &part, const TestTensor &tensor) {
    model.tensors[downName + ".salient_" + part] = tensor;
  }
  std::string &bytes(const std::string &part) {
    return model.tensors[downName + "." + part].bytes;
  }
  /// Whether a change of the tensors is refused with `detail`; it is undone.
  testing::AssertionResult refuses(const std::function<void()> &change,
                                   const std::string &detail) {
    TestTensors saved = model.tensors;
    change();
    std::string failure = linearFailure();
    model.tensors = saved;
    return isErrorAbout(failure, model.path(), downName + detail);
  }
};

TEST_F(Salient, ReadsTheParts) {
  Checkpoint checkpoint = open();
  auto linear = checkpoint.linear(downName, 8, 12, false);
  ASSERT_TRUE(linear) << linear.error().message;
  ASSERT_TRUE(linear->salient);
  EXPECT_EQ(linear->salient->mask->name, downName + ".salient_mask");
  EXPECT_EQ(linear->salient->values->elements(), 16);
  EXPECT_EQ(linear->salient->offsets->elements(), 9);
  EXPECT_EQ(linear->salient->scale->dtype, DType::F16);
  EXPECT_EQ(linear->salient->zero->dtype, DType::I16);
  model.tensors.erase(downName + ".salient_zero");
  Checkpoint without = open();
  EXPECT_EQ(without.linear(downName, 8, 12, false)->salient->zero, nullptr);
}

TEST_F(Salient, RefusesOtherTensors) {
  const std::map<std::string, TestTensor> wrong = {
      {"mask", byteTensor({8, 3}, 0)},
      {"offsets", {"I32", {8}, std::string(32, 0)}},
      {"values", {"I8", {15}, std::string(15, 0)}},
      {"scale", halfTensor({8, 1}, 0)},
      {"zero", {"I8", {8}, std::string(8, 0)}}};
  for (const auto &[part, tensor] : wrong) {
    const std::string name = ".salient_" + part;
    EXPECT_TRUE(
        refuses([&, &part = part, &tensor = tensor] { set(part, tensor); },
                name + ": tensor is "));
    if (part == "mask") // no mask, no salient part: the rest is left over
      EXPECT_TRUE(refuses([&] { model.tensors.erase(downName + name); },
                          ".salient_offsets: is not a tensor of this linear"));
    else if (part != "zero")
      EXPECT_TRUE(refuses([&] { model.tensors.erase(downName + name); },
                          name + ": tensor is missing"));
  }
  EXPECT_TRUE(refuses([&] { set("index", byteTensor({8, 2}, 0)); },
                      ".salient_index: is not a tensor of this linear, which "
                      "config.json says is binary with salient weights"));
  EXPECT_EQ(linearFailure(), "");
}

TEST_F(Salient, RefusesContradictions) {
  EXPECT_TRUE(refuses([&] { bytes("salient_mask")[5] |= 1 << 4; },
                      ".salient_mask: byte [2, 1] has bits past the 12"));
  EXPECT_TRUE(refuses([&] { bytes("planes")[6] |= 1 << 2; },
                      ".planes: byte 0 of row 3 has bits where the mask"));
  EXPECT_TRUE(refuses([&] { bytes("salient_offsets")[0] = 1; },
                      ".salient_offsets: begins with 1, expected 0"));
  EXPECT_TRUE(
      refuses([&] { bytes("salient_offsets")[4 * 3] = 7; },
              ".salient_offsets: element [3] is 7, but the mask has 6"));
  EXPECT_TRUE(refuses([&] { bytes("salient_offsets")[4 * 3 + 3] = '\x80'; },
                      ".salient_offsets: element [3] is -2147483642, but"));
  EXPECT_TRUE(
      refuses([&] { bytes("salient_mask")[15] = 0; },
              ".salient_offsets: element [8] is 16, but the mask has "));
  EXPECT_TRUE(refuses([&] { bytes("salient_scale")[7] = 0x7c; },
                      ".salient_scale: element [3] is infinite"));
  EXPECT_TRUE(refuses(
      [&] { bytes("salient_zero")[4] = 0, bytes("salient_zero")[5] = 1; },
      ".salient_zero: element [2] is 256, expected -128 to 127"));
  EXPECT_TRUE(refuses([&] { bytes("salient_zero")[4] = 0x7f; },
                      ".salient_zero: element [2] is -129, expected"));
}

/// Bytes of this process that come from files.
static uint64_t residentFileBytes() {
  std::ifstream status("/proc/self/status");
  std::string name;
  uint64_t kilobytes = 0;
  while (status >> name)
    if (name == "RssFile:") {
      status >> kilobytes;
      break;
    }
  return kilobytes << 10;
}

TEST_F(Quantized, GivesCheckedPagesBack) {
  const int64_t rows = 1 << 20; // 3 MiB of codes, 6 MiB each of the others
  model.tensors[downName + ".codes"] = byteTensor({rows, 3}, 0x91);
  model.tensors[downName + ".scale"] = halfTensor({rows, 3}, 0x3800);
  model.tensors[downName + ".shift"] = halfTensor({rows, 3}, 0xb400);
  Checkpoint checkpoint = open();
  const uint64_t before = residentFileBytes();
  ASSERT_GT(before, 0u);
  auto linear = checkpoint.linear(downName, rows, 12, false);
  ASSERT_TRUE(linear) << linear.error().message;
  EXPECT_LT(residentFileBytes(), before + (1 << 20));
  EXPECT_EQ(linear->codes->data[3 * rows - 1], 0x91) << "they come back";
}
