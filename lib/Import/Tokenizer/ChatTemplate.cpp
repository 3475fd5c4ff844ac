// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The table of known chat templates and what each of them does.
// Input: a template's text. Output: a ChatFormat, or the reason for none.
// Invariant: every hash is that of a file in test/unit/Tokenizer/templates; a
// text and its twin with \n written as an escape render alike.
#include "tbq/ChatTemplate.h"

#include "format/Sha256.h"

using namespace tbq;
using nlohmann::json;

namespace {

/// What a format's turns are made of besides the literal text.
struct NamedTokens {
  const std::string &first, &end;
};

struct KnownTemplate {
  const char *sha256;
  ChatFormat (*build)(const NamedTokens &tokens);
  bool usesTokens; // names bos_token or eos_token
};

} // namespace

static ChatFormat chatml(const NamedTokens &) {
  ChatFormat format;
  format.name = "chatml";
  format.system = {"<|im_start|>system\n", "<|im_end|>\n"};
  format.user = {"<|im_start|>user\n", "<|im_end|>\n"};
  format.assistant = {"<|im_start|>assistant\n", "<|im_end|>\n"};
  format.generationPrefix = "<|im_start|>assistant\n";
  return format;
}

static ChatFormat helpfulChatml(const NamedTokens &tokens) {
  ChatFormat format = chatml(tokens);
  format.defaultSystem = "You are a helpful assistant.";
  return format;
}

static ChatFormat smollm2(const NamedTokens &tokens) {
  ChatFormat format = chatml(tokens);
  format.name = "smollm2";
  format.defaultSystem = "You are a helpful AI assistant named SmolLM, "
                         "trained by Hugging Face";
  return format;
}

static ChatFormat llama2(const NamedTokens &tokens) {
  ChatFormat format;
  format.name = "llama2";
  format.system = {"<<SYS>>\n", "\n<</SYS>>\n\n"};
  format.systemPlace = ChatFormat::SystemPlace::firstUser;
  format.user = {tokens.first + "[INST] ", " [/INST]"};
  format.assistant = {" ", " " + tokens.end};
  format.trimContent = true;
  format.alternateRoles = true;
  return format;
}

static ChatFormat llama3(const NamedTokens &tokens) {
  auto header = [](const char *role) {
    return "<|start_header_id|>" + std::string(role) + "<|end_header_id|>\n\n";
  };
  ChatFormat format;
  format.name = "llama3";
  format.firstToken = tokens.first;
  format.system = {header("system"), "<|eot_id|>"};
  format.user = {header("user"), "<|eot_id|>"};
  format.assistant = {header("assistant"), "<|eot_id|>"};
  format.generationPrefix = header("assistant");
  format.trimContent = true;
  return format;
}

static ChatFormat zephyr(const NamedTokens &tokens) {
  ChatFormat format;
  format.name = "zephyr";
  format.system = {"<|system|>\n", tokens.end + "\n"};
  format.user = {"<|user|>\n", tokens.end + "\n"};
  format.assistant = {"<|assistant|>\n", tokens.end + "\n"};
  format.generationPrefix = "<|assistant|>\n";
  return format;
}

