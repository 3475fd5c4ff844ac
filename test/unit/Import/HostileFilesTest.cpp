// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// RELIABILITY R5: whatever stands in a file of a MiB, the readers answer within
// a second and 64 MiB over the idle program. Each file is read by a child of
// its own, whose time and memory the system counts. Under a sanitizer, which
// multiplies both, only the answer is looked at.
#include "TemporaryModel.h"

#include "tbq/ChatTemplate.h"
#include "tbq/TokenizerCompiler.h"

#include <functional>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace tbq;

static constexpr size_t mebibyte = size_t(1) << 20;

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
static constexpr bool measured = false;
#else
static constexpr bool measured = true;
#endif
#else
static constexpr bool measured = true;
#endif

namespace {
struct Usage {
  int status;     // as wait4 gives it
  double seconds; // of the processor: other programs do not count
  long kibibytes; // most resident
};
} // namespace

static Usage inChild(const std::function<int()> &work) {
  const pid_t child = fork();
  if (child == 0)
    _exit(work());
  Usage usage = {};
  rusage resources = {};
  EXPECT_EQ(wait4(child, &usage.status, 0, &resources), child);
  for (const timeval &time : {resources.ru_utime, resources.ru_stime})
    usage.seconds += double(time.tv_sec) + double(time.tv_usec) * 1e-6;
  usage.kibibytes = resources.ru_maxrss;
  return usage;
}

/// The work refuses (1) or accepts (0) in time and memory.
static void expectModest(const std::string &what,
                         const std::function<int()> &work, int expected = 1) {
  static const long idle = inChild([] { return 0; }).kibibytes;
  const Usage usage = inChild(work);
  EXPECT_TRUE(WIFEXITED(usage.status)) << what;
  EXPECT_EQ(WEXITSTATUS(usage.status), expected) << what;
  if (!measured)
    return;
  EXPECT_LE(usage.seconds, 1.0) << what;
  EXPECT_LE(usage.kibibytes - idle, 64 << 10) << what;
}

/// `head`, as often `part` as fits a MiB, `tail`.
static std::string filled(const std::string &head, const std::string &part,
                          const std::string &tail) {
  std::string text = head;
  while (text.size() + part.size() + tail.size() <= mebibyte)
    text += part;
  return text + tail;
}

/// The same with "#" of a part counted up, so that keys differ.
static std::string counted(const std::string &head, const std::string &part,
                           const std::string &tail) {
  const size_t place = part.find('#');
  std::string text = head;
  for (size_t i = 0;; ++i) {
    std::string next = part;
    next.replace(place, 1, std::to_string(i));
    if (text.size() + next.size() + tail.size() > mebibyte)
      return text + tail;
    text += next;
  }
}

/// JSON that is costly as such.
static std::vector<std::string> costlyDocuments() {
  return {std::string(mebibyte, '['),
          filled("", "{\"a\":", ""),
          filled("[0", ",0", "]"),
          filled("[[]", ",[]", "]"),
          filled("[{}", ",{}", "]"),
          filled("[\"\"", ",\"\"", "]"),
          filled("{\"a\":[[[[0]]]", ",\"a\":0", "}"),
          counted("{\"x\":0", ",\"#\":0", "}"),
          counted("{\"x\":0", ",\"#\":{}", "}"),
          counted("{\"x\":0", ",\"#\":[[]]", "}"),
          filled("{\"", "\\u0041", "\":0}"),
          filled("[1e", "9", "]"),
          filled("[0.", "1", "]"),
          std::string(mebibyte, '\0'),
          std::string(mebibyte, ' '),
          filled("\"", "\xff", "\"")};
}

TEST(HostileFiles, JsonOfADirectory) {
  TemporaryModel model;
  const nlohmann::json good = model.config;
  for (const char *name :
       {"config.json", "generation_config.json", "model.safetensors.index.json",
        "model.safetensors"}) {
    model.writeAll();
    if (std::string(name) == "model.safetensors.index.json")
      model.remove("model.safetensors");
    const bool header = std::string(name) == "model.safetensors";
    for (const std::string &document : costlyDocuments()) {
      // An object of unknown fields is a fine generation config.
      const bool fine = std::string(name) == "generation_config.json" &&
                        document[0] == '{' && document[1] == '"' &&
                        nlohmann::json::accept(document) &&
                        document.find("\"a\":0,\"a\":0") == document.npos;
      model.write(name, header ? safetensorsBytes(document, "") : document);
      expectModest(
          std::string(name) + " " + document.substr(0, 20),
          [&] { return model.failure().empty() ? 0 : 1; }, fine ? 0 : 1);
    }
    model.remove(name);
  }
}

