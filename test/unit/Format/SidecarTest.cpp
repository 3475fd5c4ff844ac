// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The header of a sidecar survives the way to bytes and back, and whatever is
// wrong with the file is found before the weights are used (RELIABILITY R26).
#include "format/Sidecar.h"

#include <gtest/gtest.h>

using namespace tbq;

namespace {

constexpr uint64_t weightsSize = 1000;

/// A sidecar of `weightsSize` bytes.
std::vector<uint8_t> makeSidecar() {
  std::vector<uint8_t> weights(weightsSize, 7);
  SidecarHeader header{weightsSize, sha256(weights.data(), weights.size())};
  auto bytes = encodeSidecarHeader(header);
  std::vector<uint8_t> file(bytes.begin(), bytes.end());
  file.insert(file.end(), weights.begin(), weights.end());
  return file;
}

std::string failure(const std::vector<uint8_t> &file) {
  Result<SidecarHeader> header =
      readSidecarHeader(file.data(), file.size(), "w");
  return header ? "" : header.error().message;
}

} // namespace

TEST(Sidecar, RoundTrip) {
  std::vector<uint8_t> file = makeSidecar();
  Result<SidecarHeader> header =
      readSidecarHeader(file.data(), file.size(), "w");
  ASSERT_TRUE(header) << header.error().message;
  EXPECT_EQ(header->weightsSize, weightsSize);
  EXPECT_EQ(header->weightsHash,
            sha256(file.data() + sidecarHeaderBytes, weightsSize));
}

TEST(Sidecar, EveryTruncationIsRefused) {
  std::vector<uint8_t> file = makeSidecar();
  while (!file.empty()) {
    file.pop_back();
    EXPECT_EQ(failure(file).rfind("w: ", 0), 0u) << file.size() << " bytes";
  }
}

TEST(Sidecar, EveryHeaderBitCounts) {
  std::vector<uint8_t> file = makeSidecar();
  for (uint64_t i = 0; i < sidecarHeaderBytes; ++i)
    for (int bit = 0; bit < 8; ++bit) {
      file[i] ^= static_cast<uint8_t>(1 << bit);
      EXPECT_NE(failure(file), "") << "byte " << i << " bit " << bit;
      file[i] ^= static_cast<uint8_t>(1 << bit);
    }
  EXPECT_EQ(failure(file), "");
}

TEST(Sidecar, SaysWhatIsWrong) {
  EXPECT_EQ(failure({}), "w: empty file, not the weights of a model");
  std::vector<uint8_t> file(5000, 'x');
  EXPECT_EQ(failure(file), "w: sidecar.magic: not the weights of a model");
  file = makeSidecar();
  file.push_back(0);
  EXPECT_EQ(failure(file), "w: sidecar.weights: 1000 bytes and a header, but "
                           "the file has 5097: cut short or overwritten");
  file.resize(100);
  EXPECT_EQ(failure(file), "w: sidecar.header: cut short: 100 bytes, smaller "
                           "than a header");
  file = makeSidecar();
  file[8] = 2;
  EXPECT_EQ(failure(file), "w: sidecar.version: must be 1 (got 2)");
  file = makeSidecar();
  file[13] = 0;
  EXPECT_EQ(failure(file), "w: sidecar.size: must be 4096 (got 0)");
  file = makeSidecar();
  file[3000] = 1;
  EXPECT_EQ(failure(file), "w: sidecar.sha256: header is damaged");
}

TEST(Sidecar, IsCalledAfterItsArtifact) {
  EXPECT_EQ(sidecarPath("out/model.so"), "out/model.so.weights");
  for (const char *name : {"model.so.weights", "..weights", "weights", "a b"})
    EXPECT_TRUE(isSidecarName(name)) << name;
  for (std::string name :
       {std::string(), std::string("."), std::string(".."),
        std::string("/etc/passwd"), std::string("../model"), std::string("a/b"),
        std::string("a\0b", 3), std::string(256, 'x')})
    EXPECT_FALSE(isSidecarName(name)) << name;
}
