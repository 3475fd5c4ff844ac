// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rotation frequencies against bit patterns that transformers 5.23 and PyTorch
// 2.13 computed (modeling_rope_utils.py, float32 on a CPU).

#include "tbq/Import.h"

#include "format/Float16.h"
#include "gtest/gtest.h"

using namespace mlir::tbq;
using ::tbq::LlamaConfig;
using ::tbq::RopeScaling;

static std::vector<uint32_t> patterns(const LlamaConfig &config,
                                      int64_t headDim) {
  std::vector<uint32_t> bits;
  for (float frequency : computeRopeFrequencies(config, headDim))
    bits.push_back(::tbq::floatToBits(frequency));
  return bits;
}

static LlamaConfig configOf(double theta) {
  LlamaConfig config;
  config.ropeTheta = theta;
  return config;
}

TEST(RopeFrequencies, Default) {
  EXPECT_EQ(
      patterns(configOf(10000.0), 16),
      (std::vector<uint32_t>{0x3f800000, 0x3ea1e89b, 0x3dcccccd, 0x3d0186e3,
                             0x3c23d70a, 0x3b4f3e38, 0x3a83126f, 0x39a5cb60}));
}

TEST(RopeFrequencies, Linear) {
  LlamaConfig config = configOf(10000.0);
  config.rope.kind = RopeScaling::Kind::Linear;
  config.rope.factor = 4.5;
  EXPECT_EQ(
      patterns(config, 16),
      (std::vector<uint32_t>{0x3e638e39, 0x3d8feb34, 0x3cb60b61, 0x3be64522,
                             0x3b11a2b4, 0x3a38374e, 0x39690454, 0x38935f72}));
}

// Llama 3.2 1B: kept, interpolated and divided frequencies.
TEST(RopeFrequencies, Llama3) {
  LlamaConfig config = configOf(500000.0);
  config.rope = {RopeScaling::Kind::Llama3, 32.0, 1.0, 4.0, 8192};
  EXPECT_EQ(patterns(config, 64),
            (std::vector<uint32_t>{
                0x3f800000, 0x3f29e1c6, 0x3ee177bc, 0x3e959ee3, 0x3e4693b0,
                0x3e03c6a0, 0x3daee4ad, 0x3d681e67, 0x3d1a08c8, 0x3ccc6f49,
                0x3c87a9c3, 0x3c340d6d, 0x3beef74f, 0x3b9e9402, 0x3b527720,
                0x3aa9279b, 0x39e13620, 0x38cb98f7, 0x37a3418d, 0x3758ac81,
                0x370fc8f8, 0x36bed4f4, 0x367d45c3, 0x3628126b, 0x35df10c4,
                0x359406cb, 0x35447610, 0x35025f34, 0x34ad07a7, 0x3465a54d,
                0x341864a7, 0x33ca41b0}));
}

// Factors that are not exact in binary.
TEST(RopeFrequencies, Llama3OddFactors) {
  LlamaConfig config = configOf(10000.0);
  config.rope = {RopeScaling::Kind::Llama3, 4.3, 1.3, 3.7, 640};
  EXPECT_EQ(
      patterns(config, 32),
      (std::vector<uint32_t>{0x3f800000, 0x3f0ff59a, 0x3ea1e89b, 0x3e361887,
                             0x3dcccccd, 0x3d6655c2, 0x3cdb6172, 0x3be6caa4,
                             0x3b1868c7, 0x3aab697f, 0x3a40c8c2, 0x39d8d230,
                             0x3973dada, 0x39092132, 0x389a3a35, 0x382d74f3}));
}
