// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Turns a Hugging Face tokenizer.json into the tables that an artifact carries
// (format/TokenizerTables.h). Supported: BPE, byte-level or SentencePiece-style
// with byte fallback; every other part is refused by its name.
// Invariant: equal input gives equal bytes.
#ifndef TBQ_TOKENIZERCOMPILER_H
#define TBQ_TOKENIZERCOMPILER_H

#include "format/Result.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tbq {

/// `tokenizerConfigJson` (tokenizer_config.json) names the first, end and
/// padding tokens; empty text stands for no such file. What the two files say
/// of one token must agree. `directory` is put before their names in errors.
/// The post-processor of tokenizer.json alone says which tokens are put around
/// a text (not add_bos_token); truncation and padding are not part of the
/// tables.
Result<std::vector<uint8_t>>
compileTokenizer(std::string_view tokenizerJson,
                 std::string_view tokenizerConfigJson,
                 const std::string &directory);

} // namespace tbq

#endif // TBQ_TOKENIZERCOMPILER_H
