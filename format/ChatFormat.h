// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How a model's chat is written as text: what a recognised chat_template does,
// as data. The compiler fills it, the manifest carries it, the runtime renders.
// Invariant: all strings are literal text; nothing in here is a template.
#ifndef TBQ_FORMAT_CHATFORMAT_H
#define TBQ_FORMAT_CHATFORMAT_H

#include "format/Json.h"

#include <optional>
#include <string>

namespace tbq {

struct ChatTurn {
  std::string prefix, suffix;
};

struct ChatFormat {
  /// Where the text of a system message goes.
  enum class SystemPlace {
    ownTurn,   // between system.prefix and system.suffix, as a turn
    firstUser, // between them too, but at the start of the first user's content
  };

  std::string name;       // chatml, smollm2, llama2, llama3, zephyr
  std::string firstToken; // text before the first message; may be empty
  ChatTurn system, user, assistant;
  std::string generationPrefix; // after the last message, before the answer
  /// Stands in where the first message is not a system message.
  std::optional<std::string> defaultSystem;
  SystemPlace systemPlace = SystemPlace::ownTurn;
  bool trimContent = false;    // white space around contents is dropped
  bool alternateRoles = false; // user, assistant, user ... or an error
};

/// The manifest's "chat" object.
nlohmann::json chatFormatToJson(const ChatFormat &format);
Result<ChatFormat> chatFormatFromJson(const JsonObject &object);

} // namespace tbq

#endif // TBQ_FORMAT_CHATFORMAT_H
