// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Weights that are made up are sane numbers of every type, and the same each
// time.
#include "runtime/RandomWeights.h"

#include "format/Float16.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <vector>

using namespace tbq;

namespace {
template <class Word> Word load(const uint8_t *from) {
  Word word;
  std::memcpy(&word, from, sizeof(word));
  return word;
}

void expectWithin(float value, float least, float most) {
  ASSERT_GE(std::fabs(value), least);
  ASSERT_LE(std::fabs(value), most);
}
} // namespace

TEST(RandomWeights, AreSaneWhateverTheyAreReadAs) {
  std::vector<uint8_t> bytes(1 << 16);
  fillRandomly(bytes.data(), bytes.size());
  int64_t negative = 0;
  for (size_t at = 0; at < bytes.size(); at += 2) {
    auto half = load<uint16_t>(&bytes[at]);
    expectWithin(f16ToFloat(half), 1.25f, 1.5f);
    expectWithin(bf16ToFloat(half), 0.03f, 0.125f);
    negative += half >> 15;
  }
  EXPECT_NEAR(double(negative) / (bytes.size() / 2), 0.5, 0.02);
  for (size_t at = 0; at < bytes.size(); at += 4)
    expectWithin(bitsToFloat(load<uint32_t>(&bytes[at])), 0.03f, 0.125f);
}

TEST(RandomWeights, DependOnTheirPlacesAlone) {
  std::vector<uint8_t> some(1003, 0xee), more(2000);
  fillRandomly(some.data(), 1001);
  fillRandomly(more.data(), more.size());
  EXPECT_TRUE(std::equal(some.begin(), some.begin() + 1001, more.begin()));
  EXPECT_EQ(some[1001], 0xee);
  EXPECT_FALSE(
      std::equal(more.begin(), more.begin() + 1000, more.begin() + 1000));
}
