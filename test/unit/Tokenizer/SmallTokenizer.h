// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Two tokenizers small enough to work out by hand, as tokenizer.json documents
// that a test may change, and what compiling and opening them gives.
// Invariant: makeTokenizer fails the test where a step fails.
#ifndef TBQ_TEST_UNIT_TOKENIZER_SMALLTOKENIZER_H
#define TBQ_TEST_UNIT_TOKENIZER_SMALLTOKENIZER_H

#include "runtime/Tokenizer.h"

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace tbq::test {

/// GPT-2 style: the 256 bytes are tokens 0 to 255 in the order of bytes, then
/// "he" 256, "ll" 257, "hell" 258, "hello" 259, "Ġw" 260; "<|end|>" 261 is
/// special.
nlohmann::json byteLevelTokenizer();

/// Llama style: <unk> 0, <s> 1, </s> 2 (special), <0x00> 3 to <0xFF> 258, then
/// "▁" 259, "a" 260, "b" 261, "▁a" 262, "ab" 263; a text becomes <s> text.
nlohmann::json sentencePieceTokenizer();

Result<std::vector<uint8_t>> compile(const nlohmann::json &document,
                                     const std::string &config = "");

/// Owns the tables that its tokenizer borrows.
struct OpenTokenizer {
  std::vector<uint8_t> tables;
  Tokenizer tokenizer;

  std::vector<int32_t> encode(const std::string &text, bool addSpecial = true,
                              bool parseSpecial = true) const;
};

OpenTokenizer makeTokenizer(const nlohmann::json &document,
                            const std::string &config = "");

using Ids = std::vector<int32_t>;

} // namespace tbq::test

#endif // TBQ_TEST_UNIT_TOKENIZER_SMALLTOKENIZER_H
