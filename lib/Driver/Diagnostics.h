// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// MLIR's diagnostics as one line, and how far a long run has come.
// Invariant: off a terminal, only long work says anything unasked; results
// never depend on it.
#ifndef TBQ_LIB_DRIVER_DIAGNOSTICS_H
#define TBQ_LIB_DRIVER_DIAGNOSTICS_H

#include "format/Result.h"

#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/StringRef.h"

#include <chrono>
#include <string>

namespace mlir::tbq {

/// The first name or file position inside a location; empty if it has none.
std::string describeLocation(Location location);

/// Keeps the first error that MLIR emits while it lives, as "PLACE: message":
/// the place is the model's name for the layer or tensor, or file and line.
class FirstError {
public:
  explicit FirstError(MLIRContext &context);
  bool any() const { return !message.empty(); }
  /// The error; `fallback` says where, if none was emitted.
  ::tbq::Error take(llvm::StringRef fallback) const;

private:
  std::string place, message;
  ScopedDiagnosticHandler handler;
};

/// Bytes of memory that this process has now, and had at its most.
struct MemoryUse {
  uint64_t now = 0, peak = 0;
};
MemoryUse measureMemory();

/// Names the step that runs, on a terminal; its time, if verbose.
class Progress {
public:
  explicit Progress(bool verbose);
  ~Progress();
  /// Before a step: `text` says what is long about it. Shown if so or verbose.
  void announce(llvm::StringRef text, bool isLong);
  void begin(llvm::StringRef step, bool isLong = false);
  /// Share of the step that is done, 0 to 1: each percent on a terminal, else
  /// each quarter of a long step, with the time that is left.
  void update(double share);
  void end();
  /// A line of its own; the step goes on.
  void say(llvm::StringRef line);
  /// The same, if verbose.
  void note(llvm::StringRef text);

private:
  void clearLine();

  bool verbose, terminal, longStep = false;
  std::string step;
  int percent = -1;
  std::chrono::steady_clock::time_point begun;
};

} // namespace mlir::tbq

#endif // TBQ_LIB_DRIVER_DIAGNOSTICS_H
