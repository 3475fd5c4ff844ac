// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The manifest survives the way to text and back, and every field that is
// missing, of a wrong type or out of range is refused by its name.
#include "FakeArtifact.h"

#include <gtest/gtest.h>

using namespace tbq;
using namespace tbq::test;
using nlohmann::json;

namespace {

Manifest fullManifest() {
  Manifest m = fakeManifest();
  m.weights.hashes = {0x0123456789abcdef, 0xfedcba9876543210};
  m.weights.sha256 = std::string(64, 'a');
  m.weights.sidecar = "m.so.weights";
  m.target.device = "sm_80";
  m.generation.bos = 1;
  m.generation.pad = 0;
  m.generation.topK = 50;
  m.generation.topP = 0.9;
  m.generation.minP = 0.1;
  m.generation.repetitionPenalty = 1.1;
  m.generation.doSample = true;
  m.chat = {{"format", "chatml"}};
  m.graph = {"ternary:g128", {"a.*=float"}, "int8:g64"};
  m.operations = {
      {"model.norm", "rms_norm", {{"f32", 64, false}, {"f32", 64, true}}}};
  m.target.cubins = {{"sm_90a", 4096, 512}};
  m.phases = {"rms_norm, up_proj", ""};
  return m;
}

void expectRefused(const json &manifest, const std::string &field) {
  Result<Manifest> read = fromJson(manifest, "m.so");
  ASSERT_FALSE(read) << field;
  EXPECT_EQ(read.error().message.rfind("m.so: manifest." + field + ":", 0), 0u)
      << field << ": " << read.error().message;
}

const char *optionalFields[] = {"generation.bos",
                                "generation.pad",
                                "generation.temperature",
                                "generation.top_k",
                                "generation.top_p",
                                "generation.min_p",
                                "chat",
                                "generation.repetition_penalty",
                                "generation.do_sample",
                                "target.device",
                                "target.cubins",
                                "weights.sidecar",
                                "operations",
                                "phases"};

/// Calls visit(path, pointer) for every field that is no object itself.
template <class Visit>
void eachField(const json &value, const std::string &path,
               const json::json_pointer &at, Visit visit) {
  for (const auto &[key, member] : value.items()) {
    std::string name = path.empty() ? key : path + "." + key;
    if (member.is_object() && name != "chat")
      eachField(member, name, at / key, visit);
    else
      visit(name, at / key);
  }
}

} // namespace

TEST(Manifest, RoundTrip) {
  Manifest m = fullManifest();
  std::string text = manifestText(m);
  Result<Manifest> read = parseManifest(text, "m.so");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(manifestText(*read), text);
  EXPECT_EQ(toJson(*read), toJson(m));
  EXPECT_EQ(read->weights.hashes, m.weights.hashes);
  EXPECT_EQ(read->weights.sidecar, "m.so.weights");
  EXPECT_EQ(read->layers[0].k, 64);
  EXPECT_EQ(read->generation.topK, 50);
  EXPECT_EQ(read->graph->policy, std::vector<std::string>{"a.*=float"});
  EXPECT_EQ(read->operations[0].values[1].columns, 64);
  EXPECT_TRUE(read->operations[0].values[1].written);
  EXPECT_EQ(read->phases, m.phases);
  EXPECT_EQ(read->steps.batchFrom, 2);
  m.steps.batchFrom = 3;
  EXPECT_EQ(parseManifest(manifestText(m), "m.so")->steps.batchFrom, 3);
  EXPECT_EQ(read->target.cubins[0].device, "sm_90a");
  EXPECT_EQ(read->target.cubins[0].offset, 4096u);
  EXPECT_EQ(read->target.cubins[0].bytes, 512u);
  EXPECT_EQ(read->chat["format"], "chatml");
  EXPECT_NE(text.find("\"0123456789abcdef\""), std::string::npos);
}

TEST(Manifest, ShapesAloneHaveNoHashesAndNoSidecar) {
  Manifest m = fullManifest();
  m.weights.sidecar.reset();
  m.weights.shapeOnly = true;
  expectRefused(toJson(m), "weights.hashes");
  m.weights.hashes.clear();
  Result<Manifest> read = fromJson(toJson(m), "m.so");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(read->weights.shapeOnly);
  EXPECT_FALSE(read->weights.areEmbedded());
  json wrong = toJson(m);
  wrong["weights"]["shape_only"] = 1;
  expectRefused(wrong, "weights.shape_only");
  wrong["weights"]["shape_only"] = true;
  wrong["weights"]["sidecar"] = "m.so.weights";
  expectRefused(wrong, "weights.shape_only");
}

TEST(Manifest, AbsentGenerationFieldsStayAbsent) {
  Manifest m = fullManifest();
  m.generation = {};
  m.chat = nullptr;
  Result<Manifest> read = parseManifest(manifestText(m), "m.so");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_FALSE(read->generation.bos);
  EXPECT_FALSE(read->generation.temperature);
  EXPECT_FALSE(read->generation.doSample);
  EXPECT_TRUE(read->chat.is_null());
}

TEST(Manifest, EveryFieldIsRequiredAndTyped) {
  json good = toJson(fullManifest());
  int visited = 0;
  eachField(good, "", json::json_pointer(),
            [&](const std::string &path, const json::json_pointer &at) {
              ++visited;
              json bad = good;
              bool isOptional = false;
              for (const char *field : optionalFields)
                isOptional |= path == field;
              bad[at.parent_pointer()].erase(at.back());
              if (isOptional)
                EXPECT_TRUE(fromJson(bad, "m.so")) << path;
              else
                expectRefused(bad, path);
              bad = good;
              bad[at] = good[at].is_string() ? json(7) : json("seven");
              expectRefused(bad, path);
            });
  EXPECT_GE(visited, 39);
}

