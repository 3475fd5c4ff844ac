// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The model that an artifact was compiled from, built again: its graph, and the
// packed form whose ops its step runs one after the other.
#ifndef TBQ_VERIFY_REFERENCEMODEL_H
#define TBQ_VERIFY_REFERENCEMODEL_H

#include "format/Manifest.h"
#include "tbq/Checkpoint.h"
#include "tbq/Verify.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"

#include <memory>

namespace mlir::tbq {

struct ReferenceModel {
  std::optional<::tbq::Checkpoint> checkpoint;
  std::unique_ptr<MLIRContext> context;
  OwningOpRef<ModuleOp> graph, packed;

  static ::tbq::Result<ReferenceModel> build(const VerifyOptions &options,
                                             const ::tbq::Manifest &manifest);
};

} // namespace mlir::tbq

#endif // TBQ_VERIFY_REFERENCEMODEL_H
