// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// How code without LLVM and without exceptions reports failure: a value, or an
// Error whose message is one printable line "FILE: FIELD: detail".
// Invariant: a Result holds exactly one of the two; reading the value of a
// failed Result is a programming error and asserts.
#ifndef TBQ_FORMAT_RESULT_H
#define TBQ_FORMAT_RESULT_H

#include <cassert>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace tbq {

struct [[nodiscard]] Error {
  std::string message;
};

/// Appends at most `limit` bytes of `text`, control characters as \xNN, so that
/// names and values out of a hostile file stay on one line of a terminal.
inline void appendPrintable(std::string &out, std::string_view text,
                            size_t limit) {
  const char *digits = "0123456789abcdef";
  for (char character : text.substr(0, limit)) {
    auto byte = static_cast<unsigned char>(character);
    if (byte >= 0x20 && byte != 0x7f) {
      out += character;
      continue;
    }
    out += "\\x";
    out += digits[byte >> 4];
    out += digits[byte & 15];
  }
  if (text.size() > limit)
    out += "...";
}

/// "FILE: FIELD: detail"; an empty file or field is left out.
inline Error makeError(std::string_view file, std::string_view field,
                       std::string_view detail) {
  // Paths may be as long as the system allows; names from a file are cut.
  std::string message;
  auto addPart = [&](std::string_view part, size_t limit) {
    if (part.empty())
      return;
    appendPrintable(message, part, limit);
    message += ": ";
  };
  addPart(file, 4096);
  addPart(field, 200);
  appendPrintable(message, detail, 1024);
  return Error{std::move(message)};
}

template <class T> class [[nodiscard]] Result {
public:
  Result(T value) : state(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state(std::in_place_index<1>, std::move(error)) {}

  explicit operator bool() const { return state.index() == 0; }

  T &operator*() & { return get(); }
  const T &operator*() const & { return get(); }
  T &&operator*() && { return std::move(get()); }
  T *operator->() { return &get(); }
  const T *operator->() const { return &get(); }

  const Error &error() const {
    assert(!*this && "a successful Result has no error");
    return *std::get_if<1>(&state);
  }

private:
  T &get() {
    assert(*this && "value of a failed Result");
    return *std::get_if<0>(&state);
  }
  const T &get() const { return const_cast<Result *>(this)->get(); }

  std::variant<T, Error> state;
};

/// A Result that carries no value.
class [[nodiscard]] Status {
public:
  static Status ok() { return Status(); }
  Status(Error error) : failure(std::move(error)) {}

  explicit operator bool() const { return !failure; }
  const Error &error() const {
    assert(failure && "a successful Status has no error");
    return *failure;
  }

private:
  Status() = default;
  std::optional<Error> failure;
};

} // namespace tbq

#endif // TBQ_FORMAT_RESULT_H
