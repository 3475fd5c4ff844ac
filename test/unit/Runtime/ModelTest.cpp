// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Every way an artifact can be wrong ends in a typed error before any of its
// code runs (RELIABILITY R26, R27, R28), and good ones open, side by side.
#include "FakeArtifact.h"

#include "format/Artifact.h"
#include "format/Cpu.h"
#include "format/Sidecar.h"
#include "runtime/Session.h"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <link.h>
#include <random>
#include <sys/stat.h>
#include <unistd.h>

using namespace tbq;
using namespace tbq::test;

namespace {

int loadedObjects() {
  int count = 0;
  dl_iterate_phdr(
      [](dl_phdr_info *, size_t, void *counter) {
        ++*static_cast<int *>(counter);
        return 0;
      },
      &count);
  return count;
}

/// Opening fails, with this status, naming the file (the artifact if nothing
/// else is said) and these words, in one line, and nothing is loaded.
void expectRefused(const std::string &path, tbq_status status,
                   const std::vector<std::string> &words,
                   const std::string &file = "") {
  int before = loadedObjects();
  std::shared_ptr<const Model> model;
  Outcome opened = Model::open(path, {}, model);
  EXPECT_EQ(opened.status, status) << opened.message;
  EXPECT_EQ(model, nullptr);
  EXPECT_EQ(opened.message.rfind((file.empty() ? path : file) + ":", 0), 0u)
      << opened.message;
  EXPECT_EQ(opened.message.find('\n'), std::string::npos);
  for (const std::string &word : words)
    EXPECT_NE(opened.message.find(word), std::string::npos)
        << word << " in " << opened.message;
  EXPECT_EQ(loadedObjects(), before);
}

std::vector<float> firstLogits(std::shared_ptr<const Model> model) {
  std::unique_ptr<Workers> workers;
  EXPECT_TRUE(createThreads(1, workers));
  std::unique_ptr<Session> session;
  EXPECT_TRUE(
      Session::create(std::move(model), std::move(workers), 0, session));
  int32_t token = 3;
  EXPECT_TRUE(session->eval(&token, 1));
  return {session->logits(), session->logits() + TEST_VOCAB};
}

void flipBit(int file, off_t offset, int bit) {
  uint8_t byte;
  ASSERT_EQ(pread(file, &byte, 1, offset), 1);
  byte ^= static_cast<uint8_t>(1 << bit);
  ASSERT_EQ(pwrite(file, &byte, 1, offset), 1);
}

ArtifactTrailer trailerOf(const std::string &path) {
  std::vector<uint8_t> bytes = readBytes(path);
  return *readTrailer(bytes.data(), bytes.size(), path);
}

} // namespace

TEST(Model, OpensAndDescribes) {
  auto model = openGood(FakeArtifact().write("good.so"));
  EXPECT_EQ(model->vocab(), TEST_VOCAB);
  EXPECT_EQ(model->context(), TEST_CONTEXT);
  EXPECT_EQ(model->manifest().layers.at(0).scheme, "ternary");
  EXPECT_TRUE(model->isEnd(7));
  EXPECT_FALSE(model->isEnd(3));
  EXPECT_EQ(model->tokenizer(), nullptr);
  EXPECT_EQ(model->chat(), nullptr);
  EXPECT_TRUE(model->verifyWeights());
  EXPECT_EQ(firstLogits(model), expectedLogits({3}));
}

TEST(Model, EveryTrailerBitCounts) {
  std::string path = FakeArtifact().write("trailer.so");
  std::vector<uint8_t> bytes = readBytes(path);
  for (uint64_t i = bytes.size() - artifactTrailerBytes; i < bytes.size(); ++i)
    for (int bit = 0; bit < 8; ++bit) {
      bytes[i] ^= static_cast<uint8_t>(1 << bit);
      auto trailer = readTrailer(bytes.data(), bytes.size(), path);
      EXPECT_FALSE(trailer) << "byte " << i << " bit " << bit;
      bytes[i] ^= static_cast<uint8_t>(1 << bit);
    }
  EXPECT_TRUE(readTrailer(bytes.data(), bytes.size(), path));
}

