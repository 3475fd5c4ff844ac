// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Text to token ids and back, from tables that the compiler made of a
// tokenizer.json. Results equal the Hugging Face tokenizers library's.
// Invariant: a Tokenizer is not changed by use; threads may share it. It
// borrows the tables' memory.
#ifndef TBQ_RUNTIME_TOKENIZER_H
#define TBQ_RUNTIME_TOKENIZER_H

#include "format/Result.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tbq {

class Tokenizer {
public:
  /// Checks the tables; `name` is the file that errors speak of.
  static Result<Tokenizer> open(const uint8_t *data, uint64_t size,
                                const std::string &name);
  Tokenizer(Tokenizer &&) noexcept;
  Tokenizer &operator=(Tokenizer &&) noexcept;
  ~Tokenizer();

  /// Ill-formed UTF-8 is read as U+FFFD. `addSpecial` puts the tokenizer's own
  /// first and last tokens around the text; `parseSpecial` recognises special
  /// tokens that are written in the text. Fails for more than 256 MiB of text
  /// and where a split pattern exceeds its limits.
  Result<std::vector<int32_t>> encode(std::string_view text,
                                      bool addSpecial = true,
                                      bool parseSpecial = true) const;

  /// Ids that stand for nothing are passed over.
  std::string decode(const std::vector<int32_t> &ids,
                     bool skipSpecial = false) const;

  /// One more than the largest id; some ids below may stand for nothing.
  int32_t vocabularySize() const;
  /// As tokenizer.json writes it; byte-level models write bytes as characters.
  std::optional<std::string_view> tokenText(int32_t id) const;
  std::optional<int32_t> findToken(std::string_view text) const;
  bool isSpecial(int32_t id) const;
  /// What tokenizer_config.json names as bos_token, eos_token and pad_token.
  std::optional<int32_t> firstToken() const;
  std::optional<int32_t> endToken() const;
  std::optional<int32_t> paddingToken() const;

private:
  friend class StreamDecoder;
  struct Parts;
  explicit Tokenizer(std::unique_ptr<Parts> parts);
  std::unique_ptr<Parts> parts;
};

/// Decodes ids one by one. What push() and finish() return, put together, is
/// what Tokenizer::decode gives for all of them at once; to that end push()
/// holds back text that later ids can still change (a character's first bytes).
/// Must not outlive its tokenizer.
class StreamDecoder {
public:
  explicit StreamDecoder(const Tokenizer &tokenizer, bool skipSpecial = false);
  StreamDecoder(StreamDecoder &&) noexcept;
  StreamDecoder &operator=(StreamDecoder &&) noexcept;
  ~StreamDecoder();

  std::string push(int32_t id);
  /// The end of the text; the decoder is then ready for another.
  std::string finish();

private:
  struct State;
  std::unique_ptr<State> state;
};

} // namespace tbq

#endif // TBQ_RUNTIME_TOKENIZER_H
