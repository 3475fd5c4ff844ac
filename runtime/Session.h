// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// One sequence of tokens on a model: its cache, scratch memory, workers and
// position. Input: tokens; output: logits.
// Invariant: 0 <= position <= context <= the model's; the cache holds the keys
// and values of exactly the tokens before position; eval allocates nothing.
#ifndef TBQ_RUNTIME_SESSION_H
#define TBQ_RUNTIME_SESSION_H

#include "runtime/Model.h"
#include "runtime/Workers.h"
#include "runtime/ZeroPages.h"

#include <memory>

namespace tbq {

class Session {
public:
  /// context 0: the model's.
  static Outcome create(std::shared_ptr<const Model> model,
                        std::unique_ptr<Workers> workers, int64_t context,
                        std::unique_ptr<Session> &session);

  /// Appends `count` >= 1 tokens. `rows`, if not null, receives count rows of
  /// vocab floats; else only the last token's logits are computed.
  Outcome eval(const int32_t *tokens, int64_t count, float *rows = nullptr);

  /// Shows `observer` the values of each operation of the steps to come, if the
  /// artifact was compiled to do so.
  void observe(tbq_observe_fn observer, void *context) {
    observeFunction = observer;
    observeContext = context;
  }

  /// vocab floats, the last token's; null before an eval and after a rollback.
  const float *logits() const { return lastLogits; }

  int64_t position() const { return held; }
  int64_t context() const { return capacity; }

  /// Forgets the tokens from `position` on.
  Outcome rollback(int64_t position);

  const Model &model() const { return *loaded; }
  int64_t workers() const { return team->count(); }

private:
  Session() = default;
  Outcome check(const int32_t *tokens, int64_t count) const;
  void fitCache(int64_t positions);

  std::shared_ptr<const Model> loaded;
  std::unique_ptr<Workers> team;
  int64_t capacity = 0;
  int64_t held = 0;
  ZeroPages arena, cache, logitsMemory;
  bool hasHugePages = false; // the cache
  const float *lastLogits = nullptr;
  tbq_observe_fn observeFunction = nullptr;
  void *observeContext = nullptr;
};

} // namespace tbq

#endif // TBQ_RUNTIME_SESSION_H