TEST(Model, EveryBitBesideTheWeightsCounts) {
  std::string path = FakeArtifact().write("bits.so");
  ArtifactTrailer trailer = trailerOf(path);
  int file = open(path.c_str(), O_RDWR);
  auto check = [&](uint64_t offset, int bit) {
    flipBit(file, static_cast<off_t>(offset), bit);
    expectRefused(path, TBQ_ERROR_ARTIFACT, {});
    flipBit(file, static_cast<off_t>(offset), bit);
  };
  for (uint64_t offset = 0; offset < 64; ++offset) // the ELF header
    for (int bit = 0; bit < 8; ++bit)
      check(offset, bit);
  for (uint64_t i = 0; i < artifactTrailerBytes; ++i)
    check(trailer.imageSize + i, static_cast<int>(i % 8));
  std::mt19937_64 random(1);
  for (int i = 0; i < 300; ++i) {
    uint64_t offset = random() % (trailer.imageSize - trailer.weights.size);
    if (offset >= trailer.weights.offset)
      offset += trailer.weights.size;
    check(offset, i % 8);
  }
  close(file);
  EXPECT_NE(openGood(path), nullptr);
}

TEST(Model, EveryTruncationIsRefused) {
  std::string path = FakeArtifact().write("cut.so");
  uint64_t size = readBytes(path).size();
  std::vector<uint64_t> sizes;
  for (uint64_t cut = 1; cut <= artifactTrailerBytes + 8; ++cut)
    sizes.push_back(size - cut);
  std::mt19937_64 random(2);
  for (int i = 0; i < 1000; ++i)
    sizes.push_back(random() % size);
  for (uint64_t start = 0; start <= 64; ++start)
    sizes.push_back(start);
  std::sort(sizes.rbegin(), sizes.rend());
  for (uint64_t cut : sizes) {
    ASSERT_EQ(truncate(path.c_str(), static_cast<off_t>(cut)), 0);
    expectRefused(path, TBQ_ERROR_ARTIFACT, {});
  }
}

TEST(Model, DamagedWeightsAreFoundOnRequest) {
  std::string path = FakeArtifact().write("weights.so");
  ArtifactTrailer trailer = trailerOf(path);
  int file = open(path.c_str(), O_RDWR);
  flipBit(file, static_cast<off_t>(trailer.weights.offset + (1 << 20) + 5), 3);
  close(file);
  EXPECT_NE(openGood(path), nullptr);
  std::shared_ptr<const Model> model;
  Outcome opened = Model::open(path, {true}, model);
  EXPECT_EQ(opened.status, TBQ_ERROR_VERIFICATION);
  EXPECT_NE(opened.message.find("weights: damaged: block 1 (from byte 1048576"),
            std::string::npos)
      << opened.message;
}

TEST(Model, OpensASidecar) {
  FakeArtifact fake;
  fake.sidecar = true;
  fake.weightsSeed = 9;
  auto model = openGood(fake.write("beside.so"));
  EXPECT_EQ(model->table().weights, nullptr);
  EXPECT_EQ(model->manifest().weights.sidecar, "beside.so.weights");
  EXPECT_EQ(reinterpret_cast<uintptr_t>(model->weights()) % 4096, 0u);
  EXPECT_TRUE(model->verifyWeights());
  EXPECT_EQ(firstLogits(model), expectedLogits({3}, 9));
  // It is found by the manifest's name, in the folder of the artifact.
  std::string other = temporaryPath("renamed.so");
  writeBytes(other, readBytes(temporaryPath("beside.so")));
  EXPECT_EQ(firstLogits(openGood(other)), expectedLogits({3}, 9));
}

TEST(Model, CopiesWeightsIntoHugePages) {
  for (bool sidecar : {false, true}) {
    FakeArtifact fake;
    fake.sidecar = sidecar;
    fake.weightsSeed = 9;
    const std::string path = fake.write("copied.so");
    auto mapped = openGood(path);
    ModelOptions options;
    options.verifyWeights = options.hugePages = true;
    std::shared_ptr<const Model> copied;
    Outcome opened = Model::open(path, options, copied);
    ASSERT_TRUE(opened) << opened.message;
    const uint64_t bytes = copied->manifest().weights.bytes;
    ASSERT_GT(bytes, 0u);
    EXPECT_NE(copied->weights(), copied->table().weights);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(copied->weights()) % 4096, 0u);
    // What was mapped is still there.
    EXPECT_EQ(std::memcmp(copied->weights(), mapped->weights(), bytes), 0);
    EXPECT_EQ(firstLogits(copied), expectedLogits({3}, 9));
    EXPECT_EQ(firstLogits(mapped), expectedLogits({3}, 9));
  }
}

