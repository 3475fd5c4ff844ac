// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The merge loop over a linked list of symbols and a heap of candidates.
// Input: a piece of at most 2^31 - 1 bytes.
// Invariant: a candidate is applied only if the pair at its position still
// gives its result; each application removes one symbol.
#include "runtime/BytePairs.h"

#include "runtime/Unicode.h"

#include <algorithm>

using namespace tbq;

CharacterTokens::CharacterTokens(const TokenizerView &view) {
  for (uint32_t codePoint = 0; codePoint < low.size(); ++codePoint) {
    std::string text;
    unicode::append(text, codePoint);
    low[codePoint] = view.findInModel(text).value_or(tables::none);
  }
  for (uint32_t byte = 0; byte < bytes.size(); ++byte) {
    const char *digits = "0123456789ABCDEF";
    std::string text = {'<', '0', 'x', digits[byte >> 4], digits[byte & 15],
                        '>'};
    bytes[byte] = view.findInModel(text).value_or(tables::none);
  }
}

void BytePairEncoder::addSymbol(uint32_t token) {
  auto position = static_cast<int32_t>(symbols.size());
  symbols.push_back({token, position - 1, position + 1, false});
}

/// All of the character's bytes as tokens of their own, or none.
bool BytePairEncoder::addBytes(std::string_view character) {
  for (char byte : character)
    if (characters.bytes[static_cast<uint8_t>(byte)] == tables::none)
      return false;
  for (char byte : character)
    addSymbol(characters.bytes[static_cast<uint8_t>(byte)]);
  return true;
}

void BytePairEncoder::readSymbols(std::string_view piece) {
  symbols.clear();
  bool byBytes = view.modelFlags() & tables::byteFallback;
  bool fuse = view.modelFlags() & tables::fuseUnknown;
  uint32_t unknown = view.unknownToken();
  // Unknown characters seen and not yet written. As in the tokenizers library,
  // byte tokens do not write them, the next known character does.
  bool pending = false;
  for (size_t offset = 0; offset < piece.size();) {
    auto character = unicode::decodeAt(piece, offset);
    std::string_view text = piece.substr(offset, character.bytes);
    offset += character.bytes;
    uint32_t token = character.codePoint < characters.low.size()
                         ? characters.low[character.codePoint]
                         : view.findInModel(text).value_or(tables::none);
    if (token != tables::none) {
      if (pending)
        addSymbol(unknown);
      pending = false;
      addSymbol(token);
      continue;
    }
    if ((byBytes && addBytes(text)) || unknown == tables::none)
      continue;
    if (pending && !fuse)
      addSymbol(unknown);
    pending = true;
  }
  if (pending)
    addSymbol(unknown);
  if (!symbols.empty())
    symbols.back().next = -1;
}

/// The pair that starts at `position` (not the last symbol), if it merges.
void BytePairEncoder::addCandidate(int32_t position) {
  const Symbol &left = symbols[position];
  auto found = view.findMerge(left.token, symbols[left.next].token);
  if (found)
    heap.push_back(
        {uint64_t(found->rank) << 32 | uint32_t(position), found->result});
}

void BytePairEncoder::merge() {
  heap.clear();
  for (size_t i = 0; i + 1 < symbols.size(); ++i)
    addCandidate(static_cast<int32_t>(i));
  std::make_heap(heap.begin(), heap.end());
  auto push = [&](int32_t position) {
    size_t before = heap.size();
    addCandidate(position);
    if (heap.size() != before)
      std::push_heap(heap.begin(), heap.end());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    Candidate top = heap.back();
    heap.pop_back();
    auto position = static_cast<int32_t>(top.order & 0xffffffff);
    Symbol &left = symbols[position];
    if (left.gone || left.next < 0)
      continue;
    Symbol &right = symbols[left.next];
    auto still = view.findMerge(left.token, right.token);
    if (!still || still->result != top.result)
      continue;
    left.token = top.result;
    left.next = right.next;
    right.gone = true;
    if (left.next >= 0) {
      symbols[left.next].previous = position;
      push(position);
    }
    if (left.previous >= 0)
      push(left.previous);
  }
}

void BytePairEncoder::encode(std::string_view piece,
                             std::vector<int32_t> &ids) {
  if (view.modelFlags() & tables::ignoreMerges)
    if (auto whole = view.findInModel(piece)) {
      ids.push_back(static_cast<int32_t>(*whole));
      return;
    }
  readSymbols(piece);
  merge();
  for (const Symbol &symbol : symbols)
    if (!symbol.gone)
      ids.push_back(static_cast<int32_t>(symbol.token));
}
