// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Writes a conversation as the text a chat model was trained on. Input: the
// format out of an artifact's manifest, messages in order; output: text to
// encode with addSpecial off and parseSpecial on.
// Invariant: equals what the recognised chat_template renders.
#ifndef TBQ_RUNTIME_CHAT_H
#define TBQ_RUNTIME_CHAT_H

#include "format/ChatFormat.h"
#include "format/Result.h"

#include <string>
#include <vector>

namespace tbq {

struct ChatMessage {
  std::string role; // system, user, assistant
  std::string content;
};

/// With `generate` the text ends where the assistant's answer begins. Fails
/// for an unknown role and for an order of roles that the format excludes.
Result<std::string> renderChat(const ChatFormat &format,
                               const std::vector<ChatMessage> &messages,
                               bool generate);

} // namespace tbq

#endif // TBQ_RUNTIME_CHAT_H
