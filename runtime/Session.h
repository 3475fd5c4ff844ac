// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Sequences of tokens on a model: their caches and positions, scratch memory
// and workers. Input: tokens; output: logits. Calls on one sequence are about
// the one that was selected last, at first number 0.
// Invariant: 0 <= position <= context <= the model's; a sequence's cache holds
// the keys and values of exactly the tokens before its position; eval and
// evalBatch allocate nothing.
#ifndef TBQ_RUNTIME_SESSION_H
#define TBQ_RUNTIME_SESSION_H

#include "runtime/Model.h"
#include "runtime/Workers.h"
#include "runtime/ZeroPages.h"

#include <memory>
#include <string>
#include <vector>

namespace tbq {

class Session {
public:
  /// context 0: the model's. `workers` must have been created for as many
  /// `sequences`.
  static Outcome create(std::shared_ptr<const Model> model,
                        std::unique_ptr<Workers> workers, int64_t context,
                        std::unique_ptr<Session> &session,
                        int64_t sequences = 1);

  /// Appends `count` >= 1 tokens. `rows`, if not null, receives count rows of
  /// vocab floats; else only the last token's logits are computed.
  Outcome eval(const int32_t *tokens, int64_t count, float *rows = nullptr);

  /// Appends tokens[i] to sequence numbers[i], for `count` different ones, in
  /// one step. `rows`, if not null, receives count rows of vocab floats.
  Outcome evalBatch(const int32_t *numbers, const int32_t *tokens,
                    int64_t count, float *rows = nullptr);

  /// In [0, sequenceCount()): which one the calls below, and eval, are about.
  Outcome select(int64_t sequence);

  /// Shows `observer` the values of each operation of the steps to come, if the
  /// artifact was compiled to do so.
  void observe(tbq_observe_fn observer, void *context) {
    observeFunction = observer;
    observeContext = context;
  }

  /// vocab floats, the last token's; null before an eval of the sequence, and
  /// after its rollback or another's eval.
  const float *logits() const { return sequences[selected].logits; }

  /// Of the same, the largest of each TBQ_LOGITS_GROUP; null: nobody said.
  const float *largestLogits() const;

  int64_t position() const { return sequences[selected].held; }
  int64_t context() const { return capacity; }
  int64_t sequenceCount() const { return int64_t(sequences.size()); }

  /// Forgets the tokens from `position` on.
  Outcome rollback(int64_t position);

  const Model &model() const { return *loaded; }
  int64_t workers() const { return team->count(); }

private:
  struct Sequence {
    int64_t held = 0;
    const float *logits = nullptr;
    bool hasSummary = false;   // the logits
    bool hasHugePages = false; // its cache
    bool isOfBatch = false;    // the one that is being checked
  };

  Session() = default;
  Outcome check(const int32_t *tokens, int64_t count) const;
  /// `name`: of the argument that says which sequence.
  Outcome checkRoom(const Sequence &sequence, int64_t count,
                    const std::string &name) const;
  Outcome checkBatch(const int32_t *numbers, const int32_t *tokens,
                     int64_t count);
  void fitCache(int64_t number, int64_t positions);
  tbq_place getPlace(int64_t number) const {
    return {sequences[size_t(number)].held,
            number * int64_t(cacheStride(loaded->table()))};
  }
  float *getLogits() const;
  /// Logits' memory is every sequence's.
  void forgetLogits();

  std::shared_ptr<const Model> loaded;
  std::unique_ptr<Workers> team;
  int64_t capacity = 0;
  std::vector<Sequence> sequences;
  size_t selected = 0;
  ZeroPages arena, caches, logitsMemory;
  std::vector<tbq_place> places; // of a batch's tokens
  tbq_observe_fn observeFunction = nullptr;
  void *observeContext = nullptr;
};

} // namespace tbq

#endif // TBQ_RUNTIME_SESSION_H
