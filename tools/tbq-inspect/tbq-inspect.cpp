// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-inspect MODEL: what an artifact says of itself. Input: model.so, for any
// CPU; output: its manifest, as a summary or as JSON.
// Invariant: no code of the artifact runs; a damaged one is refused.
#include "CommandLine.h"
#include "format/Artifact.h"
#include "format/Cpu.h"
#include "format/Manifest.h"
#include "format/MappedFile.h"
#include "format/Sidecar.h"

#include <cstdio>
#include <map>

using namespace tbq;

namespace {

struct Options {
  std::string path;
  bool json = false, layers = false, verify = false;
};

/// Sums over layers.
struct Total {
  int64_t count = 0;
  uint64_t bytes = 0;
  double weights = 0, bits = 0;

  void add(const Manifest::Layer &layer);
  void print(const std::string &name) const;
};

} // namespace

static double weightsOf(const Manifest::Layer &layer) {
  return static_cast<double>(layer.n) * static_cast<double>(layer.k);
}

void Total::add(const Manifest::Layer &layer) {
  ++count;
  bytes += layer.bytes;
  weights += weightsOf(layer);
  bits += weightsOf(layer) * layer.bitsPerWeight;
}

static void row(const char *name, const std::string &value) {
  std::printf("%-14s %s\n", name, value.c_str());
}

static std::string megabytes(uint64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.2f MB",
                static_cast<double>(bytes) / 1e6);
  return text;
}

void Total::print(const std::string &name) const {
  std::printf("%-19s %lld layers, %.2f M weights, %.3f bits each, %s\n",
              name.c_str(), static_cast<long long>(count), weights / 1e6,
              bits / weights, megabytes(bytes).c_str());
}

static std::string number(int64_t value) { return std::to_string(value); }

static void printGeneration(const Manifest::Generation &g) {
  std::string ends, settings;
  for (int32_t id : g.eos)
    ends += " " + number(id);
  row("first, end", (g.bos ? number(*g.bos) : "none") + ";" +
                        (ends.empty() ? " none" : ends));
  const std::pair<const char *, std::optional<double>> values[] = {
      {"temperature", g.temperature},
      {"top-p", g.topP},
      {"min-p", g.minP},
      {"repeat-penalty", g.repetitionPenalty}};
  for (auto [name, value] : values)
    if (value) {
      char text[64];
      std::snprintf(text, sizeof(text), " %s %g", name, *value);
      settings += text;
    }
  if (g.topK)
    settings += " top-k " + number(*g.topK);
  if (!settings.empty())
    row("sampling", settings.substr(1));
}

static void printLayers(const Manifest &m, bool each) {
  std::map<std::string, Total> totals;
  Total all;
  for (const Manifest::Layer &layer : m.layers) {
    std::string kind = layer.scheme;
    if (layer.scheme != "float") {
      kind += layer.group ? " g" + number(layer.group) : " row";
      kind += layer.shift ? " shift" : "";
      kind += layer.salient ? " salient" : "";
    }
    totals[kind].add(layer);
    all.add(layer);
    if (each)
      std::printf("  %-44s %-20s %6lld x %-6lld %6.3f bits %12s\n",
                  layer.name.c_str(), kind.c_str(),
                  static_cast<long long>(layer.n),
                  static_cast<long long>(layer.k), layer.bitsPerWeight,
                  megabytes(layer.bytes).c_str());
  }
  for (const auto &[kind, total] : totals)
    total.print(kind);
  if (totals.size() > 1)
    all.print("all");
}

/// What a token reads, and how much of it the output projection is: the last
/// layer, or the embedding where that serves as the head too.
static std::string describeReading(const Manifest &m) {
  std::string text = megabytes(m.bytesPerToken);
  if (m.layers.empty() || m.bytesPerToken == 0)
    return text;
  const Manifest::Layer &last = m.layers.back();
  const bool untied = last.n == m.model.vocab && last.k == m.model.hidden;
  const Manifest::Layer &head = untied ? last : m.layers.front();
  const double bytes = weightsOf(head) * head.bitsPerWeight / 8;
  char share[64];
  std::snprintf(share, sizeof(share), ", %.1f %% of it the head",
                100 * bytes / static_cast<double>(m.bytesPerToken));
  return text + share;
}

