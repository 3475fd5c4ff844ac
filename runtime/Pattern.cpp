// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The PCRE2 calls behind Pattern.
// Invariant: a JIT search that runs out of its stack is repeated by the
// interpreter, whose heap and number of steps are limited.
#include "runtime/Pattern.h"

#include "runtime/Unicode.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

using namespace tbq;

namespace {

struct FreeMatch {
  void operator()(pcre2_match_data *data) const { pcre2_match_data_free(data); }
};
struct FreeContext {
  void operator()(pcre2_match_context *context) const {
    pcre2_match_context_free(context);
  }
};

} // namespace

void Pattern::Free::operator()(pcre2_real_code_8 *code) const {
  pcre2_code_free(code);
}

static std::string describe(int error) {
  PCRE2_UCHAR text[160];
  if (pcre2_get_error_message(error, text, sizeof(text)) < 0)
    return "PCRE2 error " + std::to_string(error);
  return reinterpret_cast<const char *>(text);
}

Result<Pattern> Pattern::compile(std::string_view pattern,
                                 const std::string &name) {
  int error = 0;
  PCRE2_SIZE position = 0;
  Pattern result;
  result.name = name;
  result.code.reset(pcre2_compile(
      reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
      PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &position,
      nullptr));
  if (!result.code)
    return makeError(name, "split pattern",
                     describe(error) + " at byte " + std::to_string(position));
  // Without JIT (no memory may be both written and executed) the interpreter
  // runs; that is slower, not different.
  (void)pcre2_jit_compile(result.code.get(), PCRE2_JIT_COMPLETE);
  return result;
}

Status
Pattern::forEachMatch(std::string_view text,
                      const std::function<void(size_t, size_t)> &found) const {
  std::unique_ptr<pcre2_match_data, FreeMatch> data(
      pcre2_match_data_create(1, nullptr));
  std::unique_ptr<pcre2_match_context, FreeContext> limits(
      pcre2_match_context_create(nullptr));
  if (!data || !limits)
    return makeError(name, "split pattern", "out of memory");
  pcre2_set_match_limit(limits.get(), 100'000'000);
  pcre2_set_heap_limit(limits.get(), 512 * 1024); // KiB

  auto subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  size_t start = 0;
  size_t lastEnd = text.size() + 1; // of the match before; none yet
  while (start <= text.size()) {
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int count = pcre2_match(code.get(), subject, text.size(), start, options,
                            data.get(), limits.get());
    if (count == PCRE2_ERROR_JIT_STACKLIMIT)
      count = pcre2_match(code.get(), subject, text.size(), start,
                          options | PCRE2_NO_JIT, data.get(), limits.get());
    if (count == PCRE2_ERROR_NOMATCH)
      return Status::ok();
    if (count < 0)
      return makeError(name, "split pattern", describe(count));
    const PCRE2_SIZE *bounds = pcre2_get_ovector_pointer(data.get());
    if (bounds[0] == bounds[1] && bounds[1] == lastEnd) {
      if (start >= text.size())
        return Status::ok();
      start += unicode::decodeAt(text, start).bytes;
      continue;
    }
    found(bounds[0], bounds[1]);
    start = lastEnd = bounds[1];
  }
  return Status::ok();
}
