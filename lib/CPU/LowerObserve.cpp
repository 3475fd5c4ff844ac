// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq.observe on a CPU: a call of one function, which calls the team's observer
// from worker 0 if there is one (format/StepAbi.h).

#include "LowerTeam.h"

#include "format/StepAbi.h"

#include <cstddef>

using namespace mlir;
using namespace mlir::tbq;

static constexpr const char *kObserveName = "tbq_observe_value";

/// operation, layer, value, data, rows, stride.
static SmallVector<Type> getValueTypes(Builder &b) {
  Type i64 = b.getI64Type();
  return {i64, i64, i64, LLVM::LLVMPointerType::get(b.getContext()), i64, i64};
}

void mlir::tbq::lowerObserve(ObserveOp op) {
  OpBuilder b(op);
  Location loc = op.getLoc();
  Type i64 = b.getI64Type();
  auto number = [&](int64_t value) -> Value {
    return LLVM::ConstantOp::create(b, loc, i64, b.getI64IntegerAttr(value));
  };
  auto cast = [&](Value index) -> Value {
    return arith::IndexCastOp::create(b, loc, i64, index);
  };
  auto type = mlir::cast<MemRefType>(op.getBuffer().getType());
  Value address =
      memref::ExtractAlignedPointerAsIndexOp::create(b, loc, op.getBuffer());
  Value data = LLVM::IntToPtrOp::create(
      b, loc, LLVM::LLVMPointerType::get(b.getContext()), cast(address));
  Value stride = number(type.getRank() == 1 ? 1 : type.getShape().back());
  LLVM::CallOp::create(b, loc, TypeRange(), kObserveName,
                       ValueRange{op.getTeam(), number(op.getNumber()),
                                  cast(op.getLayer()), number(op.getValue()),
                                  data, cast(op.getRows()), stride});
  op.erase();
}

void mlir::tbq::buildObserve(ModuleOp module) {
  WalkResult calls = module.walk([](LLVM::CallOp call) {
    return call.getCallee() == StringRef(kObserveName) ? WalkResult::interrupt()
                                                       : WalkResult::advance();
  });
  if (!calls.wasInterrupted())
    return;
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  Location loc = module.getLoc();
  auto pointer = LLVM::LLVMPointerType::get(b.getContext());
  Type i64 = b.getI64Type();
  Type none = LLVM::LLVMVoidType::get(b.getContext());
  SmallVector<Type> types{pointer};
  types.append(getValueTypes(b));
  auto hookType = LLVM::LLVMFunctionType::get(none, types);
  // The team in place of the observer's context.
  auto function = LLVM::LLVMFuncOp::create(b, loc, kObserveName, hookType,
                                           LLVM::Linkage::Internal);
  Block *entry = function.addEntryBlock(b);
  Block *look = b.createBlock(&function.getBody(), function.getBody().end());
  Block *done = b.createBlock(&function.getBody(), function.getBody().end());
  Value team = entry->getArgument(0);

  b.setInsertionPointToEnd(entry);
  Value worker = loadField(b, loc, team, offsetof(tbq_team, worker), i64);
  Value hook = loadField(b, loc, team, offsetof(tbq_team, observe), pointer);
  Value isFirst = LLVM::ICmpOp::create(
      b, loc, LLVM::ICmpPredicate::eq, worker,
      LLVM::ConstantOp::create(b, loc, i64, b.getI64IntegerAttr(0)));
  Value asked = LLVM::ICmpOp::create(b, loc, LLVM::ICmpPredicate::ne, hook,
                                     LLVM::ZeroOp::create(b, loc, pointer));
  LLVM::CondBrOp::create(b, loc, LLVM::AndOp::create(b, loc, isFirst, asked),
                         look, done);

  b.setInsertionPointToEnd(look);
  SmallVector<Value> arguments{
      hook,
      loadField(b, loc, team, offsetof(tbq_team, observe_context), pointer)};
  llvm::append_range(arguments, entry->getArguments().drop_front());
  LLVM::CallOp::create(b, loc, hookType, arguments);
  LLVM::BrOp::create(b, loc, ValueRange(), done);

  b.setInsertionPointToEnd(done);
  LLVM::ReturnOp::create(b, loc, ValueRange());
}
