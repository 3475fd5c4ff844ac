// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-distribute: gives each op the worker's range of its units of work, and
// puts a barrier before an op where, since the last barrier, another worker may
// have touched bytes it touches and one of the two writes. The bytes come from
// the memory plan, so the analysis is exact to the buffer. A loop over layers
// is followed around its back edge, and into its function. What writes memory
// of the worker's own is computed whole by each.

#include "StepArguments.h"
#include "WorkerMemory.h"
#include "tbq/Passes.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_DISTRIBUTEPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

namespace {
/// How rows are divided: units a token, the bytes of a unit, and which count
/// of tokens. Ops that divide rows of one buffer in one way hand each piece of
/// a row from a worker to itself: setRange gives equal numbers of units the
/// same shares.
struct Partition {
  int64_t perToken = 0, unitBytes = 0; // perToken 0: not by rows
  unsigned count = 0;

  bool matches(const Partition &other) const {
    return perToken != 0 && *this == other;
  }
  bool operator==(const Partition &other) const {
    return perToken == other.perToken && unitBytes == other.unitBytes &&
           count == other.count;
  }
};

/// Bytes that an op touches in one of the step's memories.
struct Access {
  unsigned memory; // the argument's number, the same in every function
  int64_t begin, end;
  bool write;
  Partition partition;

  bool conflictsWith(const Access &other) const {
    if (memory != other.memory || begin >= other.end || other.begin >= end ||
        (!write && !other.write))
      return false;
    // Rows of different length that share bytes are not the same rows.
    return begin != other.begin || end != other.end ||
           !partition.matches(other.partition);
  }
  bool operator==(const Access &other) const {
    return memory == other.memory && begin == other.begin && end == other.end &&
           write == other.write && partition == other.partition;
  }
};

/// What has been touched since the last barrier.
using Pending = SmallVector<Access>;
} // namespace

static void merge(Pending &into, const Pending &from) {
  for (const Access &access : from)
    if (!llvm::is_contained(into, access))
      into.push_back(access);
}

static Access getAccess(Value buffer, bool write, Partition partition) {
  auto type = cast<MemRefType>(buffer.getType());
  int64_t begin = 0;
  if (auto view = buffer.getDefiningOp<memref::ViewOp>()) {
    begin = *getConstantIntValue(view.getByteShift());
    buffer = view.getSource();
  }
  int64_t elementBytes = llvm::divideCeil(type.getElementTypeBitWidth(), 8);
  int64_t bytes = type.getNumElements() * elementBytes;
  partition.unitBytes *= elementBytes;
  return {cast<BlockArgument>(buffer).getArgNumber(), begin, begin + bytes,
          write, partition};
}

/// How the op's units divide the rows of an operand among workers.
static Partition getPartition(StepOp op, Value rows) {
  // All units read all of it.
  if (isOfEveryWorker(op))
    return {};
  // Workers that divide its keys read all heads, and each other's sums.
  if (isa<AttentionOp>(op) && op.getInto().size() == 2 &&
      rows != op.getInto().front())
    return {};
  // A linear divides what it writes, and the residual it adds to that, into
  // tiles of columns; each reads all of its input. With one row that is how ops
  // divide it whose units are as many vectors of as many columns. Without a
  // token they have no units, and touch nothing.
  const bool oneRow = cast<MemRefType>(rows.getType()).getDimSize(0) == 1;
  if (int64_t units = op.getFixedUnits()) {
    const bool isDivided =
        llvm::is_contained(op.getInto(), rows) || op.mayOverwrite(rows);
    return oneRow && isDivided ? Partition{units, op.getUnitColumns(), kCount}
                               : Partition{};
  }
  if (oneRow)
    return {op.getUnitsPerToken(), op.getUnitColumns(), kCount};
  auto count = dyn_cast<BlockArgument>(op.getCountMutable()[0].get());
  if (!count)
    return {};
  return {op.getUnitsPerToken(), op.getUnitColumns(), count.getArgNumber()};
}