TEST(HostileFiles, TensorsByTheThousand) {
  TemporaryModel model;
  model.writeConfig();
  const std::string scalar =
      R"(,"#":{"dtype":"U8","shape":[],"data_offsets":[0,0]})";
  const std::string empty =
      R"(,"#":{"dtype":"F32","shape":[0],"data_offsets":[0,0]})";
  const std::string header = R"({"__metadata__":{})";
  for (const std::string &text :
       {counted(header, scalar, "}"), counted(header, empty, "}"),
        filled(R"({"a":{"dtype":"F32","data_offsets":[0,0],"shape":[0)",
               ",9223372036854775807", "]}}"),
        filled(R"({"a":{"dtype":"F32","data_offsets":[0,4],"shape":[1)", ",1",
               "]}}")}) {
    model.write("model.safetensors", safetensorsBytes(text, ""));
    expectModest(text.substr(0, 60),
                 [&] { return model.failure().empty() ? 0 : 1; });
  }
  // Nothing but metadata is a file without tensors.
  const std::string metadata =
      counted(R"({"__metadata__":{"x":"")", ",\"#\":\"\"", "}}");
  model.write("model.safetensors", safetensorsBytes(metadata, ""));
  expectModest("metadata", [&] { return model.failure().empty() ? 0 : 1; }, 0);
}

TEST(HostileFiles, PatternsThatRunAway) {
  TemporaryModel model;
  model.writeAll();
  nlohmann::json layers = nlohmann::json::object();
  for (int i = 0; i < 1000; ++i)
    layers["([a-z0-9_]+\\.?)+[!?]" + std::to_string(i)] =
        nlohmann::json::object();
  model.config["quantization_config"] = {{"quant_method", "tbq"},
                                         {"scheme", "ternary"},
                                         {"group_size", 8},
                                         {"shift", true},
                                         {"layers", layers}};
  model.writeConfig();
  expectModest("1000 patterns", [&] {
    auto checkpoint = Checkpoint::open(model.path());
    return checkpoint && checkpoint->schemeOf("model.layers.0.mlp.up_proj") ? 0
                                                                            : 1;
  });
}

TEST(HostileFiles, Tokenizers) {
  auto refuses = [](const std::string &tokenizer, const std::string &config) {
    return [=] { return compileTokenizer(tokenizer, config, "model") ? 0 : 1; };
  };
  const std::string model =
      R"({"version":"1.0","model":{"type":"BPE","unk_token":null,)";
  for (const std::string &document : costlyDocuments())
    expectModest("tokenizer.json " + document.substr(0, 20),
                 refuses(document, ""));
  for (const std::string &text :
       {counted(model + R"("merges":[],"vocab":{"x":99999999)", ",\"#\":1",
                "}}}"),
        filled(model + R"("vocab":{"a":0,"b":1},"merges":["a b")", ",\"a b\"",
               "]}}"),
        filled(model + R"("vocab":{"a":16777215,"b":1},"merges":[[)", "[", ""),
        filled(model + R"("vocab":{"a":0},"merges":[]},"pre_tokenizer":)"
                       R"({"type":"Split","behavior":"Isolated","invert":)"
                       R"(false,"pattern":{"Regex":")",
               "(a{1,250}){1,250}", "\"}}}"),
        filled(model + R"("vocab":{"a":0},"merges":[]},"normalizer":)",
               R"({"type":"Sequence","normalizers":[)", "")})
    expectModest(text.substr(text.size() / 2, 40), refuses(text, ""));
  expectModest("a chat template", [] {
    auto chat =
        recogniseChat(filled("{% for m in x %}", "{{ m }}", ""), "{}", "model");
    return chat && chat->format ? 0 : 1;
  });
}
