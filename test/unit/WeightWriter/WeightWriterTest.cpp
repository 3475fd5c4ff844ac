// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sections written from recipes: what the checkpoint stores, and what is
// computed on the way (rope) against its own definition.

#include "WrittenSection.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::isErrorAbout;
using ::tbq::TestTensor;

namespace {

const char *const normRecipe = R"mlir(
  %n = tbq.weight "model.norm.weight" : tensor<8xf32>
  %np = tbq.pack %n : (tensor<8xf32>) -> !tbq.packed<1x8, f32, tile 1>
  tbq.place %np at 64 "norm" : !tbq.packed<1x8, f32, tile 1>
)mlir";

TEST_F(WeightWriter, GapsAndEndAreZero) {
  model.tensors["model.norm.weight"] = floats({8}, norm);
  ASSERT_EQ(write(256, normRecipe), "");
  ASSERT_EQ(section.size(), 256u);
  EXPECT_EQ(placed("norm").elements, norm);
  for (size_t i = 0; i < 256; ++i)
    if (i < 64 || i >= 64 + 32) {
      EXPECT_EQ(section[i], 0) << i;
    }
}

TEST_F(WeightWriter, FloatWithBiasInOtherTypes) {
  const std::string name = "model.layers.0.self_attn.q_proj";
  std::vector<float> matrix = ramp(64, -3.0f, 0.125f);
  model.tensors[name + ".weight"] = floats({8, 8}, matrix);
  model.tensors[name + ".bias"] = ::tbq::halfTensor({8}, 0x3e00); // 1.5
  ASSERT_EQ(write(320, R"mlir(
    %w = tbq.weight "model.layers.0.self_attn.q_proj.weight" : tensor<8x8xf32>
    %b = tbq.weight "model.layers.0.self_attn.q_proj.bias" : tensor<8xf16>
    %p = tbq.pack %w bias(%b) : (tensor<8x8xf32>, tensor<8xf16>) -> !tbq.packed<8x8, bf16, tile 16, bias>
    tbq.place %p at 0 "q" : !tbq.packed<8x8, bf16, tile 16, bias>
)mlir"),
            "");
  EXPECT_EQ(placed("q").elements, matrix); // all are exact in bf16
  EXPECT_EQ(placed("q").bias, std::vector<float>(8, 1.5f));
}

TEST_F(WeightWriter, RopeTable) {
  ASSERT_EQ(write(64 * 32, R"mlir(
    %t = tbq.rope_table [1.0, 0.0123] : tensor<32x4xf32>
    %p = tbq.pack %t : (tensor<32x4xf32>) -> !tbq.packed<32x4, f32, tile 1>
    tbq.place %p at 0 "rope" : !tbq.packed<32x4, f32, tile 1>
)mlir"),
            "");
  std::vector<float> table = placed("rope").elements;
  ASSERT_EQ(table.size(), 128u);
  for (int p = 0; p < 32; ++p) {
    const float angle = float(p) * 0.0123f; // rounded to f32
    EXPECT_EQ(table[4 * p], float(std::cos(double(p))));
    EXPECT_EQ(table[4 * p + 1], float(std::cos(double(angle))));
    EXPECT_EQ(table[4 * p + 2], float(std::sin(double(p))));
    EXPECT_EQ(table[4 * p + 3], float(std::sin(double(angle))));
  }
}

const char *const downRecipe = R"mlir(
  %t = tbq.weight "model.layers.0.mlp.down_proj.codes" : !tbq.digits<8x12, ternary>
  %a = tbq.weight "model.layers.0.mlp.down_proj.scale" : tensor<8x1xf16>
  %c = tbq.weight "model.layers.0.mlp.down_proj.shift" : tensor<8x1xf16>
  %p = tbq.pack %t coefficients(%a, %c) : (!tbq.digits<8x12, ternary>, tensor<8x1xf16>, tensor<8x1xf16>)
    -> !tbq.packed<8x12, digits [2], terms [[1, -1], [0, 1]], group 12, tile 16>
  tbq.place %p at 0 "down" : !tbq.packed<8x12, digits [2], terms [[1, -1], [0, 1]], group 12, tile 16>
)mlir";

