// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Fills in the blank sections of the test double that CMake built.
#include "FakeArtifact.h"

#include "format/Artifact.h"
#include "format/Cpu.h"
#include "format/Sidecar.h"

#include <cstdlib>
#include <cstring>
#include <elf.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

using namespace tbq;
using namespace tbq::test;

Manifest tbq::test::fakeManifest() {
  Manifest m;
  m.abi = TBQ_STEP_ABI;
  m.tbqVersion = "0.1.0";
  m.llvmVersion = "22.1";
  m.target = {
      std::string(hostArchitecture()) + "-linux-gnu", "generic", {}, {}, {}};
  m.model = {"llama", "test double", 64,         2,           4, 2,
             16,      128,           TEST_VOCAB, TEST_CONTEXT};
  m.steps = {1,          TEST_PREFILL,     TEST_BATCH,
             2,          TEST_ARENA_BYTES, TEST_CACHE_BYTES,
             TEST_STRIDE};
  m.activations = "f32";
  m.kvCache = "f32";
  m.weights.bytes = TEST_WEIGHTS_BYTES;
  m.layers = {{"model.layers.0.mlp.up_proj", "ternary", 128, 64, 32, true, 0,
               3.0, 3072}};
  m.generation.eos = {2, 7};
  m.generation.temperature = 0.5;
  m.bytesPerToken = 4096;
  return m;
}

std::string tbq::test::temporaryPath(const std::string &name) {
  struct Folder {
    std::string path = ::testing::TempDir() + "tbq-runtime-test-XXXXXX";
    Folder() {
      if (!mkdtemp(path.data()))
        std::abort();
    }
    ~Folder() { std::filesystem::remove_all(path); }
  };
  static Folder folder;
  return folder.path + "/" + name;
}

std::vector<uint8_t> tbq::test::readBytes(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void tbq::test::writeBytes(const std::string &path,
                           const std::vector<uint8_t> &bytes) {
  // A new inode, as the compiler makes one: models may be loaded from the old.
  std::filesystem::remove(path);
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char *>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}

/// Makes a section of the image, found by where it starts, shorter.
static void resizeSection(std::vector<uint8_t> &image, const uint8_t *start,
                          uint64_t size) {
  Elf64_Ehdr header;
  std::memcpy(&header, image.data(), sizeof(header));
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    uint8_t *place = image.data() + header.e_shoff + i * sizeof(Elf64_Shdr);
    Elf64_Shdr section;
    std::memcpy(&section, place, sizeof(section));
    if (section.sh_type == SHT_PROGBITS &&
        image.data() + section.sh_offset == start) {
      section.sh_size = size;
      std::memcpy(place, &section, sizeof(section));
    }
  }
}

std::string FakeArtifact::write(const std::string &name) const {
  std::string path = temporaryPath(name);
  std::vector<uint8_t> image =
      readBytes(missingBarrier ? TEST_DOUBLE_MISSING_BARRIER
                : sidecar      ? TEST_DOUBLE_SIDECAR
                               : TEST_DOUBLE);
  auto section = [&](const char *sectionName) {
    auto range = findElfSection(image.data(), image.size(), path, sectionName);
    return image.data() + (**range).offset;
  };

  std::vector<uint8_t> weights(TEST_WEIGHTS_BYTES);
  for (size_t i = 0; i < weights.size(); ++i)
    weights[i] = static_cast<uint8_t>(weightsSeed + i * 7);
  Sha256Digest digest = sha256(weights.data(), weights.size());
  Manifest manifest = fakeManifest();
  manifest.weights.hashes = hashWeightBlocks(weights.data(), weights.size(),
                                             manifest.weights.hashBlock);
  manifest.weights.sha256 = toHex(digest);
  if (sidecar) {
    manifest.weights.sidecar = sidecarPath(name);
    auto header = encodeSidecarHeader({weights.size(), digest});
    weights.insert(weights.begin(), header.begin(), header.end());
    writeBytes(sidecarPath(path), weights);
  } else {
    std::copy(weights.begin(), weights.end(), section(".tbq.weights"));
  }
  if (editManifest)
    editManifest(manifest);
  std::string text = manifestText(manifest);
  EXPECT_LE(text.size(), size_t(TEST_MANIFEST_BYTES));
  text.resize(TEST_MANIFEST_BYTES, ' ');
  std::memcpy(section(".tbq.manifest"), text.data(), text.size());
  uint8_t *tables = section(".tbq.tokenizer");
  EXPECT_LE(tokenizer.size(), size_t(TEST_TOKENIZER_BYTES));
  std::copy(tokenizer.begin(), tokenizer.end(), tables);
  resizeSection(image, tables, tokenizer.size());
  tbq_model_table table;
  std::memcpy(&table, section(".tbq.table"), sizeof(table));
  table.tokenizer_bytes = tokenizer.size();
  if (editTable)
    editTable(table);
  std::memcpy(section(".tbq.table"), &table, sizeof(table));
  if (editImage)
    editImage(image);
  writeBytes(path, image);
  Status sealed = sealArtifact(path);
  EXPECT_TRUE(sealed) << sealed.error().message;
  return path;
}

std::shared_ptr<const Model> tbq::test::openGood(const std::string &path) {
  std::shared_ptr<const Model> model;
  Outcome opened = Model::open(path, {}, model);
  EXPECT_TRUE(opened) << opened.message;
  return model;
}

std::vector<float> tbq::test::expectedLogits(const std::vector<int32_t> &tokens,
                                             uint8_t weightsSeed) {
  uint32_t hash = weightsSeed;
  for (int32_t token : tokens)
    hash = hash * 31 + static_cast<uint32_t>(token) + 1;
  std::vector<float> logits(TEST_VOCAB);
  for (uint32_t e = 0; e < TEST_VOCAB; ++e)
    logits[e] = static_cast<float>((hash >> e) % 1000);
  return logits;
}
