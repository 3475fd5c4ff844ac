// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// ChatFormat to and from the manifest's JSON.
// Invariant: fromJson(toJson(x)) equals x; an unknown value of an enumeration
// is an error that names the field.
#include "format/ChatFormat.h"

using namespace tbq;
using nlohmann::json;

static json turnToJson(const ChatTurn &turn) {
  return {{"prefix", turn.prefix}, {"suffix", turn.suffix}};
}

json tbq::chatFormatToJson(const ChatFormat &format) {
  bool inFirstUser = format.systemPlace == ChatFormat::SystemPlace::firstUser;
  json result = {
      {"format", format.name},
      {"first_token", format.firstToken},
      {"system", turnToJson(format.system)},
      {"user", turnToJson(format.user)},
      {"assistant", turnToJson(format.assistant)},
      {"generation_prefix", format.generationPrefix},
      {"system_place", inFirstUser ? "first_user" : "own_turn"},
      {"trim_content", format.trimContent},
      {"alternate_roles", format.alternateRoles},
  };
  if (format.defaultSystem)
    result["default_system"] = *format.defaultSystem;
  return result;
}

static Status readString(const JsonObject &object, const char *key,
                         std::string &out) {
  auto text = object.string(key);
  if (!text)
    return text.error();
  out = std::move(*text);
  return Status::ok();
}

static Status readBoolean(const JsonObject &object, const char *key,
                          bool &out) {
  auto value = object.boolean(key);
  if (!value)
    return value.error();
  out = *value;
  return Status::ok();
}

static Status readTurn(const JsonObject &object, const char *key,
                       ChatTurn &out) {
  auto turn = object.object(key);
  if (!turn)
    return turn.error();
  if (auto status = readString(*turn, "prefix", out.prefix); !status)
    return status;
  return readString(*turn, "suffix", out.suffix);
}

static Status readFields(const JsonObject &object, ChatFormat &format) {
  std::string place;
  for (auto [key, out] : {std::pair{"format", &format.name},
                          {"first_token", &format.firstToken},
                          {"generation_prefix", &format.generationPrefix},
                          {"system_place", &place}})
    if (auto status = readString(object, key, *out); !status)
      return status;
  for (auto [key, out] : {std::pair{"system", &format.system},
                          {"user", &format.user},
                          {"assistant", &format.assistant}})
    if (auto status = readTurn(object, key, *out); !status)
      return status;
  for (auto [key, out] : {std::pair{"trim_content", &format.trimContent},
                          {"alternate_roles", &format.alternateRoles}})
    if (auto status = readBoolean(object, key, *out); !status)
      return status;
  if (object.has("default_system"))
    if (auto status = readString(object, "default_system",
                                 format.defaultSystem.emplace());
        !status)
      return status;
  if (place != "own_turn" && place != "first_user")
    return object.unexpected("system_place", "own_turn or first_user");
  if (place == "first_user")
    format.systemPlace = ChatFormat::SystemPlace::firstUser;
  return Status::ok();
}

Result<ChatFormat> tbq::chatFormatFromJson(const JsonObject &object) {
  ChatFormat format;
  if (auto status = readFields(object, format); !status)
    return status.error();
  return format;
}
