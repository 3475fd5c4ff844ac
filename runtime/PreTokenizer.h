// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The pre-tokenizers of a tokenizer, in their order: they cut pieces of text
// into smaller ones and, for byte-level models, write bytes as characters.
// Invariant: added tokens pass through untouched; no empty piece is left.
#ifndef TBQ_RUNTIME_PRETOKENIZER_H
#define TBQ_RUNTIME_PRETOKENIZER_H

#include "runtime/Pattern.h"
#include "runtime/TextPieces.h"
#include "runtime/TokenizerView.h"

#include <array>
#include <string>
#include <vector>

namespace tbq {

/// The character that byte-level models write for each byte (GPT-2's
/// bytes_to_unicode): itself if it is printable, else one from U+0100 on.
const std::array<uint16_t, 256> &byteLevelAlphabet();

class PreTokenizer {
public:
  /// Borrows the view's strings.
  static Result<PreTokenizer> build(const TokenizerView &view,
                                    const std::string &name);

  Status apply(TextPieces &pieces) const;

private:
  struct Part {
    size_t begin, end;
    bool match;
  };
  struct Step {
    TokenizerView::Step what;
    std::optional<Pattern> pattern;
  };

  static Status applyStep(const Step &step, const TextPieces &pieces,
                          const TextPieces::Piece &piece, TextPieces &out);
  static Status findParts(const Step &step, std::string_view text,
                          std::vector<Part> &parts);

  std::vector<Step> steps;
};

} // namespace tbq

#endif // TBQ_RUNTIME_PRETOKENIZER_H
