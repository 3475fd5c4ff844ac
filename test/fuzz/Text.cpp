// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A prompt through two small tokenizers: decode(encode(text)) is the text, its
// ill-formed UTF-8 repaired, and a stream gives what the whole gives.
#include "FuzzInput.h"

#include "runtime/Tokenizer.h"
#include "runtime/Unicode.h"
#include "test/unit/Tokenizer/SmallTokenizer.h"

using namespace tbq;
using namespace tbq::fuzz;
using test::OpenTokenizer;

static std::string roundTrip(const OpenTokenizer &open, std::string_view text) {
  auto ids = open.tokenizer.encode(text, false, false);
  require(bool(ids));
  std::string whole = open.tokenizer.decode(*ids);
  StreamDecoder stream(open.tokenizer);
  std::string pieces;
  for (int32_t id : *ids)
    pieces += stream.push(id);
  require(pieces + stream.finish() == whole);
  return whole;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const OpenTokenizer byteLevel =
      test::makeTokenizer(test::byteLevelTokenizer());
  static const OpenTokenizer sentencePiece =
      test::makeTokenizer(test::sentencePieceTokenizer());
  std::string_view text = FuzzInput(data, size).rest();
  std::string repaired;
  unicode::appendValidUtf8(repaired, text, /*last=*/true);
  require(roundTrip(byteLevel, text) == repaired);
  (void)roundTrip(sentencePiece, text);
  (void)isGood(byteLevel.tokenizer.encode(text, true, true));
  (void)isGood(sentencePiece.tokenizer.encode(text, true, true));
  return 0;
}
