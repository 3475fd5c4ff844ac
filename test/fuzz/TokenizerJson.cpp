// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tokenizer.json, tokenizer_config.json, chat_template.jinja. What compiles
// must open in the runtime, and encode and decode without harm.
#include "FuzzInput.h"

#include "runtime/Tokenizer.h"
#include "tbq/ChatTemplate.h"
#include "tbq/TokenizerCompiler.h"

using namespace tbq;
using namespace tbq::fuzz;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  FuzzInput input(data, size);
  std::string_view tokenizer = input.next(), config = input.next();
  (void)isGood(recogniseChat(input.rest(), config, "model"));
  auto tables = compileTokenizer(tokenizer, config, "model");
  if (!isGood(tables))
    return 0;
  auto opened = Tokenizer::open(tables->data(), tables->size(), "tables");
  require(bool(opened));
  auto ids = opened->encode("he said: a b  hello\n12 <s>\xe2\x96\x81");
  if (isGood(ids))
    (void)opened->decode(*ids);
  return 0;
}
