// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Divides tokens into steps: as many as a step takes at a time, through the
// decode entry where they fit it, else through prefill. A batch is one step, or
// one for each token where the model says that so few are faster so.
// Invariant: arguments are checked before the first step, so that a refused
// call changes nothing.
#include "runtime/Session.h"

#include "format/CheckedSize.h"

#include <algorithm>
#include <cstring>

using namespace tbq;

Outcome tbq::checkSequences(const Model &model, int64_t sequences) {
  const int64_t most = model.table().batch_tokens;
  if (sequences >= 1 && sequences <= most)
    return Outcome::ok();
  return Outcome::failure(TBQ_ERROR_ARGUMENT, "sequences",
                          "must be 1 to " + std::to_string(most) +
                              ", which the model was compiled for (got " +
                              std::to_string(sequences) + ")");
}

/// Whether the argument is a number below `bound`.
template <typename Name>
static Outcome checkBelow(int64_t bound, int64_t got, const Name &name) {
  if (got >= 0 && got < bound)
    return Outcome::ok();
  return Outcome::failure(TBQ_ERROR_ARGUMENT, name(),
                          "must be in [0, " + std::to_string(bound) +
                              ") (got " + std::to_string(got) + ")");
}

Outcome Session::create(std::shared_ptr<const Model> model,
                        std::unique_ptr<Workers> workers, int64_t context,
                        std::unique_ptr<Session> &session, int64_t sequences) {
  if (context < 0 || context > model->context())
    return Outcome::failure(TBQ_ERROR_ARGUMENT, "context",
                            "must be at most the model's " +
                                std::to_string(model->context()) + " (got " +
                                std::to_string(context) + ")");
  if (Outcome checked = checkSequences(*model, sequences); !checked)
    return checked;
  const tbq_model_table &table = model->table();
  std::unique_ptr<Session> fresh(new Session);
  fresh->capacity = context ? context : model->context();
  fresh->sequences.resize(size_t(sequences));
  fresh->places.resize(size_t(sequences));
  auto rows = static_cast<uint64_t>(countLogitsRows(table));
  CheckedSize logitsBytes = checkedMul(
      checkedMul(rows, uint64_t(table.logits_stride)), sizeof(float));
  CheckedSize cacheBytes = checkedMul(uint64_t(sequences), cacheStride(table));
  const struct {
    const char *what;
    uint64_t bytes;
    ZeroPages &pages;
  } memories[] = {
      {"arena", table.arena_bytes, fresh->arena},
      {"KV cache", cacheBytes.value_or(UINT64_MAX), fresh->caches},
      {"logits", workers->logitsMemory() ? 0 : logitsBytes.value_or(UINT64_MAX),
       fresh->logitsMemory}};
  for (const auto &memory : memories)
    if (Outcome made =
            ZeroPages::create(memory.bytes, memory.what, memory.pages);
        !made)
      return made;
  fresh->loaded = std::move(model);
  fresh->team = std::move(workers);
  session = std::move(fresh);
  return Outcome::ok();
}

Outcome Session::checkRoom(const Sequence &sequence, int64_t count,
                           const std::string &name) const {
  if (count <= capacity - sequence.held)
    return Outcome::ok();
  return Outcome::failure(TBQ_ERROR_CONTEXT_FULL, name,
                          std::to_string(count) +
                              (count == 1 ? " token does" : " tokens do") +
                              " not fit: " + std::to_string(sequence.held) +
                              " of " + std::to_string(capacity) + " are taken");
}

Outcome Session::check(const int32_t *tokens, int64_t count) const {
  for (int64_t i = 0; i < count; ++i)
    if (Outcome checked =
            checkBelow(loaded->vocab(), tokens[i],
                       [&] { return "tokens[" + std::to_string(i) + "]"; });
        !checked)
      return checked;
  return Outcome::ok();
}

Outcome Session::checkBatch(const int32_t *numbers, const int32_t *tokens,
                            int64_t count) {
  if (count < 1 || count > sequenceCount())
    return Outcome::failure(
        TBQ_ERROR_ARGUMENT, "count",
        "must be 1 to the session's " + std::to_string(sequenceCount()) +
            " sequences (got " + std::to_string(count) + ")");
  for (Sequence &sequence : sequences)
    sequence.isOfBatch = false;
  for (int64_t i = 0; i < count; ++i) {
    auto name = [&] { return "sequences[" + std::to_string(i) + "]"; };
    if (Outcome checked = checkBelow(sequenceCount(), numbers[i], name);
        !checked)
      return checked;
    Sequence &sequence = sequences[size_t(numbers[i])];
    if (sequence.isOfBatch)
      return Outcome::failure(TBQ_ERROR_ARGUMENT, name(),
                              "is " + std::to_string(numbers[i]) +
                                  " again: a step appends one token to each");
    sequence.isOfBatch = true;
    if (Outcome fits = checkRoom(sequence, 1, name()); !fits)
      return fits;
  }
  return check(tokens, count);
}

Outcome Session::select(int64_t sequence) {
  if (Outcome checked = checkBelow(sequenceCount(), sequence,
                                   [] { return std::string("sequence"); });
      !checked)
    return checked;
  selected = size_t(sequence);
  return Outcome::ok();
}

