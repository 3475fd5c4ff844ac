// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See RowExchange.h.

#include "RowExchange.h"

using namespace mlir;
using namespace mlir::tbq;

/// Floats of a thread, up to which each is looked at.
static constexpr size_t kFew = 8;
/// Bytes that a thread makes empty at a time.
static constexpr int64_t kEmptyBytes = 16;

/// Nothing may be known of what other blocks store: each access is one, and
/// goes past what a processor holds of the memory.
static Value loadVolatile(ThreadBuilder &t, Type type, Value pointer) {
  return LLVM::LoadOp::create(t.b, t.loc, type, pointer, kEmptyBytes,
                              /*isVolatile=*/true);
}
static void storeVolatile(ThreadBuilder &t, Value value, Value pointer,
                          int64_t alignment) {
  LLVM::StoreOp::create(t.b, t.loc, value, pointer, alignment,
                        /*isVolatile=*/true);
}

/// Float `at` of what begins `first` bytes into the arena. What is known now is
/// added last: it becomes a part of the instruction, else of an address that is
/// held through all layers.
static Value getPointer(ThreadBuilder &t, Value arena, Value at,
                        int64_t first) {
  auto toI64 = [&](Value index) -> Value {
    return arith::IndexCastOp::create(t.b, t.loc, t.b.getI64Type(), index);
  };
  auto pointer = LLVM::LLVMPointerType::get(t.b.getContext());
  auto add = [&](Value base, Type type, LLVM::GEPArg count) -> Value {
    return LLVM::GEPOp::create(t.b, t.loc, pointer, type, base, count);
  };
  Value base = LLVM::IntToPtrOp::create(t.b, t.loc, pointer,
                                        toI64(t.getAddress(arena, t.index(0))));
  return add(add(base, t.b.getF32Type(), toI64(at)), t.b.getI8Type(),
             int32_t(first));
}

/// How many floats further a layer's place is, where its turn is odd.
static Value getTurn(ThreadBuilder &t, Value layer, int64_t bytes) {
  return t.mul(t.rem(layer, 2), bytes / 4);
}

std::optional<RowExchange> RowExchange::get(ThreadBuilder &t, Operation *op,
                                            Value row) {
  auto place = op->getAttrOfType<DenseI64ArrayAttr>(kExchange);
  if (!place)
    return std::nullopt;
  auto view = row.getDefiningOp<memref::ViewOp>();
  auto arena = cast<BlockArgument>(view.getSource());
  Value turn;
  if (int64_t bytes = place[1]) {
    Value layer = arena.getOwner()->getArgument(kLayerArgument);
    turn = getTurn(t, t.add(layer, place[2]), bytes);
  }
  return RowExchange(t, arena, place[0], turn);
}

Value RowExchange::getPointer(Value column) {
  return ::getPointer(t, arena, turn ? t.add(column, turn) : column, first);
}

Value RowExchange::loadFour(Value column) {
  auto type = VectorType::get({4}, t.b.getF32Type());
  return loadVolatile(t, type, getPointer(column));
}

void RowExchange::store(Value x, Value column) {
  // A NaN of these bits can only come from a weight.
  Value bits = t.bitcast(x, t.b.getI32Type());
  bits = t.select(t.same(bits, t.constantI32(kEmpty)),
                  t.constantI32(0x7fffffff), bits);
  storeVolatile(t, bits, getPointer(column), 4);
}

/// Whether all that read a row which `op` writes find it in its place.
static bool isExchangedOnly(Operation *op, Value row) {
  return llvm::all_of(row.getUsers(), [&](Operation *user) {
    return user == op ||
           (user->hasAttr(kExchange) && user->getOperand(0) == row);
  });
}

void mlir::tbq::storeOfRow(ThreadBuilder &t, Operation *op, Value x, Value row,
                           ValueRange at) {
  auto exchange = RowExchange::get(t, op, row);
  if (!exchange || op->hasAttr(kCarried) || !isExchangedOnly(op, row))
    t.store(x, row, at);
  if (exchange)
    exchange->store(x, at.back());
}