static Pending getAccesses(StepOp op) {
  Pending accesses;
  for (OpOperand &operand : op->getOpOperands()) {
    auto type = dyn_cast<MemRefType>(operand.get().getType());
    if (!type || isWorkerBuffer(operand.get()))
      continue;
    // The cache is read across tokens, whoever wrote them in this step.
    const bool isCache = operand.get() == op.getCacheMemory();
    if (isCache && op.readsEarlierCache())
      continue;
    if (isCache)
      accesses.push_back(getAccess(operand.get(), op.writesCache(), {}));
    else
      accesses.push_back(getAccess(
          operand.get(), llvm::is_contained(op.getInto(), operand.get()),
          getPartition(op, operand.get())));
  }
  return accesses;
}

/// Follows `block` from what is pending before it; collects the ops that need
/// a barrier and leaves what is pending after it.
static void analyze(Block &block, Pending &pending,
                    SetVector<Operation *> &barriers) {
  for (Operation &op : block) {
    if (auto step = dyn_cast<StepOp>(op)) {
      Pending accesses = getAccesses(step);
      bool conflict = llvm::any_of(accesses, [&](const Access &access) {
        return llvm::any_of(pending, [&](const Access &other) {
          return access.conflictsWith(other);
        });
      });
      if (conflict) {
        barriers.insert(&op);
        pending.clear();
      }
      merge(pending, accesses);
    } else if (auto loop = dyn_cast<scf::ForOp>(op)) {
      // What one iteration leaves pending, the next one finds.
      size_t before;
      do {
        before = pending.size();
        Pending after = pending;
        analyze(*loop.getBody(), after, barriers);
        merge(pending, after);
      } while (pending.size() != before);
    } else if (auto call = dyn_cast<func::CallOp>(op)) {
      auto callee = op.getParentOfType<ModuleOp>().lookupSymbol<func::FuncOp>(
          call.getCallee());
      analyze(callee.getBody().front(), pending, barriers);
    }
  }
}

/// units * worker / workers up to units * (worker + 1) / workers; of what every
/// worker computes, all units.
static void setRange(StepOp op, Value worker, Value workers, Value next) {
  OpBuilder b(op);
  Location loc = op->getLoc();
  Value units;
  if (int64_t perToken = op.getUnitsPerToken())
    units =
        arith::MulIOp::create(b, loc, op.getCountMutable()[0].get(),
                              arith::ConstantIndexOp::create(b, loc, perToken));
  else
    units = arith::ConstantIndexOp::create(b, loc, op.getFixedUnits());
  if (isOfEveryWorker(op)) {
    Value range[] = {arith::ConstantIndexOp::create(b, loc, 0), units};
    op.getRangeMutable().append(ValueRange(range));
    return;
  }
  auto share = [&](Value number) -> Value {
    Value product = arith::MulIOp::create(b, loc, units, number);
    return arith::DivUIOp::create(b, loc, product, workers);
  };
  Value range[] = {share(worker), share(next)};
  op.getRangeMutable().append(ValueRange(range));
}

namespace {
struct DistributePass : tbq::impl::DistributePassBase<DistributePass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SetVector<Operation *> barriers;
    FailureOr<SmallVector<func::FuncOp>> entries = getEntries(module);
    if (failed(entries))
      return signalPassFailure();
    for (func::FuncOp entry : *entries) {
      Pending pending;
      analyze(entry.getBody().front(), pending, barriers);
    }
    for (auto function : module.getOps<func::FuncOp>()) {
      OpBuilder b = OpBuilder::atBlockBegin(&function.getBody().front());
      Location loc = function.getLoc();
      Value team = function.getArgument(kTeam);
      Value worker = WorkerOp::create(b, loc, b.getIndexType(), team);
      Value workers = WorkersOp::create(b, loc, b.getIndexType(), team);
      Value next = arith::AddIOp::create(
          b, loc, worker, arith::ConstantIndexOp::create(b, loc, 1));
      function.walk([&](StepOp op) {
        setRange(op, worker, workers, next);
        if (barriers.contains(op)) {
          b.setInsertionPoint(op);
          BarrierOp::create(b, op->getLoc(), team);
        }
      });
    }
  }
};
} // namespace
