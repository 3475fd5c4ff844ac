// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Runs an artifact on some tokens, in a prefill of all but the last and decodes
// of those, and compares it with the interpreter.

#include "tbq/Verify.h"

#include "ReferenceModel.h"
#include "StepReplay.h"

#include "runtime/Session.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Manifest;
using ::tbq::Model;
using ::tbq::Outcome;
using ::tbq::Result;
using ::tbq::Session;
using ::tbq::Status;

/// Tokens of the fixed sequence, and how many of all are decoded one by one.
static constexpr int64_t kTokens = 24, kDecoded = 3;
/// Of logits with float activations (normalised mean square error).
static constexpr double kLogitsBound = 1e-6;

static Status toStatus(const Outcome &outcome) {
  return outcome ? Status::ok() : Status(::tbq::Error{outcome.message});
}

/// The tokens asked for, or as many of a fixed sequence as the context holds.
static Result<std::vector<int32_t>> getTokens(const VerifyOptions &options,
                                              const Manifest::Model &model) {
  std::vector<int32_t> tokens = options.tokens;
  if (tokens.empty())
    for (int64_t i = 0; i < std::min(kTokens, model.context); ++i)
      tokens.push_back((7 + 37 * i + 11 * i * i) % model.vocab);
  if (int64_t(tokens.size()) > model.context)
    return makeError("--tokens", "",
                     std::to_string(tokens.size()) +
                         " tokens, more than the model's context of " +
                         std::to_string(model.context));
  for (int32_t token : tokens)
    if (token < 0 || token >= model.vocab)
      return makeError("--tokens", "",
                       std::to_string(token) + " is not in [0, " +
                           std::to_string(model.vocab) + ")");
  return tokens;
}

static Result<std::unique_ptr<Session>>
createSession(std::shared_ptr<const Model> model, int64_t threads) {
  std::unique_ptr<::tbq::Workers> workers;
  if (Status made = toStatus(createWorkers(model, threads, workers)); !made)
    return made.error();
  std::unique_ptr<Session> session;
  if (Status made = toStatus(
          Session::create(std::move(model), std::move(workers), 0, session));
      !made)
    return made.error();
  return session;
}

/// Runs all tokens; `replay`, if there is one, sees each step. The logits.
static Result<std::vector<float>> runSteps(Session &session,
                                           ArrayRef<int32_t> tokens,
                                           StepReplay *replay, int64_t &steps) {
  const int64_t vocab = session.model().vocab();
  const int64_t chunk = session.model().table().prefill_tokens;
  const int64_t prefilled =
      std::max<int64_t>(int64_t(tokens.size()) - kDecoded, 0);
  std::vector<float> logits(tokens.size() * vocab);
  if (replay)
    session.observe(StepReplay::observe, replay);
  for (int64_t done = 0; done < int64_t(tokens.size()); ++steps) {
    const int64_t count =
        done < prefilled ? std::min(chunk, prefilled - done) : 1;
    if (replay)
      replay->begin(done, count);
    if (Status ran = toStatus(session.eval(tokens.data() + done, count,
                                           logits.data() + done * vocab));
        !ran)
      return ran.error();
    if (replay)
      if (Status replayed = replay->end(); !replayed)
        return replayed.error();
    done += count;
  }
  return logits;
}

/// Whether any op multiplies integers.
static bool hasIntegers(ModuleOp packed) {
  return packed
      .walk([](QuantizeActivationsOp) { return WalkResult::interrupt(); })
      .wasInterrupted();
}

Result<VerifyReport> mlir::tbq::verify(const VerifyOptions &options) {
  std::shared_ptr<const Model> artifact;
  if (Status opened = toStatus(Model::open(options.artifact, {}, artifact));
      !opened)
    return opened.error();
  const Manifest &manifest = artifact->manifest();
  auto tokens = getTokens(options, manifest.model);
  if (!tokens)
    return tokens.error();
  auto model = ReferenceModel::build(options, manifest);
  if (!model)
    return model.error();
  // Rounding of activations moves logits by more than any bound that says
  // something: such an artifact must show its operations.
  const bool integers = hasIntegers(*model->packed);
  if (integers && manifest.operations.empty())
    return makeError(options.artifact, "",
                     "shows no operations, and with integer activations its "
                     "logits alone prove nothing: compile it with "
                     "--dump-tensors");
  auto session = createSession(artifact, options.threads);
  if (!session)
    return session.error();

  VerifyReport report;
  report.tokens = tokens->size();
  std::unique_ptr<StepReplay> replay;
  if (!manifest.operations.empty())
    replay = std::make_unique<StepReplay>(*model->packed, *model->checkpoint,
                                          manifest, options);
  auto logits = runSteps(**session, *tokens, replay.get(), report.steps);
  if (!logits)
    return logits.error();
  if (replay)
    report.operations = replay->takeReports();

  Interpreter interpreter(*model->checkpoint, Arithmetic());
  KeyValues cache(getCacheType(*model->graph));
  auto expected = interpreter.forward(*model->graph, *tokens, /*position=*/0,
                                      /*first=*/0, cache);
  if (!expected)
    return expected.error();
  if (expected->values.size() != logits->size())
    return makeError(options.model, "",
                     "has " + std::to_string(expected->columns) +
                         " logits, the artifact " +
                         std::to_string(artifact->vocab()));
  report.logitsError = getNormalizedError(*logits, *expected);
  report.logits = std::move(expected->values);
  if (!integers)
    report.logitsBound = kLogitsBound;
  return report;
}
