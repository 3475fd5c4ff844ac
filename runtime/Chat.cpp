// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Renders messages by a ChatFormat.
// Invariant: white space is what Python's str.strip() takes off, since the
// templates trim with it.
#include "runtime/Chat.h"

#include "runtime/Unicode.h"

using namespace tbq;

static bool isStripped(uint32_t codePoint) {
  return unicode::classOf(codePoint) == unicode::Class::space ||
         (codePoint >= 0x1c && codePoint <= 0x1f);
}

static std::string strip(const std::string &content) {
  std::string text;
  unicode::appendValidUtf8(text, content, /*last=*/true);
  size_t begin = 0, end = text.size();
  while (begin < end) {
    auto character = unicode::decodeAt(text, begin);
    if (!isStripped(character.codePoint))
      break;
    begin += character.bytes;
  }
  while (end > begin) {
    auto character = unicode::decodeBefore(text, end);
    if (!isStripped(character.codePoint))
      break;
    end -= character.bytes;
  }
  return text.substr(begin, end - begin);
}

static const ChatTurn *turnFor(const ChatFormat &format,
                               const std::string &role) {
  if (role == "system")
    return &format.system;
  if (role == "user")
    return &format.user;
  return role == "assistant" ? &format.assistant : nullptr;
}

static std::string renderTurn(const ChatFormat &format, const ChatTurn &turn,
                              const std::string &content) {
  return turn.prefix + (format.trimContent ? strip(content) : content) +
         turn.suffix;
}

static Error chatError(const ChatFormat &format, size_t index,
                       std::string_view detail) {
  return makeError("chat format " + format.name,
                   "message " + std::to_string(index), detail);
}

Result<std::string> tbq::renderChat(const ChatFormat &format,
                                    const std::vector<ChatMessage> &messages,
                                    bool generate) {
  std::string text = messages.empty() ? "" : format.firstToken;
  bool startsWithSystem = !messages.empty() && messages[0].role == "system";
  bool joinFirstUser = startsWithSystem &&
                       format.systemPlace == ChatFormat::SystemPlace::firstUser;
  if (!messages.empty() && !startsWithSystem && format.defaultSystem)
    text += renderTurn(format, format.system, *format.defaultSystem);
  size_t start = joinFirstUser ? 1 : 0;
  for (size_t i = start; i < messages.size(); ++i) {
    const ChatMessage &message = messages[i];
    const ChatTurn *turn = turnFor(format, message.role);
    if (!turn)
      return chatError(format, i,
                       "role must be system, user or assistant (got " +
                           message.role + ")");
    bool userIsDue = (i - start) % 2 == 0;
    if (format.alternateRoles && (message.role == "user") != userIsDue)
      return chatError(format, i,
                       "roles must alternate user, assistant (got " +
                           message.role + ")");
    bool joined = joinFirstUser && i == start;
    text += renderTurn(format, *turn,
                       joined ? format.system.prefix + messages[0].content +
                                    format.system.suffix + message.content
                              : message.content);
  }
  return generate ? text + format.generationPrefix : text;
}
