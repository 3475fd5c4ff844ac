// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model.so, opened: judged first (trailer, ELF header, hash, manifest, ABI,
// CPU, sidecar), then loaded, then compared with what its code says of itself.
// Invariant: no code of the file runs before all checks on its bytes passed;
// a Model's table and manifest agree.
#ifndef TBQ_RUNTIME_MODEL_H
#define TBQ_RUNTIME_MODEL_H

#include "format/ChatFormat.h"
#include "format/Manifest.h"
#include "format/MappedFile.h"
#include "format/StepAbi.h"
#include "runtime/Outcome.h"
#include "runtime/Tokenizer.h"
#include "runtime/ZeroPages.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace tbq {

/// The shared object in this process; one for all Models of the same file.
struct LoadedObject;

class Model;

struct ModelOptions {
  bool verifyWeights = false;
  /// Of an artifact of the shapes alone, and of no other: its weights are made
  /// up (RandomWeights.h).
  bool randomWeights = false;
  /// With made-up weights: whose memory they share, if it has as many. The same
  /// pages are as fast.
  std::shared_ptr<const Model> weightsOf = nullptr;
  /// The weights are copied into huge pages of this process; those of a GPU's
  /// steps are not, and made-up ones are there anyway.
  bool hugePages = false;
};

class Model {
public:
  static Outcome open(const std::string &path, const ModelOptions &options,
                      std::shared_ptr<const Model> &model);

  const std::string &path() const { return name; }
  const tbq_model_table &table() const { return *entries; }
  const Manifest &manifest() const { return description; }
  std::string_view manifestJson() const {
    return {entries->manifest, entries->manifest_bytes};
  }
  /// manifest().weights.bytes, on a page: the artifact's or the sidecar's.
  const uint8_t *weights() const { return weightBytes; }
  /// Whether its steps run on a GPU.
  bool onDevice() const { return description.target.device.has_value(); }
  int64_t vocab() const { return description.model.vocab; }
  int64_t context() const { return description.model.context; }
  bool isEnd(int32_t token) const;
  /// The token a text starts with: the generation config's, else the
  /// tokenizer's.
  std::optional<int32_t> firstToken() const;
  /// Null if the artifact has none.
  const Tokenizer *tokenizer() const { return text ? &*text : nullptr; }
  const ChatFormat *chat() const {
    return conversation ? &*conversation : nullptr;
  }

  /// Compares every block of the mapped weights with the manifest's hashes.
  Outcome verifyWeights() const;

private:
  Model(std::string path, Manifest manifest,
        std::shared_ptr<LoadedObject> object, std::optional<MappedFile> sidecar,
        std::shared_ptr<const ZeroPages> random);
  Outcome openText();
  Outcome copyWeights();
  static Outcome makeWeights(const std::string &path, const Manifest &manifest,
                             const ModelOptions &options,
                             std::shared_ptr<const ZeroPages> &pages);

  std::string name;
  Manifest description;
  std::shared_ptr<LoadedObject> object;
  const tbq_model_table *entries;
  std::optional<MappedFile> sidecar;       // nothing: the weights are not there
  std::shared_ptr<const ZeroPages> random; // the weights, if made up
  ZeroPages copied;                        // or, if asked for, a copy of them
  const uint8_t *weightBytes;
  std::optional<Tokenizer> text; // borrows the object's tables
  std::optional<ChatFormat> conversation;
};

} // namespace tbq

#endif // TBQ_RUNTIME_MODEL_H
