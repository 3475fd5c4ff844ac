// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Text through the public interface: tokens, streams that never break a
// character, chats. What tokenizers do in detail is tested with them.
#include "FakeArtifact.h"

#include "format/ChatFormat.h"
#include "runtime/tbq.h"
#include "tbq/TokenizerCompiler.h"

#include <gtest/gtest.h>

using namespace tbq;
using namespace tbq::test;

namespace {

// Byte-level, no merges but "hi": Ġ is a space, Ċ a newline, Ã and © the two
// bytes of é.
const char *tokenizerJson = R"({
  "version": "1.0", "truncation": null, "padding": null,
  "added_tokens": [
    {"id": 0, "content": "<s>", "single_word": false, "lstrip": false,
     "rstrip": false, "normalized": false, "special": true},
    {"id": 1, "content": "<e>", "single_word": false, "lstrip": false,
     "rstrip": false, "normalized": false, "special": true}],
  "normalizer": null,
  "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false,
    "trim_offsets": true, "use_regex": true},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
               {"Sequence": {"id": "A", "type_id": 0}}],
    "pair": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
             {"Sequence": {"id": "A", "type_id": 0}},
             {"Sequence": {"id": "B", "type_id": 1}}],
    "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}}},
  "decoder": {"type": "ByteLevel", "add_prefix_space": true,
    "trim_offsets": true, "use_regex": true},
  "model": {"type": "BPE", "dropout": null, "unk_token": null,
    "continuing_subword_prefix": null, "end_of_word_suffix": null,
    "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
    "vocab": {"<s>": 0, "<e>": 1, "h": 2, "i": 3, "hi": 4, "u": 5, "Ċ": 6,
              "Ã": 7, "©": 8, "Ġ": 9, "a": 10},
    "merges": [["h", "i"]]}})";

FakeArtifact fakeWithText() {
  FakeArtifact fake;
  Result<std::vector<uint8_t>> tables =
      compileTokenizer(tokenizerJson, "", "fake");
  EXPECT_TRUE(tables) << tables.error().message;
  fake.tokenizer = *tables;
  return fake;
}

tbq_model *load(const FakeArtifact &fake, const char *name) {
  tbq_model *model = nullptr;
  EXPECT_EQ(tbq_model_load(fake.write(name).c_str(), nullptr, &model), TBQ_OK)
      << tbq_last_error();
  return model;
}

using Tokens = std::vector<int32_t>;

Tokens tokenize(const tbq_model *model, const std::string &text,
                unsigned flags) {
  Tokens tokens(64);
  size_t count = 0;
  EXPECT_EQ(tbq_tokenize(model, text.data(), text.size(), flags, tokens.data(),
                         tokens.size(), &count),
            TBQ_OK)
      << tbq_last_error();
  tokens.resize(count);
  return tokens;
}

std::string push(tbq_stream *stream, int32_t token) {
  const char *text = nullptr;
  size_t size = 0;
  EXPECT_EQ(tbq_stream_push(stream, token, &text, &size), TBQ_OK);
  return {text, size};
}

} // namespace

TEST(Text, TokensAndBack) {
  tbq_model *model = load(fakeWithText(), "text.so");
  EXPECT_EQ(tokenize(model, "hi hi", 0), Tokens({4, 9, 4}));
  EXPECT_EQ(tokenize(model, "hi", TBQ_ADD_SPECIAL), Tokens({0, 4}));
  EXPECT_EQ(tokenize(model, "hi<e>", TBQ_PARSE_SPECIAL), Tokens({4, 1}));
  EXPECT_NE(tokenize(model, "hi<e>", 0), Tokens({4, 1}));

  Tokens tokens(2, -7);
  size_t count = 0;
  EXPECT_EQ(tbq_tokenize(model, "hi hi", 5, 0, tokens.data(), 2, &count),
            TBQ_ERROR_BUFFER);
  EXPECT_EQ(count, 3u);
  EXPECT_EQ(tokens, Tokens({-7, -7}));
  EXPECT_EQ(tbq_tokenize(model, "hi hi", 5, 0, nullptr, 0, &count),
            TBQ_ERROR_BUFFER);
  EXPECT_EQ(count, 3u);

  char text[16];
  size_t size = 0;
  tokens = {0, 4, 7, 8, 1};
  ASSERT_EQ(tbq_detokenize(model, tokens.data(), 5, 0, text, 16, &size),
            TBQ_OK);
  EXPECT_EQ(std::string(text, size), "hié");
  ASSERT_EQ(tbq_detokenize(model, tokens.data(), 5, 1, text, 16, &size),
            TBQ_OK);
  EXPECT_EQ(std::string(text, size), "<s>hié<e>");
  tbq_model_destroy(model);
}

TEST(Text, StreamGivesWholeCharacters) {
  tbq_model *model = load(fakeWithText(), "stream.so");
  tbq_stream *stream = nullptr;
  ASSERT_EQ(tbq_stream_create(model, 0, &stream), TBQ_OK);
  tbq_model_destroy(model); // the stream keeps it
  EXPECT_EQ(push(stream, 0), "");
  EXPECT_EQ(push(stream, 4), "hi");
  EXPECT_EQ(push(stream, 7), "");
  EXPECT_EQ(push(stream, 8), "é");
  EXPECT_EQ(push(stream, 7), "");
  const char *text = nullptr;
  size_t size = 0;
  ASSERT_EQ(tbq_stream_finish(stream, &text, &size), TBQ_OK);
  EXPECT_EQ(std::string(text, size), "\uFFFD");
  EXPECT_EQ(push(stream, 4), "hi");
  tbq_stream_destroy(stream);
}

TEST(Text, Chat) {
  FakeArtifact fake = fakeWithText();
  fake.editManifest = [](Manifest &m) {
    ChatFormat format;
    format.name = "chatml";
    format.user = {"<s>u\n", "<e>\n"};
    format.assistant = {"<s>a\n", "<e>\n"};
    format.system = {"<s>i\n", "<e>\n"};
    format.generationPrefix = "<s>a\n";
    m.chat = chatFormatToJson(format);
  };
  tbq_model *model = load(fake, "chat.so");
  EXPECT_TRUE(tbq_model_has_chat(model));
  tbq_chat_message messages[] = {{"user", "hi"}};
  Tokens tokens(32);
  size_t count = 0;
  ASSERT_EQ(tbq_chat_render(model, messages, 1, 1, tokens.data(), 32, &count),
            TBQ_OK)
      << tbq_last_error();
  tokens.resize(count);
  EXPECT_EQ(tokens, Tokens({0, 5, 6, 4, 1, 6, 0, 10, 6}));
  messages[0].role = "wizard";
  EXPECT_EQ(tbq_chat_render(model, messages, 1, 1, tokens.data(), 32, &count),
            TBQ_ERROR_ARGUMENT);
  EXPECT_NE(std::string(tbq_last_error()).find("wizard"), std::string::npos);
  tbq_model_destroy(model);
}

TEST(Text, DamagedTablesAreRefused) {
  FakeArtifact fake = fakeWithText();
  fake.tokenizer[40] ^= 1;
  std::string path = fake.write("tables.so");
  tbq_model *model = nullptr;
  EXPECT_EQ(tbq_model_load(path.c_str(), nullptr, &model), TBQ_ERROR_ARTIFACT);
  EXPECT_EQ(std::string(tbq_last_error()).rfind(path + ":", 0), 0u)
      << tbq_last_error();
}
