// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Divides tokens into steps: as many as a step takes at a time, through the
// decode entry where they fit it, else through prefill.
// Invariant: arguments are checked before the first step, so that a refused
// call changes nothing.
#include "runtime/Session.h"

#include "format/CheckedSize.h"

#include <algorithm>
#include <cstring>

using namespace tbq;

Outcome Session::create(std::shared_ptr<const Model> model,
                        std::unique_ptr<Workers> workers, int64_t context,
                        std::unique_ptr<Session> &session) {
  if (context < 0 || context > model->context())
    return Outcome::failure(TBQ_ERROR_ARGUMENT, "context",
                            "must be at most the model's " +
                                std::to_string(model->context()) + " (got " +
                                std::to_string(context) + ")");
  const tbq_model_table &table = model->table();
  std::unique_ptr<Session> fresh(new Session);
  fresh->capacity = context ? context : model->context();
  auto rows = static_cast<uint64_t>(countLogitsRows(table));
  CheckedSize logitsBytes = checkedMul(
      checkedMul(rows, uint64_t(table.logits_stride)), sizeof(float));
  const struct {
    const char *what;
    uint64_t bytes;
    ZeroPages &pages;
  } memories[] = {
      {"arena", table.arena_bytes, fresh->arena},
      {"KV cache", table.cache_bytes, fresh->cache},
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

Outcome Session::check(const int32_t *tokens, int64_t count) const {
  if (count < 1)
    return Outcome::failure(TBQ_ERROR_ARGUMENT, "count",
                            "must be at least 1 (got " + std::to_string(count) +
                                ")");
  if (count > capacity - held)
    return Outcome::failure(
        TBQ_ERROR_CONTEXT_FULL, "context",
        std::to_string(count) + " tokens do not fit: " + std::to_string(held) +
            " of " + std::to_string(capacity) + " are taken");
  for (int64_t i = 0; i < count; ++i)
    if (tokens[i] < 0 || tokens[i] >= loaded->vocab())
      return Outcome::failure(
          TBQ_ERROR_ARGUMENT, "tokens[" + std::to_string(i) + "]",
          "must be in [0, " + std::to_string(loaded->vocab()) + ") (got " +
              std::to_string(tokens[i]) + ")");
  return Outcome::ok();
}

/// Before a step that fills the cache to `positions`. Attention reads all that
/// is held for every token: from huge pages, once there is much of it. All of
/// the cache becomes resident then, so a short sequence goes without.
void Session::fitCache(int64_t positions) {
  constexpr int64_t most = 8; // times the memory held
  if (hasHugePages || positions < loaded->context() / most)
    return;
  cache.useHugePages();
  hasHugePages = true;
}

Outcome Session::eval(const int32_t *tokens, int64_t count, float *rows) {
  if (Outcome checked = check(tokens, count); !checked)
    return checked;
  const tbq_model_table &table = loaded->table();
  const int64_t vocab = loaded->vocab();
  const int64_t most =
      rows ? countLogitsRows(table)
           : std::max(table.decode_tokens, table.prefill_tokens);
  float *logits = team->logitsMemory();
  if (!logits)
    logits = reinterpret_cast<float *>(logitsMemory.data());
  lastLogits = nullptr;
  for (int64_t done = 0; done < count;) {
    int64_t left = count - done;
    bool decode = left <= table.decode_tokens;
    int64_t chunk = std::min(left, most);
    // Rows nobody asked for cost the largest matrix of the model: skip them.
    int64_t firstRow = rows ? 0 : chunk == left ? chunk - 1 : chunk;
    StepCall call = {decode ? table.decode : table.prefill,
                     arena.data(),
                     loaded->weights(),
                     cache.data(),
                     tokens + done,
                     logits,
                     held,
                     chunk,
                     firstRow,
                     observeFunction,
                     observeContext};
    fitCache(held + chunk);
    if (Outcome ran = team->run(call); !ran)
      return ran;
    for (int64_t row = 0; rows && row < chunk; ++row)
      std::memcpy(rows + (done + row) * vocab,
                  logits + row * table.logits_stride,
                  static_cast<size_t>(vocab) * sizeof(float));
    held += chunk;
    done += chunk;
    if (done == count)
      lastLogits = logits + (chunk - 1 - firstRow) * table.logits_stride;
  }
  return Outcome::ok();
}

Outcome Session::rollback(int64_t position) {
  if (position < 0 || position > held)
    return Outcome::failure(TBQ_ERROR_ARGUMENT, "position",
                            "must be in [0, " + std::to_string(held) +
                                "] (got " + std::to_string(position) + ")");
  held = position;
  lastLogits = nullptr;
  return Outcome::ok();
}
