// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Known chat templates and what is rendered for them;
// test/Run/test_tokenizer.py compares with jinja2.
#include "runtime/Chat.h"
#include "tbq/ChatTemplate.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

using namespace tbq;
using nlohmann::json;

static std::string fixture(const std::string &name) {
  std::ifstream file(std::string(TEMPLATES_DIR) + "/" + name + ".jinja");
  std::stringstream text;
  text << file.rdbuf();
  EXPECT_FALSE(text.str().empty()) << name;
  return text.str();
}

static ChatFormat formatOf(const std::string &name) {
  auto recognition = recogniseChatTemplate(fixture(name), "<s>", "</s>");
  EXPECT_TRUE(recognition.format) << recognition.reason;
  return recognition.format.value_or(ChatFormat());
}

static std::string render(const std::string &name,
                          const std::vector<ChatMessage> &messages,
                          bool generate = true) {
  auto text = renderChat(formatOf(name), messages, generate);
  return text ? *text : "error: " + text.error().message;
}

TEST(Chat, SmolLM2HasADefaultSystemTurn) {
  const std::string system = "<|im_start|>system\nYou are a helpful AI "
                             "assistant named SmolLM, trained by Hugging "
                             "Face<|im_end|>\n";
  EXPECT_EQ(render("smollm2", {{"user", " Hi "}}),
            system + "<|im_start|>user\n Hi <|im_end|>\n"
                     "<|im_start|>assistant\n");
  EXPECT_EQ(render("smollm2", {{"system", "S"}, {"user", "U"}}, false),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n");
}

TEST(Chat, Llama2PutsTheSystemMessageIntoTheFirstUserTurn) {
  EXPECT_EQ(render("llama2", {{"system", "S"}, {"user", " U "}}),
            "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\n U [/INST]");
  EXPECT_EQ(
      render("llama2", {{"user", " U "}, {"assistant", "A "}, {"user", "V"}}),
      "<s>[INST] U [/INST] A </s><s>[INST] V [/INST]");
  EXPECT_NE(render("llama2", {{"user", "U"}, {"user", "V"}})
                .find("message 1: roles must alternate"),
            std::string::npos);
}

TEST(Chat, Llama3AndZephyr) {
  EXPECT_EQ(render("llama3", {{"user", "\u00a0U\n"}}),
            "<s><|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(render("zephyr", {{"system", "S"}, {"user", "U"}}),
            "<|system|>\nS</s>\n<|user|>\nU</s>\n<|assistant|>\n");
}

TEST(Chat, UnknownRolesAreErrors) {
  EXPECT_NE(render("chatml", {{"tool", "x"}}).find("got tool"),
            std::string::npos);
}

TEST(Chat, EveryFixtureIsKnownAndSurvivesTheManifest) {
  size_t count = 0;
  for (const auto &file : std::filesystem::directory_iterator(TEMPLATES_DIR)) {
    std::string name = file.path().stem();
    ChatFormat format = formatOf(name);
    EXPECT_EQ(format.name, name.substr(0, name.find('-')));
    json written = chatFormatToJson(format);
    auto object = JsonObject::from(written, "manifest", "chat");
    ASSERT_TRUE(object);
    auto read = chatFormatFromJson(*object);
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(chatFormatToJson(*read), written);
    ++count;
  }
  EXPECT_EQ(count, 16u);
}

TEST(Chat, ManifestFieldsAreChecked) {
  const json good = chatFormatToJson(formatOf("smollm2"));
  for (const auto &item : good.items()) {
    json changed = good;
    changed[item.key()] = 17;
    auto object = JsonObject::from(changed, "manifest", "chat");
    auto read = chatFormatFromJson(*object);
    ASSERT_FALSE(read) << item.key();
    EXPECT_NE(read.error().message.find(item.key()), std::string::npos);
  }
  for (const char *part : {"prefix", "suffix"}) {
    json changed = good;
    changed["user"][part] = 17;
    EXPECT_FALSE(chatFormatFromJson(*JsonObject::from(changed, "manifest")));
  }
  json changed = good;
  changed["system_place"] = "elsewhere";
  EXPECT_FALSE(chatFormatFromJson(*JsonObject::from(changed, "manifest")));
}

TEST(Chat, OtherTemplatesAreNotGuessed) {
  auto changed = recogniseChatTemplate(fixture("chatml") + " ", "", "");
  EXPECT_FALSE(changed.format);
  EXPECT_NE(changed.reason.find("SHA-256"), std::string::npos);
  EXPECT_FALSE(recogniseChatTemplate(fixture("zephyr"), "<s>", "").format);
}

TEST(Chat, WhereATemplateStands) {
  json named =
      json::array({{{"name", "tool_use"}, {"template", "x"}},
                   {{"name", "default"}, {"template", fixture("chatml")}}});
  json config = {{"chat_template", named}};
  auto fromList = recogniseChat("", config.dump(), "model");
  ASSERT_TRUE(fromList);
  EXPECT_EQ(fromList->format->name, "chatml");
  auto fromFile =
      recogniseChat(fixture("smollm2") + "\n", config.dump(), "model");
  ASSERT_TRUE(fromFile);
  EXPECT_EQ(fromFile->format->name, "smollm2");
  auto nowhere = recogniseChat("", "", "model");
  ASSERT_TRUE(nowhere);
  EXPECT_FALSE(nowhere->format);
  EXPECT_NE(nowhere->reason.find("no chat template"), std::string::npos);
  EXPECT_FALSE(recogniseChat("", "{", "model"));
}
