// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Layer name patterns over PCRE2, which matches on its own bounded heap
// (std::regex recurses on the stack).
// Input: a pattern and names; output: yes, no, or an error.
#define PCRE2_CODE_UNIT_WIDTH 8
#include "format/NamePattern.h"

#include <pcre2.h>

using namespace tbq;

static constexpr size_t lengthLimit = 1000;
static constexpr uint32_t stepLimit = 10'000;
static constexpr uint32_t heapLimitKiB = 1024;

void NamePattern::Free::operator()(pcre2_real_code_8 *code) const {
  pcre2_code_free(code);
}

Result<std::shared_ptr<const NamePattern>>
NamePattern::compile(const std::string &pattern) {
  if (pattern.size() > lengthLimit)
    return makeError("", "",
                     "pattern of " + std::to_string(pattern.size()) +
                         " bytes, more than the limit of " +
                         std::to_string(lengthLimit));
  int failure = 0;
  size_t where = 0;
  auto result = std::make_shared<NamePattern>();
  result->code.reset(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
      PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C,
      &failure, &where, nullptr));
  if (!result->code) {
    PCRE2_UCHAR text[256] = {};
    pcre2_get_error_message(failure, text, sizeof(text));
    return makeError("", "",
                     "invalid pattern, at " + std::to_string(where) + ": " +
                         reinterpret_cast<const char *>(text));
  }
  return std::shared_ptr<const NamePattern>(std::move(result));
}

Result<bool> NamePattern::matches(const std::string &name) const {
  std::unique_ptr<pcre2_match_context, decltype(&pcre2_match_context_free)>
      context(pcre2_match_context_create(nullptr), &pcre2_match_context_free);
  std::unique_ptr<pcre2_match_data, decltype(&pcre2_match_data_free)> data(
      pcre2_match_data_create(1, nullptr), &pcre2_match_data_free);
  pcre2_set_match_limit(context.get(), stepLimit);
  pcre2_set_depth_limit(context.get(), stepLimit);
  pcre2_set_heap_limit(context.get(), heapLimitKiB);
  int found = pcre2_match(code.get(), reinterpret_cast<PCRE2_SPTR>(name.data()),
                          name.size(), 0, 0, data.get(), context.get());
  if (found == PCRE2_ERROR_NOMATCH)
    return false;
  if (found < 0)
    return makeError("", "", "pattern takes too long on '" + name + "'");
  return true;
}