/// Whether any is kEmpty.
static Value isAnyEmpty(ThreadBuilder &t, ValueRange elements) {
  Value any;
  for (Value x : elements) {
    Value is = t.same(t.bitcast(x, t.b.getI32Type()), t.constantI32(kEmpty));
    any = any ? arith::OrIOp::create(t.b, t.loc, any, is).getResult() : is;
  }
  return any;
}

std::pair<SmallVector<Value>, Value>
mlir::tbq::waitUntilFull(ThreadBuilder &t, ArrayRef<Value> loaded,
                         llvm::function_ref<SmallVector<Value>(int64_t)> load,
                         llvm::function_ref<Value(ArrayRef<Value>)> getPart) {
  constexpr int64_t kFour = 4;
  auto loadMissing = [&](ValueRange seen) {
    SmallVector<Value> next;
    for (size_t from = 0; from < seen.size(); from += kFour) {
      ValueRange four = seen.slice(from, kFour);
      size_t i = 0;
      next.append(t.ifElse(
          isAnyEmpty(t, four), [&] { return load(from / kFour); },
          [&](Type) { return four[i++]; }));
    }
    return next;
  };
  auto inLoop = [&](OpBuilder &inner, llvm::function_ref<void()> body) {
    OpBuilder::InsertionGuard guard(t.b);
    t.b.setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
    body();
  };
  auto isMissing = [&](ValueRange seen, Value part) -> Value {
    auto look = [&] { return t.inAnyLane(isAnyEmpty(t, seen)); };
    if (seen.size() <= kFew)
      return look();
    // One look at the part in place of one at each.
    return t.ifElse(
        t.inAnyLane(t.isNaN(part)), [&] { return SmallVector<Value>{look()}; },
        [&](Type type) -> Value {
          return arith::ConstantOp::create(t.b, t.loc,
                                           t.b.getIntegerAttr(type, 0));
        })[0];
  };
  SmallVector<Type> types(ValueRange(loaded).getTypes());
  types.push_back(t.b.getF32Type());
  auto loop = scf::WhileOp::create(
      t.b, t.loc, types, loaded,
      [&](OpBuilder &inner, Location, ValueRange seen) {
        inLoop(inner, [&] {
          SmallVector<Value> all(seen);
          all.push_back(getPart(all));
          scf::ConditionOp::create(t.b, t.loc, isMissing(seen, all.back()),
                                   all);
        });
      },
      [&](OpBuilder &inner, Location, ValueRange seen) {
        inLoop(inner, [&] {
          scf::YieldOp::create(t.b, t.loc, loadMissing(seen.drop_back()));
        });
      });
  return {SmallVector<Value>(loop.getResults().drop_back()),
          loop.getResults().back()};
}

void mlir::tbq::storeEmpties(BarrierOp op) {
  auto places = op->getAttrOfType<DenseI64ArrayAttr>(kEmpties);
  if (!places)
    return;
  OpBuilder b(op);
  ThreadBuilder t(b, op.getLoc());
  t.renewThread();
  Block *block = op->getBlock();
  Value turn = getTurn(t, block->getArgument(kLayerArgument), places[2]);
  auto type = VectorType::get({kEmptyBytes / 4}, b.getI32Type());
  Value empty = arith::ConstantOp::create(
      b, t.loc, SplatElementsAttr::get(cast<ShapedType>(type), kEmpty));
  Type index = b.getIndexType();
  Value worker = WorkerOp::create(b, t.loc, index, op.getTeam());
  // Hidden, or what is made of it would be held through all layers.
  Value workers = t.toIndex(
      t.hideNumber(t.toI32(WorkersOp::create(b, t.loc, index, op.getTeam()))));
  // Threads of a block in turn with all blocks, so that each has as much.
  Value begin = t.add(t.mul(t.thread(), workers), worker);
  t.loop(begin, t.index(places[1] / kEmptyBytes), t.mul(workers, kThreads),
         [&](Value number) {
           Value at = t.add(t.mul(number, kEmptyBytes / 4), turn);
           Value arena = block->getArgument(kArenaArgument);
           storeVolatile(t, empty, ::getPointer(t, arena, at, places[0]),
                         kEmptyBytes);
         });
}
