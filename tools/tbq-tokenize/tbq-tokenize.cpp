// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Text to token ids and back with a checkpoint's tokenizer, line by line, as
// the compiler and the runtime see it. Input: a Hugging Face directory; lines
// on stdin. Output: one line for each.
// Invariant: exit code 0 means that every line was answered.
#include "format/MappedFile.h"
#include "runtime/Chat.h"
#include "runtime/Tokenizer.h"
#include "tbq/ChatTemplate.h"
#include "tbq/TokenizerCompiler.h"
#include "tbq/Version.h"

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <iostream>
#include <unistd.h>

using namespace tbq;

namespace {

struct Options {
  std::string directory;
  bool decode = false;
  bool chat = false;
  bool noSpecial = false;
  bool plain = false;
  bool whole = false;
};

} // namespace

static int fail(const Error &error) {
  std::fprintf(stderr, "tbq-tokenize: error: %s\n", error.message.c_str());
  return 1;
}

static Result<std::string> readFile(const std::string &path) {
  auto file = openForReading(path);
  if (!file)
    return file.error();
  return readWholeFile(file->get(), path, uint64_t(256) << 20);
}

/// Empty if there is no such file.
static Result<std::string> readOptionalFile(const std::string &path) {
  if (access(path.c_str(), F_OK) != 0)
    return std::string();
  return readFile(path);
}

static Result<std::vector<uint8_t>> compileDirectory(const std::string &path) {
  auto tokenizer = readFile(path + "/tokenizer.json");
  if (!tokenizer)
    return tokenizer.error();
  auto config = readOptionalFile(path + "/tokenizer_config.json");
  if (!config)
    return config.error();
  return compileTokenizer(*tokenizer, *config, path);
}

static Result<ChatFormat> readChatFormat(const std::string &path) {
  auto chatTemplate = readOptionalFile(path + "/chat_template.jinja");
  if (!chatTemplate)
    return chatTemplate.error();
  auto config = readOptionalFile(path + "/tokenizer_config.json");
  if (!config)
    return config.error();
  auto recognition = recogniseChat(*chatTemplate, *config, path);
  if (!recognition)
    return recognition.error();
  if (!recognition->format)
    return makeError(path, "", recognition->reason);
  return std::move(*recognition->format);
}

static Result<std::vector<ChatMessage>> parseMessages(const std::string &line) {
  auto document = parseJson(line, "stdin");
  if (!document)
    return document.error();
  if (!document->is_array())
    return makeError("stdin", "", "must be an array of messages");
  std::vector<ChatMessage> messages;
  for (const auto &entry : *document) {
    auto message = JsonObject::from(entry, "stdin");
    if (!message)
      return message.error();
    auto role = message->string("role");
    if (!role)
      return role.error();
    auto content = message->string("content");
    if (!content)
      return content.error();
    messages.push_back({std::move(*role), std::move(*content)});
  }
  return messages;
}

static Result<std::vector<int32_t>> parseIds(const std::string &line) {
  std::vector<int32_t> ids;
  const char *at = line.data(), *end = line.data() + line.size();
  while (at != end) {
    if (*at == ' ') {
      ++at;
      continue;
    }
    int32_t id = 0;
    auto [next, error] = std::from_chars(at, end, id);
    if (error != std::errc() || (next != end && *next != ' '))
      return makeError("stdin", "", "must hold token ids (got " + line + ")");
    ids.push_back(id);
    at = next;
  }
  return ids;
}

static Result<std::string> answerTokens(const Tokenizer &tokenizer,
                                        const Options &options,
                                        const std::string &line) {
  if (options.decode) {
    auto ids = parseIds(line);
    if (!ids)
      return ids.error();
    return tokenizer.decode(*ids, options.noSpecial);
  }
  auto ids = tokenizer.encode(line, !options.noSpecial, !options.plain);
  if (!ids)
    return ids.error();
  std::string text;
  for (int32_t id : *ids)
    text += (text.empty() ? "" : " ") + std::to_string(id);
  return text;
}

static Result<std::string> answerChat(const ChatFormat &format,
                                      const std::string &line) {
  auto messages = parseMessages(line);
  if (!messages)
    return messages.error();
  return renderChat(format, *messages, /*generate=*/true);
}

/// `answer` makes one line of output of one of input.
template <class Answer>
static int answerLines(const Options &options, Answer answer) {
  std::ios::sync_with_stdio(false);
  std::string line;
  char separator = options.whole ? '\0' : '\n';
  while (std::getline(std::cin, line, separator)) {
    Result<std::string> text = answer(line);
    if (!text)
      return fail(text.error());
    std::cout << *text << separator;
  }
  std::cout.flush();
  return std::cout ? 0 : 2;
}

static int run(const Options &options) {
  if (options.chat) {
    auto format = readChatFormat(options.directory);
    if (!format)
      return fail(format.error());
    return answerLines(options, [&](const std::string &line) {
      return answerChat(*format, line);
    });
  }
  auto tables = compileDirectory(options.directory);
  if (!tables)
    return fail(tables.error());
  auto tokenizer =
      Tokenizer::open(tables->data(), tables->size(), options.directory);
  if (!tokenizer)
    return fail(tokenizer.error());
  return answerLines(options, [&](const std::string &line) {
    return answerTokens(*tokenizer, options, line);
  });
}

int main(int argc, char **argv) {
  CLI::App app("Text to token ids and back, one line of stdin at a time.",
               "tbq-tokenize");
  Options options;
  app.add_option("TOKENIZER_JSON_DIR", options.directory,
                 "Directory with tokenizer.json (and tokenizer_config.json)")
      ->required();
  app.add_flag("--decode", options.decode, "Read ids, write text");
  app.add_flag("--chat", options.chat,
               "Read conversations (JSON arrays of role and content), write "
               "the text that the model's chat template makes of them");
  app.add_flag("--no-special", options.noSpecial,
               "Encode without the tokenizer's first and last tokens; decode "
               "without special tokens");
  app.add_flag("--plain", options.plain,
               "Take special tokens in the text for ordinary text");
  app.add_flag("-z,--null", options.whole,
               "Lines, read and written, end in NUL instead of newline");
  app.set_version_flag("--version", "tbq-tokenize " TBQ_VERSION
                                    " (git " TBQ_GIT_REVISION ")");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError &error) {
    return app.exit(error) == 0 ? 0 : 1;
  }
  return run(options);
}
