// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the command lines of all runtime tools have in common: --version, help
// with defaults, one line on stderr for an error, the nearest valid flag or
// value for a wrong one, and exit codes 0 ok, 1 the user's error, 2 ours,
// 3 verification failed.
#ifndef TBQ_TOOLS_COMMANDLINE_H
#define TBQ_TOOLS_COMMANDLINE_H

#include "format/Result.h"
#include "runtime/Outcome.h"
#include "runtime/tbq.h"

#include <CLI/CLI.hpp>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace tbq {

enum ExitCode { exitOk = 0, exitUser = 1, exitOurs = 2, exitVerification = 3 };

/// Ends a tool with one line on stderr. Thrown only by tools.
struct ToolFailure {
  ExitCode code;
  std::string message;
};

/// Throws for anything but success.
void require(const Outcome &outcome);
void require(tbq_status status); // the message is tbq_last_error's
[[noreturn]] void failUser(const Error &error);

/// A flag whose value is one of these.
CLI::Validator oneOf(const std::vector<std::string> &values);

/// Comma-separated whole numbers of at least `minimum`, "512,1024".
std::vector<int64_t> parseNumbers(const std::string &flag,
                                  const std::string &text, int64_t minimum);

/// Parses the arguments, runs `body`, reports what went wrong and returns the
/// exit code. `aliases` are whole arguments and the flags they stand for (CLI11
/// has no single-dash flags of several letters).
int runTool(CLI::App &app, int argc, char **argv,
            const std::function<ExitCode()> &body,
            const std::map<std::string, std::string> &aliases = {});

} // namespace tbq

#endif // TBQ_TOOLS_COMMANDLINE_H
