// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Byte pair encoding of one piece of text: characters, then merges by rank, the
// leftmost first among equals. Input: valid UTF-8; output: token ids.
// Invariant: n characters take O(n log n) time, whatever they are.
#ifndef TBQ_RUNTIME_BYTEPAIRS_H
#define TBQ_RUNTIME_BYTEPAIRS_H

#include "runtime/TokenizerView.h"

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

namespace tbq {

/// The ids of the tokens that a lone character or byte stands for.
struct CharacterTokens {
  explicit CharacterTokens(const TokenizerView &view);

  std::array<uint32_t, 512> low;   // by code point
  std::array<uint32_t, 256> bytes; // of <0x00> to <0xFF>
};

/// Holds the working memory, so that the pieces of a text share it.
class BytePairEncoder {
public:
  BytePairEncoder(const TokenizerView &view, const CharacterTokens &characters)
      : view(view), characters(characters) {}

  void encode(std::string_view piece, std::vector<int32_t> &ids);

private:
  struct Symbol {
    uint32_t token;
    int32_t previous, next; // positions, -1 at the ends
    bool gone;
  };
  struct Candidate {
    uint64_t order; // rank, then position
    uint32_t result;
    bool operator<(const Candidate &other) const { return order > other.order; }
  };

  void readSymbols(std::string_view piece);
  bool addBytes(std::string_view character);
  void addSymbol(uint32_t token);
  void addCandidate(int32_t position);
  void merge();

  const TokenizerView &view;
  const CharacterTokens &characters;
  std::vector<Symbol> symbols;
  std::vector<Candidate> heap;
};

} // namespace tbq

#endif // TBQ_RUNTIME_BYTEPAIRS_H
