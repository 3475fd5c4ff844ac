// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The normalizers of a tokenizer, in their order: text to text, before added
// tokens that match normalized text and before pre-tokenization.
// Invariant: valid UTF-8 in gives valid UTF-8 out.
#ifndef TBQ_RUNTIME_NORMALIZER_H
#define TBQ_RUNTIME_NORMALIZER_H

#include "runtime/TokenizerView.h"

#include <string>
#include <string_view>
#include <vector>

namespace tbq {

/// Every occurrence of `wanted` (not empty), from left to right.
std::string replaceAll(std::string_view text, std::string_view wanted,
                       std::string_view replacement);

class Normalizer {
public:
  /// Borrows the view's strings.
  explicit Normalizer(const TokenizerView &view);

  std::string apply(std::string_view text) const;

private:
  std::vector<TokenizerView::Step> steps;
};

} // namespace tbq

#endif // TBQ_RUNTIME_NORMALIZER_H
