// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Mapped tokenizer tables (format/TokenizerTables.h), checked once and then
// read in place. Borrows the memory, of any alignment.
// Invariant: after open() every id, string number and offset that a method
// returns is in range, whatever bytes the tables hold.
#ifndef TBQ_RUNTIME_TOKENIZERVIEW_H
#define TBQ_RUNTIME_TOKENIZERVIEW_H

#include "format/BoundedReader.h"
#include "format/Result.h"
#include "format/TokenizerTables.h"

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace tbq {

class TokenizerView {
public:
  struct Merge {
    uint32_t rank, result;
  };
  struct Added {
    uint32_t id, flags;
  };
  struct Step {
    tables::StepKind kind;
    uint32_t flags;
    std::string_view first, second; // empty if the step has no such string
    uint32_t number;
  };

  static Result<TokenizerView> open(const uint8_t *data, uint64_t size,
                                    const std::string &name);

  uint32_t tokens() const { return tokenCount; }
  uint32_t modelFlags() const { return flags; }
  /// Ids, or tables::none.
  uint32_t unknownToken() const { return unknown; }
  uint32_t firstToken() const { return first; }
  uint32_t endToken() const { return end; }
  uint32_t paddingToken() const { return padding; }

  /// id < tokens().
  std::string_view text(uint32_t id) const;
  uint8_t tokenFlags(uint32_t id) const;

  /// The token of the model's vocabulary with this text.
  std::optional<uint32_t> findInModel(std::string_view text) const;
  std::optional<Merge> findMerge(uint32_t left, uint32_t right) const;

  uint32_t addedCount() const { return count(tables::addedTokens, 8); }
  Added added(uint32_t index) const;
  uint32_t stepCount() const { return count(tables::steps, tables::stepSize); }
  Step step(uint32_t index) const;
  /// Around an encoded text: prefixCount() tokens, the text, the others.
  uint32_t templateCount() const { return count(tables::templateTokens, 4); }
  uint32_t prefixCount() const { return prefix; }
  uint32_t templateToken(uint32_t index) const;

private:
  struct Bytes {
    const uint8_t *data = nullptr;
    uint64_t size = 0;
  };
  TokenizerView() = default;
  Status readHeader(BoundedReader &reader, const std::string &name);
  Status readSections(BoundedReader &reader, const std::string &name);
  Status checkOffsets(tables::Section offsets, tables::Section bytes,
                      const std::string &name) const;
  Status checkContents(const std::string &name) const;
  Status checkSteps(const std::string &name) const;

  uint32_t word(tables::Section section, uint64_t index) const;
  std::string_view slice(tables::Section offsets, tables::Section bytes,
                         uint32_t index) const;
  uint32_t count(tables::Section section, uint64_t recordSize) const {
    return static_cast<uint32_t>(sections[section].size / recordSize);
  }

  std::array<Bytes, tables::sectionCount> sections;
  uint32_t tokenCount = 0, flags = 0, prefix = 0, suffix = 0;
  uint32_t unknown = tables::none, first = tables::none, end = tables::none,
           padding = tables::none;
};

} // namespace tbq

#endif // TBQ_RUNTIME_TOKENIZERVIEW_H
