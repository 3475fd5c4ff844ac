// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Input: argv; output: a tool's exit code, and at most one line on stderr.
#include "CommandLine.h"

#include "tbq/Version.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <new>

using namespace tbq;

void tbq::require(const Outcome &outcome) {
  if (outcome)
    return;
  ExitCode code = exitUser;
  if (outcome.status == TBQ_ERROR_INTERNAL ||
      outcome.status == TBQ_ERROR_MEMORY)
    code = exitOurs;
  if (outcome.status == TBQ_ERROR_VERIFICATION)
    code = exitVerification;
  throw ToolFailure{code, outcome.message};
}

void tbq::require(tbq_status status) {
  require(Outcome{status, status == TBQ_OK ? "" : tbq_last_error()});
}

void tbq::failUser(const Error &error) {
  throw ToolFailure{exitUser, error.message};
}

/// Insertions, deletions and changes from one word to the other.
static size_t editDistance(const std::string &a, const std::string &b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j)
    row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t change = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, change});
    }
  }
  return row[b.size()];
}

static std::string nearest(const std::string &word,
                           const std::vector<std::string> &words) {
  return *std::min_element(words.begin(), words.end(),
                           [&](const std::string &a, const std::string &b) {
                             return editDistance(word, a) <
                                    editDistance(word, b);
                           });
}

CLI::Validator tbq::oneOf(const std::vector<std::string> &values) {
  std::string list;
  for (const std::string &value : values)
    list += (list.empty() ? "" : "|") + value;
  return CLI::Validator(
      [values](std::string &given) {
        if (std::find(values.begin(), values.end(), given) != values.end())
          return std::string();
        return "unknown value '" + given + "'; did you mean '" +
               nearest(given, values) + "'?";
      },
      list);
}

std::vector<int64_t> tbq::parseNumbers(const std::string &flag,
                                       const std::string &text,
                                       int64_t minimum) {
  std::vector<int64_t> numbers;
  for (size_t at = 0; at <= text.size();) {
    size_t comma = std::min(text.find(',', at), text.size());
    int64_t number = 0;
    auto [end, error] =
        std::from_chars(text.data() + at, text.data() + comma, number);
    if (error != std::errc() || end != text.data() + comma || number < minimum)
      failUser(makeError(flag, "",
                         "must be numbers of at least " +
                             std::to_string(minimum) + " with commas (got " +
                             text + ")"));
    numbers.push_back(number);
    at = comma + 1;
  }
  return numbers;
}

static std::vector<std::string> flagsOf(const CLI::App &app) {
  std::vector<std::string> flags;
  for (const CLI::Option *option : app.get_options()) {
    for (const std::string &name : option->get_lnames())
      flags.push_back("--" + name);
    for (const std::string &name : option->get_snames())
      flags.push_back("-" + name);
  }
  return flags;
}

static int reportParseError(const CLI::App &app, const CLI::ParseError &error) {
  if (error.get_exit_code() == 0)
    return app.exit(error); // --help, --version
  std::string message = error.what();
  bool isRequired = dynamic_cast<const CLI::RequiredError *>(&error);
  bool isExtra = dynamic_cast<const CLI::ExtrasError *>(&error);
  std::vector<std::string> extras = app.remaining();
  auto flag =
      std::find_if(extras.begin(), extras.end(), [](const std::string &extra) {
        return !extra.empty() && extra[0] == '-';
      });
  // A flag that is missing may be the one that was misspelt.
  if ((isRequired || isExtra) && flag != extras.end())
    message = "unknown flag '" + *flag + "'; did you mean '" +
              nearest(*flag, flagsOf(app)) + "'?";
  else if (isExtra && !extras.empty())
    message = "unexpected argument '" + extras.front() + "'";
  std::replace(message.begin(), message.end(), '\n', ' ');
  std::fprintf(stderr, "%s: error: %s\n", app.get_name().c_str(),
               message.c_str());
  return exitUser;
}

int tbq::runTool(CLI::App &app, int argc, char **argv,
                 const std::function<ExitCode()> &body,
                 const std::map<std::string, std::string> &aliases) {
  app.set_version_flag(
      "--version", app.get_name() + " " TBQ_VERSION " (git " TBQ_GIT_REVISION
                                    "), built with " __VERSION__);
  std::vector<std::string> arguments;
  for (int i = argc - 1; i > 0; --i) { // CLI11 takes them from the back
    auto alias = aliases.find(argv[i]);
    arguments.push_back(alias == aliases.end() ? argv[i] : alias->second);
  }
  auto fail = [&](ExitCode code, const std::string &message) {
    std::fflush(stdout);
    std::fprintf(stderr, "%s: error: %s\n", app.get_name().c_str(),
                 message.c_str());
    return code;
  };
  try {
    app.parse(arguments);
  } catch (const CLI::ParseError &error) {
    return reportParseError(app, error);
  }
  try {
    ExitCode code = body();
    // Lost output must not look like success.
    if (std::fflush(stdout) != 0 || std::ferror(stdout))
      return fail(exitUser, "standard output: cannot write all of it");
    return code;
  } catch (const ToolFailure &failure) {
    return fail(failure.code, failure.message);
  } catch (const std::bad_alloc &) {
    return fail(exitOurs, "out of memory");
  } catch (const std::exception &error) {
    return fail(exitOurs, error.what());
  }
}
