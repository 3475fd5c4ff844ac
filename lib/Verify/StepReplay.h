// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Replays each operation of a running step on the values that the step shows.
// The step runs the ops of @forward in their order, layers one after the other;
// so the next operation shown is the next op of the packed form.
// Invariant: an operation that is not the expected one, or shows other values,
// is an error, and nothing after it is compared.
#ifndef TBQ_VERIFY_STEPREPLAY_H
#define TBQ_VERIFY_STEPREPLAY_H

#include "Comparison.h"

#include "format/Manifest.h"

namespace mlir::tbq {

class StepReplay {
public:
  /// `packed` is the model's packed form; all must outlive this.
  StepReplay(ModuleOp packed, const ::tbq::Checkpoint &checkpoint,
             const ::tbq::Manifest &manifest, const VerifyOptions &options);

  /// A step of `count` tokens, the first at `position`, is about to run.
  void begin(int64_t position, int64_t count);
  /// It has run.
  ::tbq::Status end();

  /// A tbq_observe_fn whose context is a StepReplay.
  static void observe(void *replay, int64_t operation, int64_t layer,
                      int64_t value, const void *data, int64_t rows,
                      int64_t stride);

  std::vector<OperationReport> takeReports() { return std::move(reports); }

private:
  /// An op of the step and the values of it that are shown.
  struct Step {
    StepOp op;
    SmallVector<Value> values;
    size_t written = 0; // how many at the end of `values` are results
    Tolerance tolerance;
  };
  void addSteps(Block &block, int64_t layer);
  ::tbq::Status receive(int64_t operation, int64_t layer, int64_t value,
                        const void *data, int64_t rows, int64_t stride);
  ::tbq::Status checkOperation(const Step &step, int64_t operation,
                               int64_t layer) const;
  ::tbq::Status finish(const Step &step, OperationReport &report);
  ::tbq::Status finishAppend(AppendCacheOp op, OperationReport &report);

  const ::tbq::Manifest &manifest;
  const std::string &artifact;
  Interpreter exact, reference; // float32 as compiled; float64
  Interpreter magnitude;        // float64, of what is added
  std::vector<Step> steps;
  std::vector<int64_t> layers;          // of each step; -1: outside of any
  std::vector<OperationReport> reports; // of each step
  ::tbq::Status status = ::tbq::Status::ok();

  // The step that runs.
  size_t next = 0;
  int64_t position = 0, count = 0;
  StepValues values;
  KeyValues cache;
  std::vector<Matrix> results;
};

} // namespace mlir::tbq

#endif // TBQ_VERIFY_STEPREPLAY_H
