// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Recognises a checkpoint's chat_template by the hash of its text and says, as
// data, what it does. No template is executed and none is guessed.
// Invariant: a format is only given for a text whose rendering is tested
// against jinja2 (test/unit/Tokenizer/templates).
#ifndef TBQ_CHATTEMPLATE_H
#define TBQ_CHATTEMPLATE_H

#include "format/ChatFormat.h"
#include "format/Result.h"

#include <optional>
#include <string>
#include <string_view>

namespace tbq {

/// A format, or why there is none.
struct ChatRecognition {
  std::optional<ChatFormat> format;
  std::string reason;
};

/// `firstToken` and `endToken` are what the template calls bos_token and
/// eos_token; empty if the checkpoint names none.
ChatRecognition recogniseChatTemplate(std::string_view text,
                                      const std::string &firstToken,
                                      const std::string &endToken);

/// From the text of chat_template.jinja (which comes first) and of
/// tokenizer_config.json; either may be empty, for no such file.
Result<ChatRecognition> recogniseChat(std::string_view chatTemplate,
                                      std::string_view tokenizerConfigJson,
                                      const std::string &directory);

} // namespace tbq

#endif // TBQ_CHATTEMPLATE_H