TEST(Manifest, LayerFieldsAreRequiredAndTyped) {
  json good = toJson(fullManifest());
  for (const char *key : {"name", "scheme", "shape", "group", "shift",
                          "salient", "bits_per_weight", "bytes"}) {
    json bad = good;
    bad["layers"][0].erase(key);
    expectRefused(bad, std::string("layers[0].") + key);
    bad["layers"][0][key] = json::object();
    expectRefused(bad, std::string("layers[0].") + key);
  }
  good["layers"].push_back(3);
  expectRefused(good, "layers[1]");
}

TEST(Manifest, GraphAndOperationsMayBeAbsent) {
  json manifest = toJson(fullManifest());
  manifest.erase("graph");
  manifest.erase("operations");
  manifest.erase("phases");
  Result<Manifest> read = fromJson(manifest, "m.so");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_FALSE(read->graph);
  EXPECT_TRUE(read->operations.empty());
  EXPECT_TRUE(read->phases.empty());
  EXPECT_EQ(toJson(*read), manifest);
}

TEST(Manifest, ARowOfOneWeightHasManyBits) {
  json manifest = toJson(fullManifest());
  manifest["layers"][0]["bits_per_weight"] = 66.0;
  Result<Manifest> read = fromJson(manifest, "m.so");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->layers[0].bitsPerWeight, 66.0);
}

TEST(Manifest, RecordIsAnyObject) {
  json manifest = toJson(fullManifest());
  EXPECT_FALSE(manifest.contains("record"));
  manifest["record"] = {{"steps", 3}, {"held_out", {{"kl", 0.25}}}};
  Result<Manifest> read = fromJson(manifest, "m.so");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(toJson(*read), manifest);
  manifest["record"] = {1, 2};
  expectRefused(manifest, "record");
}

TEST(Manifest, OperationFieldsAreRequiredAndTyped) {
  const json good = toJson(fullManifest());
  for (const char *key : {"name", "kind", "values"}) {
    json bad = good;
    bad["operations"][0].erase(key);
    expectRefused(bad, std::string("operations[0].") + key);
    bad["operations"][0][key] = 3;
    expectRefused(bad, std::string("operations[0].") + key);
  }
  for (const char *key : {"type", "columns", "written"}) {
    json bad = good;
    bad["operations"][0]["values"][1].erase(key);
    expectRefused(bad, std::string("operations[0].values[1].") + key);
    bad["operations"][0]["values"][1][key] = json::array();
    expectRefused(bad, std::string("operations[0].values[1].") + key);
  }
}

TEST(Manifest, RangesAndRulesBetweenFields) {
  const std::tuple<const char *, json, const char *> edits[] = {
      {"/abi", 0, "abi"},
      {"/model/vocab", 0, "model.vocab"},
      {"/model/vocab", 1ull << 40, "model.vocab"},
      {"/model/hidden", -1, "model.hidden"},
      {"/model/kv_heads", 3, "model.kv_heads"},
      {"/steps/logits_stride", TEST_VOCAB - 1, "steps.logits_stride"},
      {"/steps/prefill_tokens", 0, "steps.prefill_tokens"},
      {"/steps/summarizes_logits", true, "steps.logits_stride"},
      {"/steps/batch_tokens", kMostSequences + 1, "steps.batch_tokens"},
      {"/steps/batch_from", 1, "steps.batch_from"},
      {"/steps/arena_bytes", 18446744073709551615ull, "steps.arena_bytes"},
      {"/activations", "f64", "activations"},
      {"/kv_cache", "i8", "kv_cache"},
      {"/weights/hash_block", 1, "weights.hash_block"},
      {"/weights/sha256", "abc", "weights.sha256"},
      {"/weights/sha256", std::string(64, 'G'), "weights.sha256"},
      {"/weights/hashes", {"0123456789abcdef"}, "weights.hashes"},
      {"/weights/hashes/1", "0123456789abcdeF", "weights.hashes"},
      {"/weights/hashes/1", "123", "weights.hashes"},
      {"/layers/0/scheme", "quinary", "layers[0].scheme"},
      {"/layers/0/shape", {1, 2, 3}, "layers[0].shape"},
      {"/layers/0/shape", {0, 2}, "layers[0].shape"},
      {"/layers/0/shape", {1.5, 2}, "layers[0].shape"},
      {"/generation/bos", TEST_VOCAB, "generation.bos"},
      {"/generation/eos", {-1}, "generation.eos"},
      {"/generation/eos", {TEST_VOCAB}, "generation.eos"},
      {"/generation/temperature", -0.5, "generation.temperature"},
      {"/generation/top_p", 1.5, "generation.top_p"},
      {"/generation/repetition_penalty", 0, "generation.repetition_penalty"},
      {"/bytes_per_token", -1, "bytes_per_token"},
      {"/operations/0/values/0/columns", 0, "operations[0].values[0].columns"},
      {"/operations/0/values/0/type", "f64", "operations[0].values[0].type"},
  };
  for (const auto &[pointer, value, field] : edits) {
    json bad = toJson(fullManifest());
    bad[json::json_pointer(pointer)] = value;
    expectRefused(bad, field);
  }
}
