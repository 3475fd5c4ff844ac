// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Constructors and options of all passes, generated from Passes.td.
#ifndef TBQ_PASSES_H
#define TBQ_PASSES_H

#include "mlir/Dialect/AMX/AMXDialect.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/Pass/Pass.h"
#include "tbq/IR/Tbq.h"
#include "tbq/Tuning.h"

namespace mlir::tbq {
#define GEN_PASS_DECL
#include "tbq/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

#endif // TBQ_PASSES_H
