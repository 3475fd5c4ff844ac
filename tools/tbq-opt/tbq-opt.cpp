// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// mlir-opt with the tbq dialect, its passes and the stage pipelines.

#include "tbq/Pipelines.h"

#include "mlir/Tools/mlir-opt/MlirOptMain.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::tbq::registerAll(registry);
  return mlir::asMainReturnCode(mlir::MlirOptMain(
      argc, argv, "TBQ: passes and stages of the compiler\n", registry));
}
