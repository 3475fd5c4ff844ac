// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Liveness and offsets of one function's tensors; see ArenaPlan.h.

#include "ArenaPlan.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

MemRefType mlir::tbq::getBufferType(RankedTensorType tensor) {
  int64_t tokens = tensor.getDimSize(0);
  int64_t rows = llvm::alignTo(tokens, getTokenTile(tokens));
  int64_t columns = llvm::alignTo(tensor.getDimSize(1), kLanes);
  return MemRefType::get({rows, columns}, tensor.getElementType());
}

int64_t mlir::tbq::getBufferBytes(MemRefType type) {
  return type.getNumElements() *
         llvm::divideCeil(type.getElementTypeBitWidth(), 8);
}

/// The residual stays in one buffer through all layers, so nothing may read it
/// as it was before them.
static LogicalResult checkLastUse(LayersOp op) {
  for (Operation *user : op.getInput().getUsers())
    if (op->isBeforeInBlock(user))
      return op.emitOpError("overwrites a residual that is used after it");
  return success();
}

FailureOr<ArenaPlan>
ArenaPlan::create(func::FuncOp function, const DenseSet<Value> &elsewhere,
                  llvm::function_ref<int64_t(LayersOp)> scratch) {
  ArenaPlan plan;
  int64_t index = 0;
  for (Operation &op : function.getBody().front()) {
    plan.touchOperands(op, index);
    if (auto layers = dyn_cast<LayersOp>(op)) {
      if (failed(checkLastUse(layers)))
        return failure();
      plan.scratchOf[layers] = plan.buffers.size();
      plan.buffers.push_back({scratch(layers), index, index});
      if (plan.bufferOf.contains(layers.getInput()))
        plan.bufferOf[layers.getResult()] =
            plan.bufferOf.lookup(layers.getInput());
    } else {
      for (Value result : op.getResults()) {
        if (isa<RankedTensorType>(result.getType()) &&
            !elsewhere.contains(result))
          plan.add(result, index);
      }
    }
    ++index;
  }
  // One token's buffers are small beside a chunk's: each has bytes of its own,
  // since bytes used again cost barriers.
  for (auto [value, number] : plan.bufferOf)
    if (cast<RankedTensorType>(value.getType()).getDimSize(0) == 1)
      plan.buffers[number].begin = 0, plan.buffers[number].end = index;
  plan.assignOffsets();
  return plan;
}

ArenaPlan ArenaPlan::createOwn(func::FuncOp function,
                               const DenseSet<Value> &tensors) {
  ArenaPlan plan;
  for (auto [index, op] : llvm::enumerate(function.getBody().front())) {
    plan.touchOperands(op, index);
    for (Value result : op.getResults())
      if (tensors.contains(result))
        plan.add(result, index);
  }
  for (Buffer &buffer : plan.buffers)
    buffer.bytes = llvm::alignTo(buffer.bytes, kRowEnd);
  plan.assignOffsets();
  return plan;
}

void ArenaPlan::touchOperands(Operation &op, int64_t index) {
  for (Value operand : op.getOperands()) {
    auto buffer = bufferOf.find(operand);
    if (buffer != bufferOf.end())
      buffers[buffer->second].end = index;
  }
}

/// The operand of a step of many tokens whose buffer the op's first result
/// takes over, or null: it is read here for the last time.
static Value getOverwritten(Value tensor) {
  auto op = dyn_cast<StepOp>(tensor.getDefiningOp());
  auto type = cast<RankedTensorType>(tensor.getType());
  if (!op || type.getDimSize(0) == 1 || tensor != op->getResult(0))
    return Value();
  for (Value operand : op->getOperands())
    if (operand.getType() == type && op.mayOverwrite(operand) &&
        llvm::none_of(operand.getUsers(), [&](Operation *user) {
          return op->isBeforeInBlock(user);
        }))
      return operand;
  return Value();
}

void ArenaPlan::add(Value tensor, int64_t index) {
  if (auto buffer = bufferOf.find(getOverwritten(tensor));
      buffer != bufferOf.end()) {
    int64_t number = buffer->second;
    bufferOf[tensor] = number;
    return;
  }
  auto type = cast<RankedTensorType>(tensor.getType());
  bufferOf[tensor] = buffers.size();
  buffers.push_back({getBufferBytes(getBufferType(type)), index, index});
}

void ArenaPlan::assignOffsets() {
  // Largest first, each at the lowest offset where nothing alive is met.
  SmallVector<Buffer *> order;
  for (Buffer &buffer : buffers)
    order.push_back(&buffer);
  llvm::stable_sort(order,
                    [](Buffer *a, Buffer *b) { return a->bytes > b->bytes; });
  SmallVector<Buffer *> placed;
  for (Buffer *buffer : order) {
    int64_t offset = 0;
    // `placed` is kept in the order of offsets: one sweep finds the first gap.
    for (Buffer *other : placed) {
      bool together =
          buffer->begin <= other->end && other->begin <= buffer->end;
      if (!together || other->offset + other->bytes <= offset)
        continue;
      if (offset + buffer->bytes <= other->offset)
        break;
      offset = llvm::alignTo(other->offset + other->bytes, kAlignment);
    }
    buffer->offset = offset;
    bytes = std::max<int64_t>(
        bytes, llvm::alignTo(offset + buffer->bytes, kAlignment));
    placed.insert(llvm::upper_bound(placed, buffer,
                                    [](Buffer *a, Buffer *b) {
                                      return a->offset < b->offset;
                                    }),
                  buffer);
  }
}