/// Before a step that fills a cache to `positions`. Attention reads all that is
/// held for every token: from huge pages, once there is much of it. All of the
/// cache becomes resident then, so a short sequence goes without; so does a
/// GPU, whose caches are its own.
void Session::fitCache(int64_t number, int64_t positions) {
  constexpr int64_t most = 8; // times the memory held
  Sequence &sequence = sequences[size_t(number)];
  if (loaded->onDevice() || sequence.hasHugePages ||
      positions < loaded->context() / most)
    return;
  const tbq_model_table &table = loaded->table();
  caches.useHugePages(uint64_t(number) * cacheStride(table), table.cache_bytes);
  sequence.hasHugePages = true;
}

float *Session::getLogits() const {
  float *logits = team->logitsMemory();
  return logits ? logits : reinterpret_cast<float *>(logitsMemory.data());
}

void Session::forgetLogits() {
  for (Sequence &sequence : sequences)
    sequence.logits = nullptr;
}

Outcome Session::eval(const int32_t *tokens, int64_t count, float *rows) {
  Sequence &sequence = sequences[selected];
  if (count < 1)
    return Outcome::failure(TBQ_ERROR_ARGUMENT, "count",
                            "must be at least 1 (got " + std::to_string(count) +
                                ")");
  if (Outcome fits = checkRoom(sequence, count, "context"); !fits)
    return fits;
  if (Outcome checked = check(tokens, count); !checked)
    return checked;
  const tbq_model_table &table = loaded->table();
  const int64_t vocab = loaded->vocab();
  int64_t most = std::max(table.decode_tokens, table.prefill_tokens);
  if (rows)
    most = std::min(most, mostLogitsRows);
  float *logits = getLogits();
  forgetLogits();
  for (int64_t done = 0; done < count;) {
    int64_t left = count - done;
    bool decode = left <= table.decode_tokens;
    int64_t chunk = std::min(left, most);
    // Rows nobody asked for cost the largest matrix of the model: skip them.
    int64_t firstRow = rows ? 0 : chunk == left ? chunk - 1 : chunk;
    StepCall call = {decode ? table.decode : table.prefill,
                     arena.data(),
                     loaded->weights(),
                     caches.data(),
                     tokens + done,
                     logits,
                     getPlace(int64_t(selected)),
                     chunk,
                     firstRow,
                     observeFunction,
                     observeContext};
    fitCache(int64_t(selected), sequence.held + chunk);
    if (Outcome ran = team->run(call); !ran)
      return ran;
    for (int64_t row = 0; rows && row < chunk; ++row)
      std::memcpy(rows + (done + row) * vocab,
                  logits + row * table.logits_stride,
                  static_cast<size_t>(vocab) * sizeof(float));
    sequence.held += chunk;
    done += chunk;
    if (done == count) {
      sequence.logits = logits + (chunk - 1 - firstRow) * table.logits_stride;
      sequence.hasSummary = decode;
    }
  }
  return Outcome::ok();
}

const float *Session::largestLogits() const {
  const Sequence &sequence = sequences[selected];
  if (!sequence.logits || !sequence.hasSummary ||
      !loaded->manifest().steps.summarizesLogits)
    return nullptr;
  const int64_t groups =
      (loaded->vocab() + TBQ_LOGITS_GROUP - 1) / TBQ_LOGITS_GROUP;
  return sequence.logits + groups * TBQ_LOGITS_GROUP;
}

Outcome Session::evalBatch(const int32_t *numbers, const int32_t *tokens,
                           int64_t count, float *rows) {
  if (Outcome checked = checkBatch(numbers, tokens, count); !checked)
    return checked;
  const tbq_model_table &table = loaded->table();
  float *logits = getLogits();
  forgetLogits();
  for (int64_t i = 0; i < count; ++i) {
    places[size_t(i)] = getPlace(numbers[i]);
    fitCache(numbers[i], places[size_t(i)].position + 1);
  }
  const bool together = count >= loaded->manifest().steps.batchFrom;
  for (int64_t i = 0; i < count; i += together ? count : 1) {
    StepCall call = {table.decode,         arena.data(),
                     loaded->weights(),    caches.data(),
                     tokens + i,           logits + i * table.logits_stride,
                     places[size_t(i)],    together ? count : 1,
                     /*firstLogitsRow=*/0, observeFunction,
                     observeContext};
    if (together) {
      call.batch = table.batch;
      call.places = places.data();
    }
    if (Outcome ran = team->run(call); !ran)
      return ran;
  }
  const auto rowBytes = size_t(loaded->vocab()) * sizeof(float);
  for (int64_t i = 0; i < count; ++i) {
    Sequence &sequence = sequences[size_t(numbers[i])];
    ++sequence.held;
    sequence.logits = logits + i * table.logits_stride;
    sequence.hasSummary = true;
    if (rows)
      std::memcpy(rows + i * loaded->vocab(), sequence.logits, rowBytes);
  }
  return Outcome::ok();
}

Outcome Session::rollback(int64_t position) {
  Sequence &sequence = sequences[selected];
  if (position < 0 || position > sequence.held)
    return Outcome::failure(TBQ_ERROR_ARGUMENT, "position",
                            "must be in [0, " + std::to_string(sequence.held) +
                                "] (got " + std::to_string(position) + ")");
  sequence.held = position;
  sequence.logits = nullptr;
  return Outcome::ok();
}