static void printSummary(const Manifest &m, uint64_t fileBytes, bool layers) {
  const Manifest::Model &model = m.model;
  row("model", model.name + " (" + model.architecture + ")");
  row("shape", number(model.layers) + " layers, hidden " +
                   number(model.hidden) + ", heads " + number(model.heads) +
                   " (" + number(model.kvHeads) + " KV) of " +
                   number(model.headDim) + ", ffn " + number(model.ffn) +
                   ", vocabulary " + number(model.vocab));
  row("context", number(model.context));
  row("numbers", "activations " + m.activations + ", KV cache " + m.kvCache);
  row("file", megabytes(fileBytes));
  row("weights", megabytes(m.weights.bytes) +
                     (m.weights.sidecar     ? " in " + *m.weights.sidecar
                      : m.weights.shapeOnly ? ", of which it has the shapes"
                                            : " in the file"));
  row("a token reads", describeReading(m));
  row("memory", "arena " + megabytes(m.steps.arenaBytes) + ", KV cache " +
                    megabytes(m.steps.cacheBytes) + " a sequence");
  row("steps",
      "decode " + number(m.steps.decodeTokens) + ", prefill " +
          number(m.steps.prefillTokens) + " tokens" +
          (m.steps.batchTokens > 1
               ? ", batch " + number(m.steps.batchTokens) + " sequences"
               : "") +
          (m.steps.batchFrom > 2
               ? ", fewer than " + number(m.steps.batchFrom) + " by decode"
               : ""));
  row("target", m.target.triple + ", " + m.target.cpu);
  std::string features, missing;
  for (const std::string &feature : m.target.features)
    features += " " + feature;
  for (const std::string &feature : missingFeatures(m.target.features))
    missing += " " + feature;
  row("needs", features.empty() ? "nothing special" : features.substr(1));
  if (!missing.empty())
    row("not here", missing.substr(1));
  printGeneration(m.generation);
  row("chat", m.chat.is_object() && m.chat.contains("format") &&
                      m.chat["format"].is_string()
                  ? m.chat["format"].get<std::string>()
                  : "none");
  row("made by", "tbq " + m.tbqVersion + ", LLVM " + m.llvmVersion + ", ABI " +
                     number(m.abi));
  if (m.record.is_object()) {
    std::string fields;
    for (const auto &item : m.record.items())
      fields += (fields.empty() ? "" : ", ") + item.key();
    row("record", fields + " (--json)");
  }
  printLayers(m, layers);
}

/// The weights' blocks against their hashes. A sidecar that is missing, cut or
/// another model's is the user's error, damage in it a failed verification.
static void verifyWeights(const MappedFile &file,
                          const ArtifactTrailer &trailer,
                          const Manifest &manifest) {
  const Manifest::Weights &weights = manifest.weights;
  const uint8_t *data = file.data() + trailer.weights.offset;
  uint64_t size = trailer.weights.size;
  std::optional<MappedFile> sidecar;
  if (weights.sidecar) {
    Result<MappedFile> mapped = mapSidecar(file.path(), weights);
    if (!mapped)
      failUser(mapped.error());
    if (Status checked = checkSidecar(*mapped, weights); !checked)
      failUser(checked.error());
    sidecar = std::move(*mapped);
    data = sidecar->data() + sidecarHeaderBytes;
    size = weights.bytes;
  }
  if (weights.shapeOnly)
    failUser(makeError(file.path(), "manifest.weights",
                       "are nowhere: there is nothing to verify"));
  if (weights.bytes != size ||
      weights.hashes != hashWeightBlocks(data, size, weights.hashBlock))
    throw ToolFailure{exitVerification,
                      makeError(sidecar ? sidecar->path() : file.path(),
                                "weights", "do not have the recorded hashes")
                          .message};
}

static ExitCode inspect(const Options &options) {
  Result<MappedFile> file = MappedFile::open(options.path);
  if (!file)
    failUser(file.error());
  Result<ArtifactTrailer> trailer =
      readTrailer(file->data(), file->size(), options.path);
  if (!trailer)
    failUser(trailer.error());
  if (Status hash = checkImageHash(*trailer, file->data(), options.path); !hash)
    failUser(hash.error());
  std::string_view text(reinterpret_cast<const char *>(file->data()) +
                            trailer->manifest.offset,
                        trailer->manifest.size);
  Result<Manifest> manifest = parseManifest(text, options.path);
  if (!manifest)
    failUser(manifest.error());
  if (options.verify)
    verifyWeights(*file, *trailer, *manifest);
  if (options.json)
    std::printf("%s\n", toJson(*manifest).dump(2).c_str());
  else
    printSummary(*manifest, file->size(), options.layers);
  return exitOk;
}

int main(int argc, char **argv) {
  CLI::App app("Shows what a compiled model is made of.", "tbq-inspect");
  Options options;
  app.add_option("model,-m,--model", options.path, "The artifact, model.so")
      ->required();
  app.add_flag("--json", options.json, "Print the manifest as JSON");
  app.add_flag("--layers", options.layers, "List every layer");
  app.add_flag("--verify", options.verify,
               "Compare the weights with their hashes; exit 3 if they differ");
  return runTool(app, argc, argv, [&] { return inspect(options); });
}