TEST(Model, RefusesSidecarsThatAreNotItsOwn) {
  FakeArtifact fake;
  fake.sidecar = true;
  const std::string path = fake.write("side.so"), sidecar = sidecarPath(path);
  const std::vector<uint8_t> good = readBytes(sidecar);
  auto refuses = [&](tbq_status status, const std::vector<std::string> &words) {
    expectRefused(path, status, words, sidecar);
  };
  std::filesystem::remove(sidecar);
  refuses(TBQ_ERROR_FILE, {"cannot open", "it holds the model's weights"});
  writeBytes(sidecar, {});
  refuses(TBQ_ERROR_ARTIFACT, {"empty file"});
  writeBytes(sidecar, readBytes(path)); // a foreign file
  refuses(TBQ_ERROR_ARTIFACT, {"sidecar.magic"});
  for (uint64_t size : {100ul, sidecarHeaderBytes, good.size() - 1}) {
    writeBytes(sidecar, {good.begin(), good.begin() + size});
    refuses(TBQ_ERROR_ARTIFACT, {"cut short"});
  }
  for (size_t i = 0; i < sidecarHeaderBytes; i += 61) {
    std::vector<uint8_t> flipped = good;
    flipped[i] ^= 4;
    writeBytes(sidecar, flipped);
    refuses(TBQ_ERROR_ARTIFACT, {"sidecar."});
  }
  FakeArtifact other = fake;
  other.weightsSeed = 2;
  writeBytes(sidecar, readBytes(sidecarPath(other.write("other-side.so"))));
  refuses(TBQ_ERROR_ARTIFACT, {"sidecar.weights", "are another model's"});
  writeBytes(sidecar, good);
  EXPECT_NE(openGood(path), nullptr);
}

TEST(Model, DamagedSidecarWeightsAreFoundOnRequest) {
  FakeArtifact fake;
  fake.sidecar = true;
  const std::string path = fake.write("flip.so"), sidecar = sidecarPath(path);
  std::vector<uint8_t> bytes = readBytes(sidecar);
  bytes[sidecarHeaderBytes + 5] ^= 1;
  writeBytes(sidecar, bytes);
  EXPECT_NE(openGood(path), nullptr);
  std::shared_ptr<const Model> model;
  Outcome opened = Model::open(path, {true}, model);
  EXPECT_EQ(opened.status, TBQ_ERROR_VERIFICATION);
  EXPECT_EQ(opened.message.rfind(sidecar + ": weights: damaged: block 0", 0),
            0u)
      << opened.message;
}

TEST(Model, RefusesWeightsInTwoPlacesOrNone) {
  FakeArtifact fake;
  fake.sidecar = true;
  fake.editManifest = [](Manifest &m) { m.weights.sidecar.reset(); };
  expectRefused(fake.write("none.so"), TBQ_ERROR_ARTIFACT,
                {"manifest.weights.bytes", "the section has 0"});
  FakeArtifact embedded;
  embedded.editManifest = [](Manifest &m) {
    m.weights.sidecar = "none.so.weights";
  };
  expectRefused(embedded.write("both.so"), TBQ_ERROR_ARTIFACT,
                {"manifest.weights.bytes", "0 of them are embedded"});
  fake.editManifest = nullptr;
  fake.editTable = [](tbq_model_table &t) {
    t.weights = reinterpret_cast<const uint8_t *>(8);
  };
  expectRefused(fake.write("code.so"), TBQ_ERROR_ARTIFACT,
                {"table.weights", "the weights are not in the file"});
  fake.editManifest = [](Manifest &m) { m.weights.sidecar = "../x"; };
  expectRefused(fake.write("out.so"), TBQ_ERROR_ARTIFACT,
                {"manifest.weights.sidecar", "plain file name"});
}

