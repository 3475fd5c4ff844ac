// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sealing takes a linked object with the sections of an artifact, and says of
// any other file what it lacks.
#include "FakeArtifact.h"

#include "format/Artifact.h"

#include <cstring>
#include <elf.h>
#include <gtest/gtest.h>

using namespace tbq;
using namespace tbq::test;

static std::string failureOf(const std::string &path) {
  Status sealed = sealArtifact(path);
  return sealed ? "" : sealed.error().message;
}

TEST(Seal, RefusesWhatIsNoLinkedModel) {
  const std::string path = temporaryPath("seal.so");
  EXPECT_NE(failureOf(path).find(path + ": "), std::string::npos);
  writeBytes(path, {'n', 'o'});
  EXPECT_NE(failureOf(path).find("ELF"), std::string::npos);
  // This program is an ELF file, but no model.
  writeBytes(path, readBytes("/proc/self/exe"));
  EXPECT_EQ(failureOf(path), path + ": .tbq.manifest: no such ELF section");
}

TEST(Seal, WeightsStandOnAPage) {
  const std::string path = temporaryPath("unaligned.so");
  std::vector<uint8_t> image = readBytes(TEST_DOUBLE);
  auto weights =
      findElfSection(image.data(), image.size(), path, weightsSectionName);
  ASSERT_TRUE(weights && *weights);
  Elf64_Ehdr header;
  std::memcpy(&header, image.data(), sizeof(header));
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    uint8_t *place = image.data() + header.e_shoff + i * sizeof(Elf64_Shdr);
    Elf64_Shdr section;
    std::memcpy(&section, place, sizeof(section));
    if (section.sh_offset != (**weights).offset ||
        section.sh_type != SHT_PROGBITS)
      continue;
    section.sh_offset += 8;
    section.sh_size -= 8;
    std::memcpy(place, &section, sizeof(section));
  }
  writeBytes(path, image);
  EXPECT_EQ(failureOf(path), path + ": .tbq.weights: not page aligned");
  EXPECT_EQ(readBytes(path), image) << "a refused file is left as it was";
}
