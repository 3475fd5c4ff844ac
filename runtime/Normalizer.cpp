// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Applies the normalizer steps of tokenizer tables.
// Invariant: an empty text stays empty.
#include "runtime/Normalizer.h"

#include "runtime/Unicode.h"

using namespace tbq;

std::string tbq::replaceAll(std::string_view text, std::string_view wanted,
                            std::string_view replacement) {
  std::string result;
  size_t begin = 0;
  while (!wanted.empty()) {
    size_t found = text.find(wanted, begin);
    if (found == std::string_view::npos)
      break;
    result.append(text.substr(begin, found - begin)).append(replacement);
    begin = found + wanted.size();
  }
  return result.append(text.substr(begin));
}

Normalizer::Normalizer(const TokenizerView &view) {
  for (uint32_t i = 0; i < view.stepCount(); ++i)
    if (auto step = view.step(i); step.kind < tables::splitByteLevel)
      steps.push_back(step);
}

std::string Normalizer::apply(std::string_view text) const {
  std::string result(text);
  for (const auto &step : steps) {
    switch (step.kind) {
    case tables::normalizePrepend:
      if (!result.empty())
        result.insert(0, step.first);
      break;
    case tables::normalizeReplace:
      result = replaceAll(result, step.first, step.second);
      break;
    case tables::normalizeNfc:
      result = unicode::normalize(result, unicode::NormalForm::nfc);
      break;
    case tables::normalizeNfd:
      result = unicode::normalize(result, unicode::NormalForm::nfd);
      break;
    case tables::normalizeNfkc:
      result = unicode::normalize(result, unicode::NormalForm::nfkc);
      break;
    case tables::normalizeNfkd:
      result = unicode::normalize(result, unicode::NormalForm::nfkd);
      break;
    case tables::normalizeLowercase:
      result = unicode::lowercase(result);
      break;
    default: // the tokenizer's open() lets no other kind through
      break;
    }
  }
  return result;
}
