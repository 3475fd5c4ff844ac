// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Builds the documents of SmallTokenizer.h.
// Invariant: ids are as that header says; the tests rely on them.
#include "SmallTokenizer.h"

#include "runtime/PreTokenizer.h"
#include "runtime/Unicode.h"
#include "tbq/TokenizerCompiler.h"

#include <cstdlib>
#include <gtest/gtest.h>

using namespace tbq;
using namespace tbq::test;
using nlohmann::json;

static json addedToken(int id, const std::string &content, bool special) {
  return {{"id", id},          {"content", content}, {"single_word", false},
          {"lstrip", false},   {"rstrip", false},    {"normalized", false},
          {"special", special}};
}

json test::byteLevelTokenizer() {
  json vocabulary;
  for (int byte = 0; byte < 256; ++byte) {
    std::string text;
    unicode::append(text, byteLevelAlphabet()[static_cast<size_t>(byte)]);
    vocabulary[text] = byte;
  }
  int next = 256;
  for (const char *text : {"he", "ll", "hell", "hello", "Ġw", "<|end|>"})
    vocabulary[text] = next++;
  json byteLevel = {{"type", "ByteLevel"},
                    {"add_prefix_space", false},
                    {"trim_offsets", true},
                    {"use_regex", true}};
  return {{"version", "1.0"},
          {"truncation", nullptr},
          {"padding", nullptr},
          {"added_tokens", {addedToken(261, "<|end|>", true)}},
          {"normalizer", nullptr},
          {"pre_tokenizer", byteLevel},
          {"post_processor", nullptr},
          {"decoder", byteLevel},
          {"model",
           {{"type", "BPE"},
            {"dropout", nullptr},
            {"unk_token", nullptr},
            {"vocab", vocabulary},
            {"merges", {"h e", "l l", "he ll", "hell o", "Ġ w"}}}}};
}

json test::sentencePieceTokenizer() {
  json vocabulary = {{"<unk>", 0}, {"<s>", 1}, {"</s>", 2}};
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", byte);
    vocabulary[text] = 3 + byte;
  }
  int next = 259;
  for (const char *text : {"▁", "a", "b", "▁a", "ab"})
    vocabulary[text] = next++;
  auto string = [](const char *text) { return json{{"String", text}}; };
  json normalizers = {
      {{"type", "Prepend"}, {"prepend", "▁"}},
      {{"type", "Replace"}, {"pattern", string(" ")}, {"content", "▁"}}};
  json decoders = {
      {{"type", "Replace"}, {"pattern", string("▁")}, {"content", " "}},
      {{"type", "ByteFallback"}},
      {{"type", "Fuse"}},
      {{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}};
  json first = {{"id", "<s>"}, {"ids", {1}}, {"tokens", {"<s>"}}};
  json text = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
  json firstPiece = {{"SpecialToken", {{"id", "<s>"}, {"type_id", 0}}}};
  return {{"version", "1.0"},
          {"added_tokens",
           {addedToken(0, "<unk>", true), addedToken(1, "<s>", true),
            addedToken(2, "</s>", true)}},
          {"normalizer", {{"type", "Sequence"}, {"normalizers", normalizers}}},
          {"pre_tokenizer", nullptr},
          {"post_processor",
           {{"type", "TemplateProcessing"},
            {"single", {firstPiece, text}},
            {"special_tokens", {{"<s>", first}}}}},
          {"decoder", {{"type", "Sequence"}, {"decoders", decoders}}},
          {"model",
           {{"type", "BPE"},
            {"unk_token", "<unk>"},
            {"fuse_unk", true},
            {"byte_fallback", true},
            {"vocab", vocabulary},
            {"merges", json::array({{"▁", "a"}, {"a", "b"}})}}}};
}

Result<std::vector<uint8_t>> test::compile(const json &document,
                                           const std::string &config) {
  return compileTokenizer(document.dump(), config, "model");
}

std::vector<int32_t> OpenTokenizer::encode(const std::string &text,
                                           bool addSpecial,
                                           bool parseSpecial) const {
  auto ids = tokenizer.encode(text, addSpecial, parseSpecial);
  if (!ids) {
    ADD_FAILURE() << ids.error().message;
    return {};
  }
  return *ids;
}

OpenTokenizer test::makeTokenizer(const json &document,
                                  const std::string &config) {
  auto tables = compile(document, config);
  if (!tables) {
    ADD_FAILURE() << tables.error().message;
    std::abort();
  }
  auto tokenizer = Tokenizer::open(tables->data(), tables->size(), "tables");
  if (!tokenizer) {
    ADD_FAILURE() << tokenizer.error().message;
    std::abort();
  }
  return {std::move(*tables), std::move(*tokenizer)};
}
