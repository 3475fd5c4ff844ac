// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The fields of one object of a manifest, for reading many of them in a row.
// Invariant: the first error of all is kept; after it, what is read is of the
// right type and means nothing.
#ifndef TBQ_FORMAT_MANIFESTFIELDS_H
#define TBQ_FORMAT_MANIFESTFIELDS_H

#include "format/Json.h"

#include <optional>
#include <string>
#include <vector>

namespace tbq {

/// Reads the fields of one object and keeps the first error of all of them, so
/// that the functions below are one line per field.
class Fields {
public:
  Fields(JsonObject object, std::optional<Error> &failure)
      : object(std::move(object)), failure(failure) {}

  int64_t integer(const char *key, int64_t minimum, int64_t maximum) {
    return take(object.integer(key, minimum, maximum));
  }
  double number(const char *key, double minimum, double maximum) {
    return take(object.number(key, minimum, maximum));
  }
  bool boolean(const char *key) { return take(object.boolean(key)); }
  std::string string(const char *key) { return take(object.string(key)); }
  std::vector<std::string> strings(const char *key) {
    return take(object.strings(key));
  }

  std::string oneOf(const char *key, const std::vector<std::string> &values) {
    std::string value = string(key), list;
    for (const std::string &allowed : values) {
      if (value == allowed)
        return value;
      list += (list.empty() ? "" : "|") + allowed;
    }
    refuse(key, "must be one of " + list + " (got \"" + value + "\")");
    return value;
  }

  template <class T>
  void maybeInteger(const char *key, std::optional<T> &out, int64_t minimum,
                    int64_t maximum) {
    if (object.has(key))
      out = static_cast<T>(integer(key, minimum, maximum));
  }
  void maybeNumber(const char *key, std::optional<double> &out, double minimum,
                   double maximum) {
    if (object.has(key))
      out = number(key, minimum, maximum);
  }

  const nlohmann::json *array(const char *key) {
    Result<const nlohmann::json *> result = object.array(key);
    if (result)
      return *result;
    fail(result.error());
    return nullptr;
  }

  /// Calls `read` with each object of an array, until the first error.
  template <class Read> void forEach(const char *key, Read read) {
    const nlohmann::json *items = array(key);
    for (size_t i = 0; items && good() && i < items->size(); ++i) {
      auto item = JsonObject::from((*items)[i], file(),
                                   object.place() + "." + key + "[" +
                                       std::to_string(i) + "]");
      if (item)
        read(Fields(std::move(*item), failure));
      else
        fail(item.error());
    }
  }

  /// The member object, or this one after an error, so that reading goes on.
  Fields inside(const char *key) {
    Result<JsonObject> result = object.object(key);
    if (result)
      return Fields(std::move(*result), failure);
    fail(result.error());
    return *this;
  }

  bool has(const char *key) const { return object.has(key); }
  const std::string &file() const { return object.file(); }
  void refuse(const char *key, const std::string &detail) {
    fail(object.error(key, detail));
  }
  void fail(const Error &error) {
    if (!failure)
      failure = error;
  }
  bool good() const { return !failure; }

private:
  template <class T> T take(Result<T> result) {
    if (result)
      return std::move(*result);
    fail(result.error());
    return T();
  }

  JsonObject object;
  std::optional<Error> &failure;
};

} // namespace tbq

#endif // TBQ_FORMAT_MANIFESTFIELDS_H
