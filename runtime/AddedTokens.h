// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Finds the tokens that were added to the model's vocabulary: first those that
// match the text as written, then, in what is left and normalized, the others.
// At each place the longest one wins; matches do not overlap.
// Invariant: pieces and tokens together cover the normalized text in order.
#ifndef TBQ_RUNTIME_ADDEDTOKENS_H
#define TBQ_RUNTIME_ADDEDTOKENS_H

#include "runtime/Normalizer.h"
#include "runtime/TextPieces.h"
#include "runtime/TokenizerView.h"

#include <array>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace tbq {

class AddedTokens {
public:
  static Result<AddedTokens> build(const TokenizerView &view,
                                   const Normalizer &normalizer,
                                   const std::string &name);

  /// With `parseSpecial` false special tokens are ordinary text.
  TextPieces split(std::string_view text, const Normalizer &normalizer,
                   bool parseSpecial) const;

  /// The normalized text of a token that matches normalized text, if that is
  /// not the token's own: what decoders are given.
  const std::string *normalizedText(uint32_t id) const;
  std::optional<uint32_t> find(std::string_view text) const;

private:
  struct Entry {
    std::string pattern;
    uint32_t id, flags;
    bool special;
  };
  struct Match {
    size_t begin, end;
    const Entry *entry;
  };
  /// Entries sorted by pattern; those that start with byte b are
  /// [starts[b], starts[b + 1]).
  struct Matcher {
    std::vector<Entry> entries;
    std::array<uint32_t, 257> starts{};

    Status prepare(const std::string &name);
    /// The first match at or after `from`, the longest at its place.
    std::optional<Match> next(std::string_view text, size_t from) const;
  };

  static void splitPiece(const Matcher &matcher, std::string_view text,
                         bool first, bool parseSpecial, TextPieces &out);

  Matcher asWritten, inNormalized;
  std::unordered_map<uint32_t, std::string> normalizedTexts;
  std::unordered_map<std::string, uint32_t> byText;
};

} // namespace tbq

#endif // TBQ_RUNTIME_ADDEDTOKENS_H
