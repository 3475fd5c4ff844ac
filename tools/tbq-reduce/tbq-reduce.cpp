// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Shrinks a module that makes a pipeline fail to a small one that still does.

#include "tbq/Pipelines.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/Tools/mlir-reduce/MlirReduceMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::tbq::registerAll(registry);
  mlir::MLIRContext context(registry);
  return mlir::failed(mlir::mlirReduceMain(argc, argv, context));
}
