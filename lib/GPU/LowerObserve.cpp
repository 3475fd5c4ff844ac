// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq.observe on a GPU: a call of one function. If the host has a window open
// (format/DeviceAbi.h), the first block copies the value there, as much as fits
// at a time, and waits until the host has seen it.
// Invariant: all threads of a block call; the others wait at the next barrier.

#include "LowerTeam.h"

#include "format/DeviceAbi.h"
#include "tbq/Target/Team.h"

using namespace mlir;
using namespace mlir::tbq;

static constexpr const char *kObserveName = "tbq_observe_value";
/// Bytes that a thread copies at a time: every value is made of them.
static constexpr int64_t kWordBytes = 4;

/// Bytes of `rows` rows; of a cache, all.
static Value getValueBytes(ThreadBuilder &t, ObserveOp op, int64_t stride) {
  auto type = cast<MemRefType>(op.getBuffer().getType());
  int64_t element = type.getElementTypeBitWidth() / 8;
  if (type.getRank() == 1 && element == 1)
    return t.index(type.getNumElements());
  return t.mul(op.getRows(), stride * element);
}

void mlir::tbq::lowerObserve(ThreadBuilder &t, ObserveOp op) {
  auto type = cast<MemRefType>(op.getBuffer().getType());
  int64_t stride = type.getRank() == 1 ? 1 : type.getShape().back();
  Value address = memref::ExtractAlignedPointerAsIndexOp::create(
      t.b, t.loc, op.getBuffer());
  func::CallOp::create(t.b, t.loc, kObserveName, TypeRange(),
                       ValueRange{op.getTeam(), t.index(op.getNumber()),
                                  op.getLayer(), t.index(op.getValue()),
                                  op.getRows(), t.index(stride),
                                  getValueBytes(t, op, stride), address});
  op.erase();
}

namespace {
/// The function: what it is called with, in the order of its parameters.
struct Observe {
  ThreadBuilder &t;
  Value team, operation, layer, value, rows, stride, bytes, data;
  Value window;

  Value toI64(Value index) {
    return arith::IndexCastOp::create(t.b, t.loc, t.b.getI64Type(), index);
  }
  Value toPointer(Value index) {
    return LLVM::IntToPtrOp::create(
        t.b, t.loc, LLVM::LLVMPointerType::get(t.b.getContext()), toI64(index));
  }
  Value at(int64_t offset) {
    return getFieldAddress(t.b, t.loc, window, offset);
  }

  /// The threads copy `size` bytes from `offset` on.
  void copyPart(Value offset, Value size) {
    Value from = t.add(data, offset);
    Value part = arith::IndexCastOp::create(
        t.b, t.loc, t.b.getIndexType(),
        LLVM::PtrToIntOp::create(t.b, t.loc, t.b.getI64Type(),
                                 at(offsetof(tbq_device_window, part))));
    t.loop(t.mul(t.thread(), kWordBytes), size, t.index(kThreads * kWordBytes),
           [&](Value i) {
             Value word = LLVM::LoadOp::create(t.b, t.loc, t.b.getI32Type(),
                                               toPointer(t.add(from, i)));
             LLVM::StoreOp::create(t.b, t.loc, word, toPointer(t.add(part, i)));
           });
  }

  /// Tells the host what is in its window, and waits until it has seen it.
  void show(Value offset) {
    const std::pair<int64_t, Value> fields[] = {
        {offsetof(tbq_device_window, operation), operation},
        {offsetof(tbq_device_window, layer), layer},
        {offsetof(tbq_device_window, value), value},
        {offsetof(tbq_device_window, rows), rows},
        {offsetof(tbq_device_window, stride), stride},
        {offsetof(tbq_device_window, bytes), bytes},
        {offsetof(tbq_device_window, offset), offset}};
    for (auto [field, number] : fields)
      LLVM::StoreOp::create(t.b, t.loc, toI64(number), at(field));
    // What the block's other threads wrote goes before it.
    LLVM::FenceOp::create(t.b, t.loc, LLVM::AtomicOrdering::acq_rel);
    Value shown = at(offsetof(tbq_device_window, shown));
    Value number =
        t.add(loadCounter(t.b, t.loc, shown, LLVM::AtomicOrdering::monotonic),
              t.constantI32(1));
    storeCounter(t.b, t.loc, number, shown, LLVM::AtomicOrdering::release);
    scf::WhileOp::create(
        t.b, t.loc, TypeRange(), ValueRange(),
        [&](OpBuilder &b, Location loc, ValueRange) {
          Value address = getFieldAddress(b, loc, window,
                                          offsetof(tbq_device_window, seen));
          Value seen =
              loadCounter(b, loc, address, LLVM::AtomicOrdering::acquire);
          Value waits = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ne,
                                              seen, number);
          scf::ConditionOp::create(b, loc, waits, ValueRange());
        },
        [&](OpBuilder &b, Location loc, ValueRange) {
          scf::YieldOp::create(b, loc);
        });
  }

  void run() {
    auto pointer = LLVM::LLVMPointerType::get(t.b.getContext());
    window = LLVM::LoadOp::create(
        t.b, t.loc, pointer,
        getFieldAddress(t.b, t.loc, team,
                        offsetof(tbq_device_barrier, window)));
    Value open =
        LLVM::ICmpOp::create(t.b, t.loc, LLVM::ICmpPredicate::ne, window,
                             LLVM::ZeroOp::create(t.b, t.loc, pointer));
    Value block = NVVM::BlockIdXOp::create(t.b, t.loc, t.b.getI32Type());
    Value first = arith::CmpIOp::create(t.b, t.loc, arith::CmpIPredicate::eq,
                                        block, t.constantI32(0));
    t.ifThen(t.both(open, first), [&] {
      t.loop(t.index(0), bytes, t.index(TBQ_DEVICE_WINDOW), [&](Value offset) {
        copyPart(offset,
                 t.min(t.index(TBQ_DEVICE_WINDOW), t.sub(bytes, offset)));
        t.synchronize();
        t.ifThen(t.equal(t.thread(), 0), [&] { show(offset); });
        t.synchronize();
      });
    });
  }
};
} // namespace

void mlir::tbq::buildWindowObserve(ModuleOp module) {
  WalkResult calls = module.walk([](func::CallOp call) {
    return call.getCallee() == kObserveName ? WalkResult::interrupt()
                                            : WalkResult::advance();
  });
  if (!calls.wasInterrupted())
    return;
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  SmallVector<Type> types(8, b.getIndexType());
  types[0] = LLVM::LLVMPointerType::get(b.getContext());
  auto function = func::FuncOp::create(b, module.getLoc(), kObserveName,
                                       b.getFunctionType(types, {}));
  function.setPrivate();
  Block *entry = function.addEntryBlock();
  b.setInsertionPointToStart(entry);
  ThreadBuilder t(b, module.getLoc());
  auto a = entry->getArguments();
  Observe{t, a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], Value()}.run();
  func::ReturnOp::create(b, module.getLoc());
}
