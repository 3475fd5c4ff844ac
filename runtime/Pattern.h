// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A compiled regular expression of a tokenizer's split (PCRE2, with JIT where
// the system allows it). Input: a pattern in PCRE2's syntax, valid UTF-8 text.
// Invariant: a search ends within the match limits or is an error.
#ifndef TBQ_RUNTIME_PATTERN_H
#define TBQ_RUNTIME_PATTERN_H

#include "format/Result.h"

#include <functional>
#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;

namespace tbq {

class Pattern {
public:
  static Result<Pattern> compile(std::string_view pattern,
                                 const std::string &name);

  /// Calls `found(begin, end)` for each match from left to right. An empty
  /// match right after the last match is passed over.
  Status forEachMatch(std::string_view text,
                      const std::function<void(size_t, size_t)> &found) const;

private:
  struct Free {
    void operator()(pcre2_real_code_8 *code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code;
  std::string name;
};

} // namespace tbq

#endif // TBQ_RUNTIME_PATTERN_H
