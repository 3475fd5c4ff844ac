// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a tokenizer.json says, read and checked, before it is written as tables:
// the readers of its parts fill this, the writer takes it.
// Invariant: ids index `tokens`; string numbers index `strings`.
#ifndef TBQ_LIB_IMPORT_TOKENIZER_TOKENIZERSOURCE_H
#define TBQ_LIB_IMPORT_TOKENIZER_TOKENIZERSOURCE_H

#include "format/Json.h"
#include "format/Result.h"
#include "format/TokenizerTables.h"

#include <cstdint>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace tbq {

struct TokenizerSource {
  struct Token {
    std::string text;
    uint8_t flags = 0;
  };
  struct Merge {
    uint32_t left, right, rank, result;
  };
  struct Added {
    uint32_t id, flags;
  };
  struct Step {
    uint32_t kind;
    uint32_t flags = 0;
    uint32_t first = tables::none, second = tables::none;
    uint32_t number = 0;
  };

  std::vector<Token> tokens;
  std::unordered_map<std::string, uint32_t> idOf; // model's and added
  uint32_t modelTokens = 0;
  uint32_t modelFlags = 0;
  uint32_t unknown = tables::none, first = tables::none, end = tables::none,
           padding = tables::none;
  std::vector<Merge> merges;
  std::vector<Added> added;
  std::vector<Step> steps;
  std::vector<std::string> strings;
  std::vector<uint32_t> prefix, suffix;

  uint32_t addString(std::string text) {
    strings.push_back(std::move(text));
    return static_cast<uint32_t>(strings.size() - 1);
  }
};

/// "model": vocabulary and merges.
Status readModel(const JsonObject &root, TokenizerSource &source);
/// "added_tokens"; after the model.
Status readAddedTokens(const JsonObject &root, TokenizerSource &source);
/// "normalizer", "pre_tokenizer" and "decoder".
Status readSteps(const JsonObject &root, TokenizerSource &source);
/// "post_processor"; after the added tokens.
Status readTemplate(const JsonObject &root, TokenizerSource &source);

std::vector<uint8_t> writeTables(const TokenizerSource &source);

/// A component's "type", or an error that names the component.
Result<std::string> componentType(const JsonObject &component);
Error refuseComponent(const JsonObject &component, const char *what,
                      const std::string &type);
/// The elements of an array of objects.
Result<std::vector<JsonObject>> objectsIn(const JsonObject &parent,
                                          const std::string &key);

} // namespace tbq

#endif // TBQ_LIB_IMPORT_TOKENIZER_TOKENIZERSOURCE_H