TEST_F(WeightWriter, TernaryOfTheCheckpoint) {
  const std::string name = "model.layers.0.mlp.down_proj";
  model.tensors[name + ".codes"] = ::tbq::byteTensor({8, 3}, 0x91); // 1 0 1 2
  model.tensors[name + ".scale"] = ::tbq::halfTensor({8, 1}, 0x3801);
  model.tensors[name + ".shift"] = ::tbq::halfTensor({8, 1}, 0xb402);
  ASSERT_EQ(write(128, downRecipe), "");
  UnpackedWeight weight = placed("down");
  ASSERT_EQ(weight.planes.size(), 1u);
  const uint8_t digits[] = {1, 0, 1, 2};
  for (size_t i = 0; i < 96; ++i)
    ASSERT_EQ(weight.planes[0][i], digits[i % 4]) << i;
  EXPECT_EQ(weight.coefficients[0], std::vector<uint16_t>(8, 0x3801));
  EXPECT_EQ(weight.coefficients[1], std::vector<uint16_t>(8, 0xb402));
}

const char *const dualRecipe = R"mlir(
  %b = tbq.weight "model.layers.0.mlp.down_proj.planes" : !tbq.digits<8x12, dual_binary>
  %a1 = tbq.weight "model.layers.0.mlp.down_proj.scale" plane 0 : tensor<8x1xf16>
  %a2 = tbq.weight "model.layers.0.mlp.down_proj.scale" plane 1 : tensor<8x1xf16>
  %p = tbq.pack %b coefficients(%a1, %a2) : (!tbq.digits<8x12, dual_binary>, tensor<8x1xf16>, tensor<8x1xf16>)
    -> !tbq.packed<8x12, digits [1, 1], terms [[1, 0, 0], [0, 1, 0]], group 12, tile 16>
  tbq.place %p at 0 "down" : !tbq.packed<8x12, digits [1, 1], terms [[1, 0, 0], [0, 1, 0]], group 12, tile 16>
)mlir";

const char *const salientRecipe = R"mlir(
  %b = tbq.weight "model.layers.0.mlp.down_proj.planes" : !tbq.digits<8x12, binary>
  %a = tbq.weight "model.layers.0.mlp.down_proj.scale" : tensor<8x1xf16>
  %m = tbq.weight "model.layers.0.mlp.down_proj.salient_mask" : !tbq.digits<8x12, salient_mask>
  %v = tbq.weight "model.layers.0.mlp.down_proj.salient_values" : tensor<8xi8>
  %o = tbq.weight "model.layers.0.mlp.down_proj.salient_offsets" : tensor<9xi32>
  %s = tbq.weight "model.layers.0.mlp.down_proj.salient_scale" : tensor<8xf16>
  %z = tbq.weight "model.layers.0.mlp.down_proj.salient_zero" : tensor<8xi16>
  %p = tbq.pack %b coefficients(%a) salient(%m, %v, %o, %s, %z)
    : (!tbq.digits<8x12, binary>, tensor<8x1xf16>, !tbq.digits<8x12, salient_mask>, tensor<8xi8>, tensor<9xi32>, tensor<8xf16>, tensor<8xi16>)
    -> !tbq.packed<8x12, digits [1, 1, 8], terms [[2, 1, 0, -1], [0, 0, 1, 0]], salient, group 12, tile 16>
  tbq.place %p at 64 "down" : !tbq.packed<8x12, digits [1, 1, 8], terms [[2, 1, 0, -1], [0, 0, 1, 0]], salient, group 12, tile 16>
)mlir";

