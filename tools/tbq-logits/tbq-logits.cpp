// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-logits MODEL --ids FILE -o OUT: for tests. Input: token ids as text;
// output: a row of vocab float32 for every token, or a hash of the rows. Shows
// that chunks, workers and the order of fibers change no bit.
// Invariant: OUT appears whole or not at all.
#include "CommandLine.h"
#include "format/MappedFile.h"
#include "format/Sha256.h"
#include "runtime/Session.h"

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>

using namespace tbq;

namespace {

struct Options {
  std::string model, ids, tokens, out, fibers;
  int64_t chunk = 64, workers = 1, batch = 0;
  bool hash = false, verify = false;
};

/// Writes to a temporary name; commit() gives the file its own.
class OutputFile {
public:
  explicit OutputFile(std::string path)
      : path(std::move(path)), temporary(this->path + ".tmp"),
        file(std::fopen(temporary.c_str(), "wb")) {
    if (!file)
      fail();
  }
  ~OutputFile() {
    if (!file)
      return;
    std::fclose(file);
    std::remove(temporary.c_str());
  }
  void write(const std::vector<float> &values) {
    if (std::fwrite(values.data(), sizeof(float), values.size(), file) !=
        values.size())
      fail();
  }
  void commit() {
    int closed = std::fclose(std::exchange(file, nullptr));
    if (closed != 0 || std::rename(temporary.c_str(), path.c_str()) != 0)
      fail();
  }

private:
  [[noreturn]] void fail() {
    failUser(makeError(path, "", std::strerror(errno)));
  }
  std::string path, temporary;
  FILE *file;
};

} // namespace

static std::vector<int32_t> parseIds(const std::string &text,
                                     const std::string &file, int64_t vocab,
                                     int64_t context) {
  std::vector<int32_t> ids;
  constexpr const char *space = " \t\r\n,";
  for (size_t at = text.find_first_not_of(space); at != std::string::npos;
       at = text.find_first_not_of(space, at)) {
    size_t end = std::min(text.find_first_of(space, at), text.size());
    int32_t id = -1;
    auto [stop, error] =
        std::from_chars(text.data() + at, text.data() + end, id);
    if (error != std::errc() || stop != text.data() + end || id < 0 ||
        id >= vocab)
      failUser(makeError(file, "id " + std::to_string(ids.size()),
                         "must be in [0, " + std::to_string(vocab) + ") (got " +
                             text.substr(at, end - at) + ")"));
    ids.push_back(id);
    at = end;
  }
  if (ids.empty())
    failUser(makeError(file, "", "has no token ids"));
  if (static_cast<int64_t>(ids.size()) > context)
    failUser(makeError(file, "",
                       std::to_string(ids.size()) +
                           " ids, more than the model's context of " +
                           std::to_string(context)));
  return ids;
}

static void makeWorkers(const Options &options,
                        std::shared_ptr<const Model> model,
                        std::unique_ptr<Workers> &workers) {
  const std::string &order = options.fibers;
  if (order.empty())
    return require(createWorkers(model, options.workers, workers,
                                 std::max<int64_t>(1, options.batch)));
  if (order == "forward")
    return require(
        createFibers(options.workers, FiberOrder::Forward, 0, workers));
  if (order == "backward")
    return require(
        createFibers(options.workers, FiberOrder::Backward, 0, workers));
  std::string_view prefix = "random:";
  uint64_t seed = 0;
  const char *end = order.data() + order.size();
  if (order.rfind(prefix, 0) != 0 ||
      std::from_chars(order.data() + prefix.size(), end, seed).ptr != end)
    failUser(makeError("--fibers", "",
                       "must be forward, backward or random:SEED (got " +
                           order + ")"));
  require(createFibers(options.workers, FiberOrder::Random, seed, workers));
}

static std::string readIds(const Options &options) {
  if (options.ids.empty())
    return options.tokens;
  Result<FileDescriptor> file = openForReading(options.ids);
  if (!file)
    failUser(file.error());
  Result<std::string> text =
      readWholeFile(file->get(), options.ids, uint64_t(1) << 28);
  if (!text)
    failUser(text.error());
  return std::move(*text);
}

using TakeRows = std::function<void(const std::vector<float> &)>;

