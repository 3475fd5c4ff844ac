// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Makes artifacts of the test double: fills in manifest and weights, lets the
// test damage what it likes, seals the file.
// Invariant: without edits the artifact opens.
#ifndef TBQ_TEST_UNIT_RUNTIME_FAKEARTIFACT_H
#define TBQ_TEST_UNIT_RUNTIME_FAKEARTIFACT_H

#include "TestDouble.h"
#include "format/Elf.h"
#include "format/Manifest.h"
#include "runtime/Model.h"

#include <functional>
#include <string>
#include <vector>

namespace tbq::test {

struct FakeArtifact {
  std::function<void(Manifest &)> editManifest;
  std::function<void(tbq_model_table &)> editTable;
  /// After all else, before sealing.
  std::function<void(std::vector<uint8_t> &)> editImage;
  std::vector<uint8_t> tokenizer; // tables; empty: the model has none
  uint8_t weightsSeed = 1; // the first byte of the weights, seen in all logits
  bool missingBarrier = false;
  bool sidecar = false; // the weights lie in NAME.weights

  /// Writes the artifact and returns its path, in a folder of this process.
  std::string write(const std::string &name) const;
};

/// The manifest of the artifact without edits.
Manifest fakeManifest();

/// A path for `name` in a folder that this process removes at its end.
std::string temporaryPath(const std::string &name);

std::vector<uint8_t> readBytes(const std::string &path);
void writeBytes(const std::string &path, const std::vector<uint8_t> &bytes);

/// Opens what must open.
std::shared_ptr<const Model> openGood(const std::string &path);

/// The row of logits that follows these tokens.
std::vector<float> expectedLogits(const std::vector<int32_t> &tokens,
                                  uint8_t weightsSeed = 1);

} // namespace tbq::test

#endif // TBQ_TEST_UNIT_RUNTIME_FAKEARTIFACT_H
