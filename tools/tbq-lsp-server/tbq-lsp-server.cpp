// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The language server for .mlir files of the tbq dialect, for editors.

#include "tbq/Pipelines.h"

#include "mlir/Tools/mlir-lsp-server/MlirLspServerMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::tbq::registerAll(registry);
  return mlir::failed(mlir::MlirLspServerMain(argc, argv, registry));
}