TEST(Model, RefusesWhatIsNoArtifact) {
  expectRefused(temporaryPath("absent.so"), TBQ_ERROR_FILE, {});
  expectRefused(temporaryPath(""), TBQ_ERROR_FILE, {});
  std::string fifo = temporaryPath("fifo.so");
  ASSERT_EQ(mkfifo(fifo.c_str(), 0600), 0);
  expectRefused(fifo, TBQ_ERROR_FILE, {});

  std::string path = temporaryPath("other.so");
  writeBytes(path, {});
  expectRefused(path, TBQ_ERROR_ARTIFACT, {"empty"});
  writeBytes(path, std::vector<uint8_t>(5000, 'x'));
  expectRefused(path, TBQ_ERROR_ARTIFACT, {"trailer.magic", "cut short"});
  writeBytes(path, readBytes(TEST_DOUBLE)); // an ELF file, no trailer
  expectRefused(path, TBQ_ERROR_ARTIFACT, {"trailer.magic"});
}

TEST(Model, RefusesTrailerAroundNoElf) {
  std::vector<uint8_t> bytes(5000, 'x');
  ArtifactTrailer trailer;
  trailer.imageSize = bytes.size();
  trailer.imageHash = sha256(bytes.data(), bytes.size());
  auto end = encodeTrailer(trailer);
  bytes.insert(bytes.end(), end.begin(), end.end());
  std::string path = temporaryPath("noelf.so");
  writeBytes(path, bytes);
  expectRefused(path, TBQ_ERROR_ARTIFACT, {"ELF header", "not an ELF file"});
}

TEST(Model, RefusesForeignElf) {
  FakeArtifact fake;
  fake.editImage = [](std::vector<uint8_t> &image) { image[4] = 1; };
  expectRefused(fake.write("elf32.so"), TBQ_ERROR_ARTIFACT, {"64-bit"});
  fake.editImage = [](std::vector<uint8_t> &image) { image[5] = 2; };
  expectRefused(fake.write("elfbe.so"), TBQ_ERROR_ARTIFACT, {"little-endian"});
  fake.editImage = [](std::vector<uint8_t> &image) { image[16] = 2; };
  expectRefused(fake.write("exec.so"), TBQ_ERROR_ARTIFACT, {"e_type 2"});
  fake.editImage = [](std::vector<uint8_t> &image) {
    bool arm = hostElfMachine() == 183;
    image[18] = arm ? 62 : 183;
  };
  expectRefused(fake.write("machine.so"), TBQ_ERROR_ARTIFACT,
                {"ELF header", "aarch64", "x86-64"});
}

TEST(Model, RefusesOtherCpus) {
  FakeArtifact fake;
  fake.editManifest = [](Manifest &m) {
    m.target.features = hostFeatures();
    m.target.features.push_back("avx99");
    m.target.features.push_back("warp-drive");
    m.target.cpu = "hal9000";
  };
  expectRefused(
      fake.write("cpu.so"), TBQ_ERROR_CPU,
      {"manifest.target.features", "lacks avx99, warp-drive (", "hal9000"});
  fake.editManifest = [](Manifest &m) { m.target.triple = "vax-linux-gnu"; };
  expectRefused(fake.write("triple.so"), TBQ_ERROR_CPU,
                {"manifest.target.triple", "vax", hostArchitecture()});
  fake.editManifest = [](Manifest &m) { m.target.features = hostFeatures(); };
  EXPECT_NE(openGood(fake.write("native.so")), nullptr);
}

#if defined(__x86_64__)
/// Opens an artifact that needs tiles in a process that may not have them:
/// Linux grants none where a signal's stack is too small for their state.
static void openWithoutPermission(const std::string &path) {
  static char small[8192];
  stack_t stack = {};
  stack.ss_sp = small;
  stack.ss_size = sizeof(small);
  if (sigaltstack(&stack, nullptr) != 0)
    std::exit(2);
  expectRefused(path, TBQ_ERROR_CPU,
                {"manifest.target.features",
                 "this system does not permit amx-int8, amx-tile ("});
  std::exit(::testing::Test::HasFailure() ? 1 : 0);
}

TEST(Model, RefusesTilesWithoutPermission) {
  if (!hostHasFeature("amx-tile"))
    GTEST_SKIP() << "this CPU has no AMX tiles";
  FakeArtifact fake;
  fake.editManifest = [](Manifest &m) {
    m.target.features = {"amx-int8", "amx-tile"};
  };
  std::string path = fake.write("tiles.so");
  // A process of its own: what was granted to this one stays granted.
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(openWithoutPermission(path), ::testing::ExitedWithCode(0), "");
  EXPECT_NE(openGood(path), nullptr);
}
#endif

