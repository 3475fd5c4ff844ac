// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The BPE model and the added tokens of a tokenizer.json.
// Input: the document's root. Output: tokens, merges and their ids.
// Invariant: every id is the one the tokenizers library would give; where the
// file says another one, that is an error.
#include "TokenizerSource.h"

#include <algorithm>
#include <unordered_set>

using namespace tbq;
using nlohmann::json;

/// Ids that may have no token: a file of a few bytes must not ask for a table
/// of millions.
static constexpr uint64_t mostGaps = 65536;

static Status readVocabulary(const JsonObject &model, TokenizerSource &source) {
  auto vocabulary = model.object("vocab");
  if (!vocabulary)
    return vocabulary.error();
  uint64_t bytes = 0;
  int64_t most = std::min<uint64_t>(vocabulary->raw().size() + mostGaps,
                                    tables::maxTokens);
  for (const auto &entry : vocabulary->raw().items()) {
    auto id = vocabulary->integer(entry.key(), 0, most - 1);
    if (!id)
      return id.error();
    auto index = static_cast<uint32_t>(*id);
    if (index >= source.tokens.size())
      source.tokens.resize(index + 1);
    auto &token = source.tokens[index];
    if (token.flags)
      return vocabulary->error(entry.key(), "id " + std::to_string(index) +
                                                " is also token " + token.text);
    token = {entry.key(), tables::present | tables::inModel};
    source.idOf.emplace(entry.key(), index);
    bytes += entry.key().size();
  }
  source.modelTokens = static_cast<uint32_t>(source.idOf.size());
  if (source.idOf.empty() || bytes > (uint64_t(1) << 30))
    return model.error("vocab", "must hold from 1 token to 1 GiB of them");
  return Status::ok();
}

/// One merge is a pair of texts or both in one, divided by a space.
static bool splitMerge(const json &entry, std::string &left,
                       std::string &right) {
  if (entry.is_array() && entry.size() == 2 && entry[0].is_string() &&
      entry[1].is_string()) {
    left = entry[0].get<std::string>();
    right = entry[1].get<std::string>();
    return true;
  }
  if (!entry.is_string())
    return false;
  const auto &text = entry.get_ref<const std::string &>();
  size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != text.npos)
    return false;
  left = text.substr(0, space);
  right = text.substr(space + 1);
  return true;
}

static Status readMerges(const JsonObject &model, TokenizerSource &source) {
  auto merges = model.array("merges");
  if (!merges)
    return merges.error();
  std::unordered_map<uint64_t, size_t> known; // a pair's place in the list
  uint32_t rank = 0;
  for (size_t i = 0; i < (*merges)->size(); ++i) {
    const json &entry = (**merges)[i];
    auto bad = [&](const std::string &detail) {
      return model.error("merges[" + std::to_string(i) + "]", detail);
    };
    // Comment lines of merges.txt count no rank.
    if (entry.is_string() &&
        entry.get_ref<const std::string &>().rfind("#version", 0) == 0)
      continue;
    std::string left, right;
    if (!splitMerge(entry, left, right))
      return bad("must be two tokens (got " + describeJson(entry) + ")");
    uint32_t ids[3];
    const std::string texts[3] = {left, right, left + right};
    for (int part = 0; part < 3; ++part) {
      auto found = source.idOf.find(texts[part]);
      if (found == source.idOf.end())
        return bad("no token " + texts[part] + " in the vocabulary");
      ids[part] = found->second;
    }
    // A pair given twice has its last rank.
    auto [place, isNew] =
        known.emplace(uint64_t(ids[0]) << 32 | ids[1], source.merges.size());
    if (isNew)
      source.merges.push_back({ids[0], ids[1], rank, ids[2]});
    else
      source.merges[place->second].rank = rank;
    ++rank;
  }
  return Status::ok();
}

static Status readModelFlags(const JsonObject &model, TokenizerSource &source) {
  for (auto [key, flag] : {std::pair{"fuse_unk", tables::fuseUnknown},
                           {"byte_fallback", tables::byteFallback},
                           {"ignore_merges", tables::ignoreMerges}}) {
    auto set = model.booleanOr(key, false);
    if (!set)
      return set.error();
    if (*set)
      source.modelFlags |= flag;
  }
  auto dropout = model.numberOr("dropout", 0, 0, 1);
  if (!dropout)
    return dropout.error();
  if (*dropout != 0)
    return model.unexpected("dropout", "null");
  for (const char *key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
    auto text = model.stringOr(key, "");
    if (!text)
      return text.error();
    if (!text->empty())
      return model.unexpected(key, "null");
  }
  if (!model.has("unk_token"))
    return Status::ok();
  auto unknown = model.string("unk_token");
  if (!unknown)
    return unknown.error();
  auto found = source.idOf.find(*unknown);
  if (found == source.idOf.end())
    return model.error("unk_token", "no token " + *unknown + " in vocab");
  source.unknown = found->second;
  return Status::ok();
}

Status tbq::readModel(const JsonObject &root, TokenizerSource &source) {
  auto model = root.object("model");
  if (!model)
    return model.error();
  auto type = componentType(*model);
  if (!type)
    return type.error();
  if (*type != "BPE")
    return refuseComponent(*model, "model", *type);
  for (auto read : {readVocabulary, readMerges, readModelFlags})
    if (auto status = read(*model, source); !status)
      return status;
  return Status::ok();
}

static Status readAddedToken(const JsonObject &token, uint32_t &nextId,
                             TokenizerSource &source) {
  auto content = token.string("content");
  if (!content)
    return content.error();
  auto listed = token.integer("id", 0, tables::maxTokens - 1);
  if (!listed)
    return listed.error();
  if (content->empty())
    return token.unexpected("content", "a text");
  auto [place, isNew] = source.idOf.emplace(*content, nextId);
  uint32_t id = place->second;
  nextId += isNew;
  if (id != *listed)
    return token.error("id", "the tokenizers library gives " + *content +
                                 " id " + std::to_string(id) + " (got " +
                                 std::to_string(*listed) + ")");
  if (id >= source.tokens.size())
    source.tokens.resize(id + 1);
  auto &entry = source.tokens[id];
  if (entry.flags & tables::added || (isNew && entry.flags))
    return token.error("id", std::to_string(id) + " is taken twice");
  entry.text = *content;
  entry.flags |= tables::present | tables::added;
  uint32_t flags = 0;
  for (auto [key, flag] : {std::pair{"lstrip", tables::leftStrip},
                           {"rstrip", tables::rightStrip},
                           {"single_word", tables::singleWord},
                           {"normalized", tables::normalized}}) {
    auto set = token.boolean(key);
    if (!set)
      return set.error();
    if (*set)
      flags |= flag;
  }
  auto special = token.boolean("special");
  if (!special)
    return special.error();
  if (*special)
    entry.flags |= tables::special;
  source.added.push_back({id, flags});
  return Status::ok();
}

Status tbq::readAddedTokens(const JsonObject &root, TokenizerSource &source) {
  if (!root.has("added_tokens"))
    return Status::ok();
  auto tokens = objectsIn(root, "added_tokens");
  if (!tokens)
    return tokens.error();
  uint32_t nextId = source.modelTokens;
  for (const JsonObject &token : *tokens)
    if (auto status = readAddedToken(token, nextId, source); !status)
      return status;
  return Status::ok();
}
