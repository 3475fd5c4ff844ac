// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Reading untrusted JSON. Input: text and the name of its file; output: a
// nlohmann::json value, then its fields by type and range.
// Invariant: nesting is at most 64 deep, no object has a key twice, nothing
// throws, and every error names the file and the field's path.
#ifndef TBQ_FORMAT_JSON_H
#define TBQ_FORMAT_JSON_H

#include "format/Result.h"

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace tbq {

constexpr unsigned jsonDepthLimit = 64;
constexpr uint64_t jsonSizeLimit = uint64_t(256) << 20;

Result<nlohmann::json> parseJson(std::string_view text, const std::string &file,
                                 uint64_t sizeLimit = jsonSizeLimit);

/// A short rendering of a value for an error message.
std::string describeJson(const nlohmann::json &value);

/// The fields of one JSON object. Borrows the value. In getters with a
/// fallback an absent field and an explicit null mean the same.
class JsonObject {
public:
  /// `path` is the object's own place in the file, "" for the root.
  static Result<JsonObject> from(const nlohmann::json &value, std::string file,
                                 std::string path = "");

  const nlohmann::json &raw() const { return *value; }
  const std::string &file() const { return fileName; }
  /// The object's own place in the file.
  const std::string &place() const { return path; }

  /// Null if the field is absent or null.
  const nlohmann::json *find(const std::string &key) const;
  bool has(const std::string &key) const { return find(key) != nullptr; }

  Result<int64_t> integer(const std::string &key, int64_t minimum,
                          int64_t maximum) const;
  Result<int64_t> integerOr(const std::string &key, int64_t fallback,
                            int64_t minimum, int64_t maximum) const;
  /// Finite, minimum <= value <= maximum.
  Result<double> number(const std::string &key, double minimum,
                        double maximum) const;
  Result<double> numberOr(const std::string &key, double fallback,
                          double minimum, double maximum) const;
  Result<bool> boolean(const std::string &key) const;
  Result<bool> booleanOr(const std::string &key, bool fallback) const;
  Result<std::string> string(const std::string &key) const;
  Result<std::string> stringOr(const std::string &key,
                               std::string fallback) const;
  Result<std::vector<std::string>> strings(const std::string &key) const;
  Result<JsonObject> object(const std::string &key) const;
  /// The array itself; its elements are the caller's to check.
  Result<const nlohmann::json *> array(const std::string &key) const;

  /// "FILE: PATH.key: detail"
  Error error(const std::string &key, std::string_view detail) const;
  /// "FILE: PATH.key: must be WANTED (got VALUE)"
  Error unexpected(const std::string &key, std::string_view wanted) const;

private:
  JsonObject(const nlohmann::json *value, std::string file, std::string path)
      : value(value), fileName(std::move(file)), path(std::move(path)) {}

  const nlohmann::json *value;
  std::string fileName;
  std::string path;
};

/// Takes many fields in a row and remembers the first that failed.
class FieldReader {
public:
  template <class Target, class Value>
  void set(Target &target, Result<Value> value) {
    if (failure)
      return;
    if (value)
      target = *std::move(value);
    else
      failure = value.error();
  }

  Status status() const { return failure ? Status(*failure) : Status::ok(); }

private:
  std::optional<Error> failure;
};

} // namespace tbq

#endif // TBQ_FORMAT_JSON_H
