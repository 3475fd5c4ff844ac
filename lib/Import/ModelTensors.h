// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The tensors of a model, part by part, all checked.
#ifndef TBQ_IMPORT_MODELTENSORS_H
#define TBQ_IMPORT_MODELTENSORS_H

#include "tbq/Checkpoint.h"

#include "llvm/ADT/StringMap.h"

namespace mlir::tbq {

class ModelTensors {
public:
  /// Finds every tensor that the config asks for and checks type and shape, and
  /// that the groups of what is quantised are ones that can be packed.
  static ::tbq::Result<ModelTensors>
  collect(const ::tbq::Checkpoint &checkpoint);

  ::tbq::LinearTensors embedding;
  ::tbq::LinearTensors head; // the embedding's tensors if tied

  /// By whole names of the config's parts: asking for another is a mistake.
  const ::tbq::LinearTensors &linear(StringRef name) const {
    return linears.at(name);
  }
  const ::tbq::TensorView &vector(StringRef name) const {
    return *vectors.at(name);
  }

private:
  ::tbq::Status readParts(const ::tbq::Checkpoint &checkpoint,
                          const std::string &prefix,
                          ArrayRef<::tbq::ModelParts::Linear> linearParts,
                          ArrayRef<::tbq::ModelParts::Vector> vectorParts);

  llvm::StringMap<::tbq::LinearTensors> linears;
  llvm::StringMap<const ::tbq::TensorView *> vectors;
};

/// The path of its config.json, for messages.
std::string configFile(const ::tbq::Checkpoint &checkpoint);

} // namespace mlir::tbq

#endif // TBQ_IMPORT_MODELTENSORS_H
