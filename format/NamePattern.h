// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A regular expression that a whole layer name must match (PCRE2 syntax,
// anchored at both ends, like Python's re.fullmatch).
// Invariant: patterns come from untrusted files, so their length and the work
// and memory of a match are bounded; exceeding a bound is an error.
#ifndef TBQ_FORMAT_NAMEPATTERN_H
#define TBQ_FORMAT_NAMEPATTERN_H

#include "format/Result.h"

#include <memory>
#include <string>

struct pcre2_real_code_8;

namespace tbq {

class NamePattern {
public:
  /// Errors are bare details; the caller knows file and field.
  static Result<std::shared_ptr<const NamePattern>>
  compile(const std::string &pattern);

  Result<bool> matches(const std::string &name) const;

private:
  struct Free {
    void operator()(pcre2_real_code_8 *code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code;
};

} // namespace tbq

#endif // TBQ_FORMAT_NAMEPATTERN_H
