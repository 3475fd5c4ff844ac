// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Turns diagnostics and progress into lines on stderr.

#include "Diagnostics.h"

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/Location.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/LineIterator.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/raw_ostream.h"

#include <unistd.h>

using namespace mlir;
using namespace mlir::tbq;

std::string mlir::tbq::describeLocation(Location location) {
  std::string text;
  location->walk([&](Location inner) {
    if (auto name = dyn_cast<NameLoc>(inner))
      text = name.getName().str();
    else if (auto file = dyn_cast<FileLineColLoc>(inner))
      text = file.getFilename().str() + ":" + std::to_string(file.getLine()) +
             ":" + std::to_string(file.getColumn());
    return text.empty() ? WalkResult::advance() : WalkResult::interrupt();
  });
  return text;
}

FirstError::FirstError(MLIRContext &context)
    : handler(&context, [this](Diagnostic &diagnostic) {
        if (message.empty() &&
            diagnostic.getSeverity() == DiagnosticSeverity::Error) {
          place = describeLocation(diagnostic.getLocation());
          message = diagnostic.str();
        }
        return success(); // warnings, notes and what follows from the first
      }) {}

::tbq::Error FirstError::take(StringRef fallback) const {
  if (message.empty())
    return ::tbq::makeError(fallback, "", "failed without a message");
  return ::tbq::makeError(place.empty() ? fallback : StringRef(place), "",
                          message);
}

Progress::Progress(bool verbose)
    : verbose(verbose), terminal(isatty(STDERR_FILENO)) {}

void Progress::clearLine() {
  if (terminal)
    llvm::errs() << "\r\033[K";
}

MemoryUse mlir::tbq::measureMemory() {
  MemoryUse use;
  // Not getrusage: its peak begins with that of the program that started us.
  auto status = llvm::MemoryBuffer::getFileAsStream("/proc/self/status");
  if (!status)
    return use;
  for (llvm::line_iterator line(**status); !line.is_at_end(); ++line) {
    auto [name, value] = line->split(':');
    uint64_t *field = name == "VmRSS"   ? &use.now
                      : name == "VmHWM" ? &use.peak
                                        : nullptr;
    if (field && !value.ltrim().consumeInteger(10, *field))
      *field <<= 10; // "1234 kB"
  }
  return use;
}

void Progress::announce(StringRef text, bool isLong) {
  end();
  if (isLong || verbose)
    say(("tbqc: " + text).str());
}

void Progress::begin(StringRef name, bool isLong) {
  end();
  step = name.str();
  longStep = isLong;
  percent = -1;
  begun = std::chrono::steady_clock::now();
  if (terminal)
    llvm::errs() << "tbqc: " << step;
}

void Progress::update(double share) {
  int now = static_cast<int>(100 * share);
  if (!terminal)
    now -= now % 25;
  if (now == percent || (!terminal && (!longStep || now % 100 == 0)))
    return;
  percent = now;
  clearLine();
  llvm::errs() << "tbqc: " << step << " " << percent << "%";
  double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - begun)
          .count();
  if (seconds > 1 && share > 0)
    llvm::errs() << llvm::format(", %.0f s left",
                                 seconds * (1 - share) / share);
  if (!terminal)
    llvm::errs() << "\n";
}

void Progress::end() {
  if (step.empty())
    return;
  clearLine();
  if (verbose) {
    std::chrono::duration<double> time =
        std::chrono::steady_clock::now() - begun;
    llvm::errs() << llvm::format("%8.3f s  ", time.count()) << step << "\n";
  }
  step.clear();
}

void Progress::say(StringRef line) {
  clearLine();
  llvm::errs() << line << "\n";
}

void Progress::note(StringRef text) {
  if (verbose)
    say(("note: " + text).str());
}

Progress::~Progress() {
  end();
  if (verbose)
    llvm::errs() << "peak memory: " << (measureMemory().peak >> 20) << " MiB\n";
}
