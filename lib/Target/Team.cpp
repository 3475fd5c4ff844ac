// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See Team.h.

#include "tbq/Target/Team.h"

using namespace mlir;
using namespace mlir::tbq;

static constexpr const char *kBarrierName = "tbq_barrier_wait";
static constexpr unsigned kCounterBytes = 4;

void mlir::tbq::convertTeamToPointer(func::FuncOp function) {
  auto pointer = LLVM::LLVMPointerType::get(function.getContext());
  for (BlockArgument argument : function.getArguments())
    if (isa<TeamType>(argument.getType()))
      argument.setType(pointer);
  function.setType(FunctionType::get(function.getContext(),
                                     function.getBody().getArgumentTypes(),
                                     function.getResultTypes()));
}

LLVM::LLVMFuncOp mlir::tbq::createBarrier(ModuleOp module,
                                          ArrayRef<Type> more) {
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  SmallVector<Type> types = {LLVM::LLVMPointerType::get(b.getContext())};
  types.append(more.begin(), more.end());
  auto type = LLVM::LLVMFunctionType::get(
      LLVM::LLVMVoidType::get(b.getContext()), types);
  return LLVM::LLVMFuncOp::create(b, module.getLoc(), kBarrierName, type,
                                  LLVM::Linkage::Internal);
}

void mlir::tbq::lowerBarrier(BarrierOp op, ValueRange more) {
  OpBuilder b(op);
  SmallVector<Value> arguments = {op.getTeam()};
  arguments.append(more.begin(), more.end());
  LLVM::CallOp::create(b, op.getLoc(), TypeRange(), kBarrierName, arguments);
  op.erase();
}

Value mlir::tbq::getFieldAddress(OpBuilder &b, Location loc, Value base,
                                 int64_t offset) {
  return LLVM::GEPOp::create(b, loc, LLVM::LLVMPointerType::get(b.getContext()),
                             b.getI8Type(), base,
                             ArrayRef<LLVM::GEPArg>{int32_t(offset)});
}

Value mlir::tbq::loadCounter(OpBuilder &b, Location loc, Value address,
                             LLVM::AtomicOrdering ordering, StringRef scope) {
  return LLVM::LoadOp::create(b, loc, b.getI32Type(), address, kCounterBytes,
                              /*isVolatile=*/false, /*isNonTemporal=*/false,
                              /*isInvariant=*/false, /*isInvariantGroup=*/false,
                              ordering, scope);
}

void mlir::tbq::storeCounter(OpBuilder &b, Location loc, Value value,
                             Value address, LLVM::AtomicOrdering ordering,
                             StringRef scope) {
  LLVM::StoreOp::create(b, loc, value, address, kCounterBytes,
                        /*isVolatile=*/false, /*isNonTemporal=*/false,
                        /*isInvariantGroup=*/false, ordering, scope);
}