TEST_F(WeightWriter, SalientOfTheCheckpoint) {
  const std::string name = "model.layers.0.mlp.down_proj";
  model.tensors[name + ".planes"] = ::tbq::byteTensor({1, 8, 2}, 0x05);
  model.tensors[name + ".scale"] = ::tbq::halfTensor({8, 1}, 0x3801);
  TestTensor mask = ::tbq::byteTensor({8, 2}, 0);
  std::string offsets;
  for (int row = 0; row <= 8; ++row) {
    if (row < 8)
      mask.bytes[2 * row + 1] = 1 << 3; // column 11
    offsets += std::string{char(row), 0, 0, 0};
  }
  model.tensors[name + ".salient_mask"] = mask;
  model.tensors[name + ".salient_values"] = {
      "I8", {8}, "\x80\x81\x7f\x01\x02\x03\x04\x05"};
  model.tensors[name + ".salient_offsets"] = {"I32", {9}, offsets};
  model.tensors[name + ".salient_scale"] = ::tbq::halfTensor({8}, 0x2003);
  model.tensors[name + ".salient_zero"] = {"I16", {8}, std::string(16, '\xff')};
  ASSERT_EQ(write(512, salientRecipe), "");
  UnpackedWeight weight = placed("down");
  const uint8_t codes[] = {0, 1, 255, 129, 130, 131, 132, 133};
  for (size_t i = 0; i < 96; ++i) {
    ASSERT_EQ(weight.planes[0][i], 0x0505 >> (i % 12) & 1) << i;
    ASSERT_EQ(weight.planes[1][i], i % 12 == 11) << i;
    ASSERT_EQ(weight.planes[2][i], i % 12 == 11 ? codes[i / 12] : 0) << i;
  }
  EXPECT_EQ(weight.coefficients[1], std::vector<uint16_t>(8, 0x2003));
  EXPECT_EQ(weight.zeroPoints, std::vector<int16_t>(8, 127));
}

/// A tensor of two, where the second half differs.
TestTensor halves(std::vector<int64_t> shape, TestTensor first,
                  const TestTensor &second) {
  shape.insert(shape.begin(), 2);
  return {first.dtype, shape, first.bytes + second.bytes};
}

TEST_F(WeightWriter, DualBinaryOfTheCheckpoint) {
  const std::string name = "model.layers.0.mlp.down_proj";
  const auto byte = ::tbq::byteTensor;
  const auto half = ::tbq::halfTensor;
  model.tensors[name + ".planes"] =
      halves({8, 2}, byte({8, 2}, 0x05), byte({8, 2}, 0x03));
  model.tensors[name + ".scale"] =
      halves({8, 1}, half({8, 1}, 0x3801), half({8, 1}, 0xb402));
  ASSERT_EQ(write(192, dualRecipe), "");
  UnpackedWeight weight = placed("down");
  ASSERT_EQ(weight.planes.size(), 2u);
  for (size_t i = 0; i < 96; ++i) {
    ASSERT_EQ(weight.planes[0][i], 0x05 >> (i % 12 % 8) & 1) << i;
    ASSERT_EQ(weight.planes[1][i], 0x03 >> (i % 12 % 8) & 1) << i;
  }
  EXPECT_EQ(weight.coefficients[0], std::vector<uint16_t>(8, 0x3801));
  EXPECT_EQ(weight.coefficients[1], std::vector<uint16_t>(8, 0xb402));
  // A plane that is not there.
  model.tensors[name + ".scale"] = half({1, 8, 1}, 0);
  EXPECT_TRUE(isErrorAbout(write(192, dualRecipe), model.path(),
                           name + ".scale: has no plane 1"));
  model.tensors[name + ".planes"] = byte({1, 8, 2}, 0);
  EXPECT_TRUE(isErrorAbout(write(192, dualRecipe), model.path(),
                           name + ".planes: tensor is U8 [1, 8, 2], expected "
                                  "U8 [2, 8, 2]"));
}

/// The embedding, 16 x 8, a row a group.
std::string tableRecipe(const std::string &scheme, const std::string &form) {
  const std::string digits = "!tbq.digits<16x8, " + scheme + ">",
                    packed = "!tbq.packed<16x8, " + form + ", tile 16>";
  return "%q = tbq.weight \"model.embed_tokens.q\" : " + digits +
         "\n%a = tbq.weight \"model.embed_tokens.scale\" : tensor<16x1xf16>\n"
         "%p = tbq.pack %q coefficients(%a) : (" +
         digits + ", tensor<16x1xf16>) -> " + packed +
         "\ntbq.place %p at 0 \"table\" : " + packed + "\n";
}