static const KnownTemplate knownTemplates[] = {
    {"872be49dbb638044ad01b60388f48d469ff2980e5f0dccdc22ec907db54d0788",
     smollm2, false},
    {"de9cde7d1b0ca0cc87459a6673e0d12fb89c070bdb24e4a30b6e4d187b226221",
     smollm2, false},
    {"153280e3ff55d19da1398bdb3914ee2a51b80429bfaedde11d7d216c39db80f3", chatml,
     false},
    {"fcf7a096fe99a48fd9ad2b250bf9237e96e8f48bffec1c7ea4d3f225176cd40e", chatml,
     false},
    {"8c0d16dff6538b0c244cec6954dcd9492831bb13dcf1cd5afd2693c91a857a3b", chatml,
     false},
    {"1eca4a136b0ee4b7ce51bf09c5366f71d4345b9358f4dc1a6fc161912975b450", chatml,
     false},
    {"58c1a1f04baa7adaeaba1f90267c3d57d9396f0c1f0129bdde9e76d3c6784af7", chatml,
     false},
    {"d7b5b8c7b58f7a6bf868aa46a5f73ee976d7292f40fcb9c3e7a1defd8d235cfb", chatml,
     false},
    {"793202280c0910ab26bc6eb57c8212c2417324c6d8c4efd0d10d59092ab3e3eb",
     helpfulChatml, false},
    {"f0206845c9ebc3abb4735d44f286eb81ce99238ad2accc710c6fc60e6cb8ccc8",
     helpfulChatml, false},
    {"9780fae5bfea3cfd7be37d328c6edfd296a8869be8131495bbe7eb37e780c88c", llama2,
     true},
    {"e8d5b5a546d3f19df16a5320c614fab05bdc4edd50e850f1afd947b503ea41cf", llama2,
     true},
    {"ba03a121d097859c7b5b9cd03af99aafe95275210d2876f642ad9929a150f122", llama3,
     true},
    {"4f46ecd43418f216df8c26936c60e5d04bcc81db47db5d86fbe889f64212dd4c", llama3,
     true},
    {"66291cf0045c2425a3a667cf3cbb7af2b11f09e025c02f97245323ab79119362", zephyr,
     true},
    {"4f39e3a4b9e3d369b42fd00d93a78f171914bb4e58ec84fc420433d7a153288a", zephyr,
     true},
};

ChatRecognition tbq::recogniseChatTemplate(std::string_view text,
                                           const std::string &firstToken,
                                           const std::string &endToken) {
  // Jinja drops one newline from the end of a template.
  if (!text.empty() && text.back() == '\n')
    text.remove_suffix(1);
  std::string hash = toHex(sha256(text.data(), text.size()));
  for (const KnownTemplate &known : knownTemplates) {
    if (hash != known.sha256)
      continue;
    if (known.usesTokens && (firstToken.empty() || endToken.empty()))
      return {std::nullopt, "the chat template needs bos_token and eos_token, "
                            "which tokenizer_config.json does not name"};
    return {known.build({firstToken, endToken}), ""};
  }
  return {std::nullopt, "the chat template (SHA-256 " + hash +
                            ") is not one of the known ones"};
}

/// A token's text from tokenizer_config.json: a string, or {"content": ...}.
static Result<std::string> namedText(const JsonObject &config,
                                     const std::string &key) {
  const json *field = config.find(key);
  if (!field || !field->is_object())
    return config.stringOr(key, "");
  auto object = config.object(key);
  if (!object)
    return object.error();
  return object->string("content");
}

/// "chat_template" is a text, or a list of named ones with a "default".
static Result<std::string> configuredTemplate(const JsonObject &config) {
  const json *field = config.find("chat_template");
  if (!field || !field->is_array())
    return config.stringOr("chat_template", "");
  for (const json &entry : *field) {
    auto named = JsonObject::from(entry, config.file(), "chat_template");
    if (!named)
      return named.error();
    auto name = named->string("name");
    if (!name)
      return name.error();
    if (*name == "default")
      return named->string("template");
  }
  return std::string();
}

Result<ChatRecognition> tbq::recogniseChat(std::string_view chatTemplate,
                                           std::string_view tokenizerConfigJson,
                                           const std::string &directory) {
  std::string file = directory + "/tokenizer_config.json";
  auto document =
      parseJson(tokenizerConfigJson.empty() ? "{}" : tokenizerConfigJson, file);
  if (!document)
    return document.error();
  auto config = JsonObject::from(*document, file);
  if (!config)
    return config.error();
  auto first = namedText(*config, "bos_token");
  if (!first)
    return first.error();
  auto end = namedText(*config, "eos_token");
  if (!end)
    return end.error();
  auto configured = configuredTemplate(*config);
  if (!configured)
    return configured.error();
  std::string_view text = chatTemplate.empty() ? *configured : chatTemplate;
  if (text.empty())
    return ChatRecognition{std::nullopt, "the checkpoint has no chat template"};
  return recogniseChatTemplate(text, *first, *end);
}
