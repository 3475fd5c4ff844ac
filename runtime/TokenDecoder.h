// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The decoder of a tokenizer: texts of tokens, one after the other, to text.
// What is still open is kept in a state of the caller's.
// Invariant: the concatenated output does not depend on when it is asked for.
#ifndef TBQ_RUNTIME_TOKENDECODER_H
#define TBQ_RUNTIME_TOKENDECODER_H

#include "runtime/TokenizerView.h"

#include <string>
#include <string_view>
#include <vector>

namespace tbq {

class TokenDecoder {
public:
  struct State {
    std::string bytes;        // that do not form characters yet
    uint64_t tokens = 0;      // decoded so far
    bool pastLeading = false; // no leading characters are dropped any more
    uint64_t dropped = 0;     // leading characters dropped so far
  };

  /// Borrows the view's strings. Fails for steps in an order that has no
  /// meaning here (the compiler writes none such).
  static Result<TokenDecoder> build(const TokenizerView &view,
                                    const std::string &name);

  void push(State &state, std::string_view token, std::string &out) const;
  void finish(State &state, std::string &out) const;

private:
  void pushByteLevel(State &state, std::string_view token,
                     std::string &out) const;
  void pushMetaspace(State &state, std::string_view token,
                     std::string &out) const;
  void pushSteps(State &state, std::string_view token, std::string &out) const;
  void flushBytes(State &state, std::string &out) const;
  void emit(State &state, std::string_view text, std::string &out) const;

  enum class Kind { joined, byteLevel, metaspace, steps };
  Kind kind = Kind::joined;
  TokenizerView::Step metaspace{};
  std::vector<TokenizerView::Step> replacements;
  bool byteFallback = false;
  std::string_view strip; // the character dropped at the start; empty: none
  uint64_t stripLimit = 0;
};

} // namespace tbq

#endif // TBQ_RUNTIME_TOKENDECODER_H
