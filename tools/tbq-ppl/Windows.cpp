// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The method of llama.cpp's perplexity, step by step; tbq-ppl --help says it in
// words.
#include "Windows.h"

#include "CommandLine.h"

#include <algorithm>

using namespace tbq;

/// Rows of logits held at a time.
static constexpr size_t rowsAtATime = 64;

std::vector<int32_t> tbq::tokenizeText(const tbq_model *model,
                                       std::string_view text) {
  // One token a byte and a few around it is the most there can be.
  std::vector<int32_t> tokens(text.size() + 16);
  size_t count = 0;
  require(tbq_tokenize(model, text.data(), text.size(), TBQ_ADD_SPECIAL,
                       tokens.data(), tokens.size(), &count));
  tokens.resize(count);
  return tokens;
}

int32_t tbq::addedFirstToken(const tbq_model *model) {
  std::vector<int32_t> around = tokenizeText(model, "");
  int32_t first = tbq_model_first_token(model);
  return !around.empty() && around.front() == first ? first : -1;
}

Reader::Reader(std::string path, int32_t window, int32_t threads)
    : file(std::move(path)) {
  tbq_model *loaded = nullptr;
  require(tbq_model_load(file.c_str(), nullptr, &loaded));
  model.reset(loaded);
  int32_t context = tbq_model_context(loaded);
  if (window > context)
    failUser(makeError(file, "",
                       "has a context of " + std::to_string(context) +
                           " tokens, fewer than the window's " +
                           std::to_string(window) + " (-c)"));
  tbq_session_options options = tbq_session_defaults();
  options.threads = threads;
  options.context = window;
  tbq_session *created = nullptr;
  require(tbq_session_create(loaded, &options, &created));
  session.reset(created);
}

void Reader::begin(const int32_t *tokens, size_t count) {
  require(tbq_session_rollback(session.get(), 0));
  require(tbq_session_eval(session.get(), tokens, count, nullptr));
}

void Reader::append(const int32_t *tokens, size_t count) {
  rows.resize(count * static_cast<size_t>(tbq_model_vocab(get())));
  require(tbq_session_eval(session.get(), tokens, count, rows.data()));
}

LogProbabilities Reader::row(size_t row) const {
  auto vocab = static_cast<size_t>(tbq_model_vocab(get()));
  LogProbabilities result(rows.data() + row * vocab, vocab);
  if (!result.isFinite())
    failUser(makeError(file, "", "gives logits that are not numbers"));
  return result;
}

void tbq::scoreWindow(std::vector<int32_t> tokens, Reader &model, Reader *other,
                      Scores &scores) {
  // The model expects a text to begin so, and a window is a text to it.
  int32_t first = addedFirstToken(model.get());
  if (first >= 0)
    tokens.front() = first;
  size_t middle = tokens.size() / 2;
  model.begin(tokens.data(), middle);
  if (other)
    other->begin(tokens.data(), middle);
  // Nothing is asked of the last token: it has no next one.
  for (size_t at = middle; at + 1 < tokens.size();) {
    size_t count = std::min(rowsAtATime, tokens.size() - 1 - at);
    model.append(tokens.data() + at, count);
    if (other)
      other->append(tokens.data() + at, count);
    for (size_t i = 0; i < count; ++i) {
      auto next = static_cast<size_t>(tokens[at + i + 1]);
      LogProbabilities own = model.row(i);
      scores.surprise.add(-own[next]);
      if (!other)
        continue;
      LogProbabilities theirs = other->row(i);
      scores.otherSurprise.add(-theirs[next]);
      scores.divergence.add(theirs.divergenceFrom(own));
      scores.agreement.add(theirs.best() == own.best());
    }
    at += count;
  }
}
