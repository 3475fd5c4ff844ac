// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Tokenizer tables as the runtime maps them, after a text; the checksum is put
// right, so that what stands behind it is reached. What opens works.
#include "FuzzInput.h"

#include "format/TokenizerTables.h"
#include "runtime/Tokenizer.h"

#include <cstring>
#include <vector>
#include <xxhash.h>

using namespace tbq;
using namespace tbq::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  FuzzInput input(data, size);
  std::string_view text = input.next();
  // A copy on the heap: a read past its end is seen.
  std::vector<uint8_t> bytes(input.rest().begin(), input.rest().end());
  if (bytes.size() >= tables::checksumEnd) {
    const uint64_t total = bytes.size();
    std::memcpy(bytes.data() + 16, &total, sizeof(total));
    const uint64_t checksum = XXH64(bytes.data() + tables::checksumEnd,
                                    bytes.size() - tables::checksumEnd, 0);
    std::memcpy(bytes.data() + 24, &checksum, sizeof(checksum));
  }
  auto tokenizer = Tokenizer::open(bytes.data(), bytes.size(), "tables");
  if (!isGood(tokenizer))
    return 0;
  auto ids = tokenizer->encode(text);
  if (isGood(ids))
    (void)tokenizer->decode(*ids);
  std::vector<int32_t> some = {-1, 0, 1, 2, 3, tokenizer->vocabularySize()};
  (void)tokenizer->decode(some, true);
  (void)tokenizer->findToken(text);
  return 0;
}
