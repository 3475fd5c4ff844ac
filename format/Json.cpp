// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A SAX consumer that builds the document under the depth and duplicate-key
// rules, and the typed getters over it.
// Input: untrusted text; output: values or one-line errors.
// Invariant: the parser never recurses; memory is linear in the text.
#include "format/Json.h"

#include <cmath>

using namespace tbq;
using nlohmann::json;

namespace {

class DocumentBuilder final : public nlohmann::json_sax<json> {
public:
  json document;
  std::string failure; // what went wrong, when a callback returned false

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t &) override {
    return add(value);
  }
  bool string(string_t &value) override { return add(std::move(value)); }
  bool binary(binary_t &) override { return false; }

  bool start_object(std::size_t) override { return open(json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(json::array()); }
  bool end_array() override { return close(); }

  bool key(string_t &name) override {
    auto [place, inserted] = stack.back()->emplace(name, nullptr);
    if (!inserted) {
      failure = "duplicate key \"" + name + "\"";
      return false;
    }
    member = &*place;
    return true;
  }

  bool parse_error(std::size_t position, const std::string &,
                   const nlohmann::detail::exception &) override {
    failure = "invalid JSON at byte " + std::to_string(position);
    return false;
  }

private:
  json *place(json &&value) {
    if (stack.empty()) {
      document = std::move(value);
      return &document;
    }
    if (stack.back()->is_object()) {
      *member = std::move(value);
      return member;
    }
    stack.back()->push_back(std::move(value));
    return &stack.back()->back();
  }

  bool add(json &&value) {
    place(std::move(value));
    return true;
  }

  bool open(json &&container) {
    if (stack.size() == jsonDepthLimit) {
      failure = "JSON nested deeper than " + std::to_string(jsonDepthLimit);
      return false;
    }
    stack.push_back(place(std::move(container)));
    return true;
  }

  bool close() {
    stack.pop_back();
    return true;
  }

  // Pointers stay good: only the innermost container grows.
  std::vector<json *> stack;
  json *member = nullptr;
};

} // namespace

Result<json> tbq::parseJson(std::string_view text, const std::string &file,
                            uint64_t sizeLimit) {
  if (text.size() > sizeLimit)
    return makeError(file, "",
                     "JSON of " + std::to_string(text.size()) +
                         " bytes, more than the limit of " +
                         std::to_string(sizeLimit));
  // nlohmann's lexer takes a NUL byte for the end and would ignore the rest.
  if (size_t nul = text.find('\0'); nul != std::string_view::npos)
    return makeError(file, "", "invalid JSON at byte " + std::to_string(nul));
  DocumentBuilder builder;
  if (!json::sax_parse(text.begin(), text.end(), &builder))
    return makeError(file, "", builder.failure);
  return std::move(builder.document);
}

std::string tbq::describeJson(const json &value) {
  if (value.is_array())
    return "an array of " + std::to_string(value.size());
  if (value.is_object())
    return "an object";
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  return text.size() > 80 ? text.substr(0, 80) + "..." : text;
}

Result<JsonObject> JsonObject::from(const json &value, std::string file,
                                    std::string path) {
  if (!value.is_object())
    return makeError(file, path,
                     "must be an object (got " + describeJson(value) + ")");
  return JsonObject(&value, std::move(file), std::move(path));
}

const json *JsonObject::find(const std::string &key) const {
  auto found = value->find(key);
  return found == value->end() || found->is_null() ? nullptr : &*found;
}

Error JsonObject::error(const std::string &key, std::string_view detail) const {
  return makeError(fileName, path.empty() ? key : path + "." + key, detail);
}

Error JsonObject::unexpected(const std::string &key,
                             std::string_view wanted) const {
  auto found = value->find(key);
  std::string got = found == value->end() ? "nothing" : describeJson(*found);
  return error(key, "must be " + std::string(wanted) + " (got " + got + ")");
}

Result<int64_t> JsonObject::integer(const std::string &key, int64_t minimum,
                                    int64_t maximum) const {
  const json *field = find(key);
  bool fits =
      field && field->is_number_integer() &&
      (!field->is_number_unsigned() ||
       field->get<uint64_t>() <= uint64_t(std::numeric_limits<int64_t>::max()));
  if (fits) {
    auto number = field->get<int64_t>();
    if (number >= minimum && number <= maximum)
      return number;
  }
  return unexpected(key, "an integer in [" + std::to_string(minimum) + ", " +
                             std::to_string(maximum) + "]");
}

Result<int64_t> JsonObject::integerOr(const std::string &key, int64_t fallback,
                                      int64_t minimum, int64_t maximum) const {
  if (!has(key))
    return fallback;
  return integer(key, minimum, maximum);
}

Result<double> JsonObject::number(const std::string &key, double minimum,
                                  double maximum) const {
  const json *field = find(key);
  if (field && field->is_number()) {
    auto number = field->get<double>();
    if (std::isfinite(number) && number >= minimum && number <= maximum)
      return number;
  }
  return unexpected(key, "a number in [" + describeJson(minimum) + ", " +
                             describeJson(maximum) + "]");
}

Result<double> JsonObject::numberOr(const std::string &key, double fallback,
                                    double minimum, double maximum) const {
  if (!has(key))
    return fallback;
  return number(key, minimum, maximum);
}

Result<bool> JsonObject::boolean(const std::string &key) const {
  const json *field = find(key);
  if (!field || !field->is_boolean())
    return unexpected(key, "true or false");
  return field->get<bool>();
}

Result<bool> JsonObject::booleanOr(const std::string &key,
                                   bool fallback) const {
  if (!has(key))
    return fallback;
  return boolean(key);
}

Result<std::string> JsonObject::string(const std::string &key) const {
  const json *field = find(key);
  if (!field || !field->is_string())
    return unexpected(key, "a string");
  return field->get<std::string>();
}

Result<std::string> JsonObject::stringOr(const std::string &key,
                                         std::string fallback) const {
  if (!has(key))
    return fallback;
  return string(key);
}

Result<std::vector<std::string>>
JsonObject::strings(const std::string &key) const {
  const json *field = find(key);
  if (!field || !field->is_array())
    return unexpected(key, "an array of strings");
  std::vector<std::string> result;
  for (const json &element : *field) {
    if (!element.is_string())
      return error(key, "must hold only strings (got " + describeJson(element) +
                            ")");
    result.push_back(element.get<std::string>());
  }
  return result;
}

Result<JsonObject> JsonObject::object(const std::string &key) const {
  const json *field = find(key);
  if (!field || !field->is_object())
    return unexpected(key, "an object");
  return JsonObject(field, fileName, path.empty() ? key : path + "." + key);
}

Result<const json *> JsonObject::array(const std::string &key) const {
  const json *field = find(key);
  if (!field || !field->is_array())
    return unexpected(key, "an array");
  return field;
}
