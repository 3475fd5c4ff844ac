// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// From the regular expressions of tokenizer.json (Oniguruma's Ruby dialect) to
// PCRE2's, for the part of both that can be given one meaning.
// Invariant: what is returned matches in PCRE2 what the input matches in
// Oniguruma; a construct that might differ is refused by name.
#ifndef TBQ_LIB_IMPORT_TOKENIZER_PATTERNDIALECT_H
#define TBQ_LIB_IMPORT_TOKENIZER_PATTERNDIALECT_H

#include "format/Json.h"
#include "format/Result.h"

#include <string>

namespace tbq {

/// `owner` and `key` say where the pattern stands, for errors.
Result<std::string> translatePattern(const std::string &pattern,
                                     const JsonObject &owner,
                                     const std::string &key);

} // namespace tbq

#endif // TBQ_LIB_IMPORT_TOKENIZER_PATTERNDIALECT_H