/// The logits after each of the tokens, `chunk` at a time.
static void evaluate(Session &session, const std::vector<int32_t> &ids,
                     size_t chunk, const TakeRows &take) {
  auto vocab = static_cast<size_t>(session.model().vocab());
  std::vector<float> rows;
  for (size_t at = 0; at < ids.size(); at += chunk) {
    size_t count = std::min(chunk, ids.size() - at);
    rows.resize(count * vocab);
    require(session.eval(ids.data() + at, static_cast<int64_t>(count),
                         rows.data()));
    take(rows);
  }
}

/// The same of each of several sequences at once, one after the other. Each is
/// a token behind the one before, and steps have them in either order.
static void evaluateBatch(Session &session, const std::vector<int32_t> &ids,
                          const TakeRows &take) {
  const auto vocab = static_cast<size_t>(session.model().vocab());
  const auto sequences = static_cast<size_t>(session.sequenceCount());
  std::vector<float> rows(sequences * ids.size() * vocab);
  std::vector<float> made(sequences * vocab);
  for (size_t step = 0; step < ids.size() + sequences - 1; ++step) {
    std::vector<int32_t> numbers, tokens;
    for (size_t i = 0; i < sequences; ++i)
      if (i <= step && step - i < ids.size())
        numbers.push_back(static_cast<int32_t>(i));
    if (step % 2)
      std::reverse(numbers.begin(), numbers.end());
    for (int32_t number : numbers)
      tokens.push_back(ids[step - static_cast<size_t>(number)]);
    require(session.evalBatch(numbers.data(), tokens.data(),
                              static_cast<int64_t>(tokens.size()),
                              made.data()));
    for (size_t i = 0; i < numbers.size(); ++i) {
      auto number = static_cast<size_t>(numbers[i]);
      std::copy_n(made.data() + i * vocab, vocab,
                  rows.data() + (number * ids.size() + step - number) * vocab);
    }
  }
  take(rows);
}

static ExitCode run(const Options &options) {
  if (options.ids.empty() == options.tokens.empty())
    failUser(makeError("", "", "give either --ids or --tokens"));
  if (options.out.empty() && !options.hash)
    failUser(makeError("", "", "give -o, --hash or both"));
  std::shared_ptr<const Model> model;
  require(Model::open(options.model, {options.verify}, model));
  std::vector<int32_t> ids =
      parseIds(readIds(options), options.ids.empty() ? "--tokens" : options.ids,
               model->vocab(), model->context());
  std::unique_ptr<Workers> workers;
  makeWorkers(options, model, workers);
  std::unique_ptr<Session> session;
  require(Session::create(model, std::move(workers), 0, session,
                          std::max<int64_t>(1, options.batch)));
  std::optional<OutputFile> out;
  if (!options.out.empty())
    out.emplace(options.out);
  Sha256 hash;
  auto take = [&](const std::vector<float> &rows) {
    hash.update(rows.data(), rows.size() * sizeof(float));
    if (out)
      out->write(rows);
  };
  if (options.batch)
    evaluateBatch(*session, ids, take);
  else
    evaluate(*session, ids, size_t(options.chunk), take);
  if (out)
    out->commit();
  if (options.hash)
    std::printf("%s\n", toHex(hash.finish()).c_str());
  return exitOk;
}

int main(int argc, char **argv) {
  CLI::App app("Writes the logits that follow each of the given tokens.",
               "tbq-logits");
  app.option_defaults()->always_capture_default();
  Options options;
  app.add_option("model,-m,--model", options.model, "The artifact, model.so")
      ->required();
  app.add_option("--ids", options.ids, "File of token ids, separated by space");
  app.add_option("--tokens", options.tokens, "Token ids, instead of --ids");
  CLI::Option *chunk =
      app.add_option("--chunk", options.chunk,
                     "Tokens given to the model at a time; 1 decodes")
          ->check(CLI::Range(1, 1 << 24));
  app.add_option("--batch", options.batch,
                 "Of several sequences of the same tokens at once, one after "
                 "the other, instead of --chunk")
      ->check(CLI::Range(int64_t(1), kMostSequences))
      ->excludes(chunk);
  app.add_option("--workers,-t", options.workers, "Workers of each step")
      ->check(CLI::Range(1, int(kMostWorkers)));
  app.add_option("--fibers", options.fibers,
                 "Run the workers as fibers of one thread: forward, backward "
                 "or random:SEED");
  app.add_option("-o,--out", options.out,
                 "File for the logits: float32, a row of the vocabulary for "
                 "each token");
  app.add_flag("--hash", options.hash, "Print the SHA-256 of the logits");
  app.add_flag("--verify", options.verify,
               "Compare the weights with their hashes first");
  return runTool(app, argc, argv, [&] { return run(options); });
}