TEST_F(WeightWriter, IntegersOfTheCheckpoint) {
  const std::string name = "model.embed_tokens";
  TestTensor bytes = ::tbq::byteTensor({16, 8}, 0xfe); // -2
  bytes.dtype = "I8";
  model.tensors[name + ".q"] = bytes;
  model.tensors[name + ".scale"] = ::tbq::halfTensor({16, 1}, 0x3801);
  const std::string wide =
      tableRecipe("int8", "digits [8], terms [[1, -128]], group 8");
  ASSERT_EQ(write(192, wide), "");
  EXPECT_EQ(placed("table").planes[0], std::vector<uint8_t>(128, 126));
  EXPECT_EQ(placed("table").coefficients[0], std::vector<uint16_t>(16, 0x3801));
  // Bytes without a sign are another tensor.
  model.tensors[name + ".q"].dtype = "U8";
  EXPECT_TRUE(isErrorAbout(write(192, wide), model.path(),
                           name + ".q: tensor is U8 [16, 8], expected I8 [16, "
                                  "8]"));

  model.tensors[name + ".q"] = ::tbq::byteTensor({16, 4}, 0x5c);
  ASSERT_EQ(write(128, tableRecipe("int4", "digits [4], terms [[1, -8]], "
                                           "group 8")),
            "");
  UnpackedWeight weight = placed("table");
  for (size_t i = 0; i < 128; ++i)
    ASSERT_EQ(weight.planes[0][i], i % 2 ? 0x5 : 0xc) << i;
}

// Two MiB arrive in parts, in order.
TEST_F(WeightWriter, StreamsLargeWeights) {
  std::vector<float> matrix = ramp(20000 * 26, 0.0f, 1.0f);
  model.tensors["lm_head.weight"] = floats({20000, 26}, matrix);
  ASSERT_EQ(write(20000 * 26 * 4, R"mlir(
    %w = tbq.weight "lm_head.weight" : tensor<20000x26xf32>
    %p = tbq.pack %w : (tensor<20000x26xf32>) -> !tbq.packed<20000x26, f32, tile 16>
    tbq.place %p at 0 "head" : !tbq.packed<20000x26, f32, tile 16>
)mlir"),
            "");
  EXPECT_LE(largest, 1u << 20);
  EXPECT_EQ(placed("head").elements, matrix);
}

TEST_F(WeightWriter, PlacesInTheOrderOfOffsets) {
  model.tensors["model.norm.weight"] = floats({8}, norm);
  std::string recipe = normRecipe;
  recipe += "tbq.place %np at 0 \"again\" : !tbq.packed<1x8, f32, tile 1>\n";
  ASSERT_EQ(write(128, recipe), "");
  EXPECT_EQ(placed("norm").elements, norm);
  EXPECT_EQ(placed("again").elements, norm);
}

TEST_F(WeightWriter, RefusesRecipesThatDoNotFit) {
  std::string overlap = normRecipe;
  overlap += "tbq.place %np at 96 \"late\" : !tbq.packed<1x8, f32, tile 1>\n";
  EXPECT_EQ(write(256, overlap),
            "late: lies at byte 96 of the weights, but what stands before it "
            "ends at 128");
  EXPECT_EQ(write(64, normRecipe),
            "the end: lies at byte 64 of the weights, but what stands before "
            "it ends at 128");
  EXPECT_EQ(write(256, normRecipe, /*sinkLimit=*/100), "disk is full");
}

TEST_F(WeightWriter, RefusesTensorsThatDiffer) {
  model.tensors["model.norm.weight"] = ::tbq::halfTensor({8}, 0);
  EXPECT_TRUE(isErrorAbout(write(128, normRecipe), model.path(),
                           "model.norm.weight: tensor is F16 [8], expected "
                           "F32 [8]"));
  model.tensors["model.norm.weight"] = ::tbq::floatTensor({9});
  EXPECT_TRUE(isErrorAbout(write(128, normRecipe), model.path(),
                           "model.norm.weight: tensor is F32 [9], expected "
                           "F32 [8]"));
  model.tensors.erase("model.norm.weight");
  EXPECT_TRUE(isErrorAbout(write(128, normRecipe), model.path(),
                           "model.norm.weight: tensor is missing"));
  const std::string name = "model.layers.0.mlp.down_proj";
  model.tensors[name + ".codes"] = ::tbq::byteTensor({8, 4}, 0x55);
  EXPECT_TRUE(isErrorAbout(write(128, downRecipe), model.path(),
                           name + ".codes: tensor is U8 [8, 4], expected U8 "
                                  "[8, 3]"));
}

} // namespace
