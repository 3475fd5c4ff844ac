// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A text cut into pieces on its way to token ids: each piece is a range of the
// text that is still to be tokenised, or one added token.
// Invariant: ranges are in order, do not overlap, and are empty only for added
// tokens.
#ifndef TBQ_RUNTIME_TEXTPIECES_H
#define TBQ_RUNTIME_TEXTPIECES_H

#include "format/TokenizerTables.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tbq {

struct TextPieces {
  struct Piece {
    size_t begin, end;
    uint32_t token; // an added token, or tables::none
    bool first;     // starts where the original text starts
  };

  std::string text;
  std::vector<Piece> pieces;

  std::string_view view(const Piece &piece) const {
    return std::string_view(text).substr(piece.begin, piece.end - piece.begin);
  }
  void addToken(uint32_t token) {
    pieces.push_back({text.size(), text.size(), token, false});
  }
  /// Appends text as a piece; an empty one leaves no trace.
  void addText(std::string_view added, bool first) {
    if (added.empty())
      return;
    pieces.push_back(
        {text.size(), text.size() + added.size(), tables::none, first});
    text += added;
  }
};

} // namespace tbq

#endif // TBQ_RUNTIME_TEXTPIECES_H