TEST(Model, RefusesOtherAbis) {
  FakeArtifact fake;
  fake.editManifest = [](Manifest &m) { m.abi = TBQ_STEP_ABI + 1; };
  expectRefused(fake.write("abi.so"), TBQ_ERROR_ARTIFACT,
                {"manifest.abi", "(got " + std::to_string(TBQ_STEP_ABI + 1),
                 "compile the model again"});
  fake.editManifest = nullptr;
  fake.editTable = [](tbq_model_table &t) { t.abi = TBQ_STEP_ABI + 1; };
  expectRefused(fake.write("query.so"), TBQ_ERROR_ARTIFACT,
                {"tbq_model_query", "step ABI"});
}

TEST(Model, RefusesTableThatContradictsManifest) {
  const std::pair<const char *, std::function<void(tbq_model_table &)>>
      edits[] = {
          {"table.size", [](tbq_model_table &t) { t.size += 8; }},
          {"table.manifest_bytes",
           [](tbq_model_table &t) { t.manifest_bytes--; }},
          {"table.tokenizer_bytes",
           [](tbq_model_table &t) { t.tokenizer_bytes = 1; }},
          {"table.weights_bytes",
           [](tbq_model_table &t) { t.weights_bytes--; }},
          {"table.arena_bytes", [](tbq_model_table &t) { t.arena_bytes *= 2; }},
          {"table.cache_bytes", [](tbq_model_table &t) { t.cache_bytes = 0; }},
          {"table.decode_tokens",
           [](tbq_model_table &t) { t.decode_tokens = 2; }},
          {"table.prefill_tokens",
           [](tbq_model_table &t) { t.prefill_tokens = -8; }},
          {"table.batch_tokens",
           [](tbq_model_table &t) { t.batch_tokens = 1; }},
          {"table.logits_stride",
           [](tbq_model_table &t) { t.logits_stride = 15; }}};
  for (const auto &[field, edit] : edits) {
    FakeArtifact fake;
    fake.editTable = edit;
    expectRefused(fake.write("table.so"), TBQ_ERROR_ARTIFACT,
                  {field, "must be"});
  }
  FakeArtifact fake;
  fake.editManifest = [](Manifest &m) { m.weights.bytes--; };
  expectRefused(fake.write("table.so"), TBQ_ERROR_ARTIFACT,
                {"manifest.weights.bytes"});
}

TEST(Model, RefusesManifestThatIsNoJson) {
  FakeArtifact fake;
  fake.editImage = [](std::vector<uint8_t> &image) {
    auto range =
        findElfSection(image.data(), image.size(), "", ".tbq.manifest");
    image[(**range).offset] = '[';
  };
  expectRefused(fake.write("json.so"), TBQ_ERROR_ARTIFACT, {"invalid JSON"});
}

TEST(Model, TwoModelsInOneProcess) {
  FakeArtifact one, two;
  one.weightsSeed = 11;
  two.weightsSeed = 22;
  auto first = openGood(one.write("one.so"));
  auto second = openGood(two.write("two.so"));
  EXPECT_EQ(firstLogits(first), expectedLogits({3}, 11));
  EXPECT_EQ(firstLogits(second), expectedLogits({3}, 22));
}

TEST(Model, ReusedDescriptorNumberIsAnotherModel) {
  FakeArtifact one, two;
  one.weightsSeed = 33;
  two.weightsSeed = 44;
  std::string onePath = one.write("reused1.so"),
              twoPath = two.write("reused2.so");
  int before = loadedObjects();
  auto first = openGood(onePath);
  auto again = openGood(onePath);
  EXPECT_EQ(&first->table(), &again->table());
  EXPECT_EQ(loadedObjects(), before + 1);
  first.reset(); // `again` still needs the descriptor
  auto second = openGood(twoPath);
  EXPECT_EQ(firstLogits(second), expectedLogits({3}, 44));
  EXPECT_EQ(firstLogits(again), expectedLogits({3}, 33));
  again.reset();
  second.reset();
  EXPECT_EQ(loadedObjects(), before);
}
