// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-verify -m MODEL.so MODEL_DIR: an artifact against the interpreter of what
// it was compiled from. Exit code 3 when a bound is broken.
#include "CommandLine.h"
#include "Report.h"
#include "format/MappedFile.h"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>

using namespace tbq;
using mlir::tbq::VerifyOptions;
using mlir::tbq::VerifyReport;

static std::vector<int32_t> readTokens(const std::string &path) {
  if (path.empty())
    return {};
  Result<FileDescriptor> file = openForReading(path);
  if (!file)
    failUser(file.error());
  Result<std::string> text =
      readWholeFile(file->get(), path, uint64_t(1) << 24);
  if (!text)
    failUser(text.error());
  std::vector<int32_t> tokens;
  constexpr const char *space = " \t\r\n,";
  for (size_t at = text->find_first_not_of(space); at != std::string::npos;
       at = text->find_first_not_of(space, at)) {
    const size_t end = std::min(text->find_first_of(space, at), text->size());
    int32_t token = 0;
    auto [stop, error] =
        std::from_chars(text->data() + at, text->data() + end, token);
    if (error != std::errc() || stop != text->data() + end)
      failUser(makeError(path, "token " + std::to_string(tokens.size()),
                         "must be a number (got " + text->substr(at, end - at) +
                             ")"));
    tokens.push_back(token);
    at = end;
  }
  if (tokens.empty())
    failUser(makeError(path, "", "has no tokens"));
  return tokens;
}

static void writeLogits(const std::vector<double> &logits,
                        const std::string &path) {
  FILE *file = std::fopen(path.c_str(), "wb");
  bool good = file && std::fwrite(logits.data(), sizeof(double), logits.size(),
                                  file) == logits.size();
  good = (!file || std::fclose(file) == 0) && good;
  if (!good)
    failUser(makeError(path, "", std::strerror(errno)));
}

static ExitCode verifyArtifact(const VerifyOptions &options,
                               const std::string &logits, bool json) {
  Result<VerifyReport> report = mlir::tbq::verify(options);
  if (!report)
    failUser(report.error());
  if (!logits.empty())
    writeLogits(report->logits, logits);
  const std::string text =
      json ? reportJson(*report).dump(1) + "\n" : reportText(*report);
  std::fputs(text.c_str(), stdout);
  const std::vector<std::string> broken = brokenBounds(*report);
  for (const std::string &line : broken)
    std::fprintf(stderr, "tbq-verify: %s\n", line.c_str());
  return broken.empty() ? exitOk : exitVerification;
}

int main(int argc, char **argv) {
  CLI::App app("Compares an artifact with the interpreter: each operation on "
               "the values of the compiled step, if the artifact was made with "
               "tbqc --dump-tensors, and the logits.",
               "tbq-verify");
  app.option_defaults()->always_capture_default();
  VerifyOptions options;
  std::string tokens, logits;
  bool json = false;
  app.add_option("-m,--model", options.artifact, "The artifact, model.so")
      ->required();
  app.add_option("source", options.model,
                 "What it was compiled from: a model directory, or a "
                 "MODULE.mlir with --checkpoint")
      ->required();
  app.add_option("--checkpoint", options.checkpoint,
                 "Where the weights of a MODULE.mlir are");
  app.add_option("--tokens", tokens,
                 "File of token ids, separated by space (default: 24 fixed "
                 "ones)");
  app.add_option("-t,--threads", options.threads, "Workers of each step")
      ->check(CLI::Range(1, 1024));
  app.add_option("--rtol", options.relative,
                 "Relative bound of operations that may differ (default: each "
                 "kind's own)");
  app.add_option("--atol", options.absolute,
                 "Absolute bound of the same, in addition (default 1e-36)");
  app.add_option("--logits", logits,
                 "File for the interpreter's logits: float64, a row of the "
                 "vocabulary for each token");
  app.add_flag("--json", json, "Print JSON: all operations and deviations");
  return runTool(app, argc, argv, [&] {
    options.tokens = readTokens(tokens);
    return verifyArtifact(options, logits, json);
  });
}
