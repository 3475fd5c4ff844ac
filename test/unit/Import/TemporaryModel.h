// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A model directory made by a test: a valid llama of a few hundred weights,
// which the test then bends or breaks. Removed with the object.
#ifndef TBQ_TEST_UNIT_IMPORT_TEMPORARYMODEL_H
#define TBQ_TEST_UNIT_IMPORT_TEMPORARYMODEL_H

#include "format/Json.h"
#include "tbq/Checkpoint.h"

#include <gtest/gtest.h>
#include <map>
#include <string>
#include <vector>

namespace tbq {

struct TestTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::string bytes;
};

using TestTensors = std::map<std::string, TestTensor>;

/// 8 bytes of length, the header as given, then the data.
std::string safetensorsBytes(const std::string &header,
                             const std::string &data);
/// A valid file of these tensors.
std::string safetensorsBytes(const TestTensors &tensors);

/// Little-endian F32 0, step, 2 step ...
TestTensor floatTensor(std::vector<int64_t> shape, float step = 1.0f);
/// The same pattern of F16 in every element.
TestTensor halfTensor(std::vector<int64_t> shape, uint16_t pattern);
TestTensor byteTensor(std::vector<int64_t> shape, uint8_t value);

class TemporaryModel {
public:
  TemporaryModel();
  ~TemporaryModel();
  TemporaryModel(const TemporaryModel &) = delete;

  const std::string &path() const { return directory; }
  void write(const std::string &name, const std::string &content) const;
  void remove(const std::string &name) const;

  /// Writes config.json and model.safetensors from the two members below.
  void writeAll() const;
  void writeConfig() const;

  /// Opens the directory; "" or the error message.
  std::string failure() const;

  nlohmann::json config; // hidden 8, 1 layer, 2 heads, 1 kv, ffn 12, vocab 16
  TestTensors tensors;   // all that config asks for, F32, untied

private:
  std::string directory;
};

/// Whether `message` is one line that starts with `file` and contains `part`.
testing::AssertionResult isErrorAbout(const std::string &message,
                                      const std::string &file,
                                      const std::string &part);

} // namespace tbq

#endif // TBQ_TEST_UNIT_IMPORT_TEMPORARYMODEL_H
