// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the fuzz targets share: one input cut into the files a reader takes, and
// the rule that every refusal is a typed error.
// Invariant: a broken rule aborts, which libFuzzer reports with its input.
#ifndef TBQ_TEST_FUZZ_FUZZINPUT_H
#define TBQ_TEST_FUZZ_FUZZINPUT_H

#include "format/Result.h"

#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace tbq::fuzz {

/// Parts apart by a line "%%", so that mutations keep to one of them.
class FuzzInput {
public:
  FuzzInput(const uint8_t *data, size_t size)
      : left(reinterpret_cast<const char *>(data), size) {}

  /// The text before the next line "%%", or all that is left.
  std::string_view next() {
    const std::string_view separator = "\n%%\n";
    size_t end = left.find(separator);
    std::string_view part = left.substr(0, end);
    left = end == left.npos ? std::string_view()
                            : left.substr(end + separator.size());
    return part;
  }
  std::string_view rest() const { return left; }

private:
  std::string_view left;
};

inline void require(bool holds) {
  if (!holds)
    std::abort();
}

/// An error is one line without control characters, and not endless.
inline void requireTyped(const Error &error) {
  require(!error.message.empty() && error.message.size() < 16384);
  for (char character : error.message)
    require(static_cast<unsigned char>(character) >= 0x20 && character != 0x7f);
}

template <class Checked> bool isGood(const Checked &checked) {
  if (!checked)
    requireTyped(checked.error());
  return bool(checked);
}

} // namespace tbq::fuzz

#endif // TBQ_TEST_FUZZ_FUZZINPUT_H
