// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-exchange-rows: which rows of a decode step's layers go through barriers
// without a fence (RowExchange.h). One barrier of a layer keeps it, the one
// before attention: behind it lies in order all that was stored before, plain
// or not, so a place is empty for whoever looks before its row is there, if it
// was made empty before that barrier and is written behind it. A row that is
// read before it too (the residual, by the next layer's norm) has two places by
// turns, of which the other one is made empty. What is written behind that
// barrier and not exchanged may be read by the blocks that wrote it alone, or
// behind the next one. What a block has read it has used when it arrives, so
// nothing need order that with a later store.
// If a step has anything else, all its barriers keep their fences.

#include "RowExchange.h"

#include "format/DeviceAbi.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_EXCHANGEROWSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static constexpr const char *kArenaBytes = "tbq.arena_bytes";

namespace {
/// Bytes of the arena.
struct Bytes {
  int64_t begin = 0, end = 0;
  bool overlaps(const Bytes &other) const {
    return begin < other.end && other.begin < end;
  }
  bool operator==(const Bytes &other) const {
    return begin == other.begin && end == other.end;
  }
};

/// Which were written, by whom, in which layer and behind how many barriers.
struct Write {
  Bytes bytes;
  StepOp op;
  int64_t layer, phase;
};

/// A row that goes from ops of some phase to others behind a barrier.
struct Row {
  Bytes bytes;
  SetVector<Operation *> writers, readers;
};

/// A function of layers, and the rows that stay in one of them.
struct Layer {
  func::FuncOp function;
  SmallVector<BarrierOp> barriers;
  BarrierOp fenced; // which of them keeps its fence
  SmallVector<Row> rows;
};

/// The layers of a decode step, with what stands around them.
class Exchange {
public:
  /// Whether all that goes through the layers' barriers may go so.
  bool find(func::FuncOp entry);
  void mark(ModuleOp module);

private:
  bool addLayer(func::CallOp call);
  bool visit(Layer &layer);
  bool visit(StepOp op);
  bool read(StepOp op, Value buffer, const Bytes &bytes, Write &write);
  Row *findRow(const Write &write);

  SmallVector<Layer, 0> layers;
  Row carried;               // from one layer to the next
  Layer *current = nullptr;  // null: before the first
  bool isBefore = true;      // the barrier with the fence
  int64_t number = -1;       // of layers that were entered before this one
  int64_t phase = 0;         // barriers that have been passed
  SmallVector<Write> writes; // since the last one with a fence
};
} // namespace

static std::optional<Bytes> getBytes(Value buffer) {
  auto view = buffer.getDefiningOp<memref::ViewOp>();
  auto arena = view ? dyn_cast<BlockArgument>(view.getSource()) : nullptr;
  if (!arena || arena.getArgNumber() != kArenaArgument)
    return std::nullopt;
  MemRefType type = view.getType();
  int64_t begin = *getConstantIntValue(view.getByteShift());
  return Bytes{begin, begin + type.getNumElements() *
                                  type.getElementTypeBitWidth() / 8};
}

static bool isRow(Value buffer) {
  auto type = cast<MemRefType>(buffer.getType());
  return type.getRank() == 2 && type.getDimSize(0) == 1 &&
         type.getElementType().isF32();
}

/// A layer begins with a barrier, where the one before ends, and has attention
/// behind another.
bool Exchange::addLayer(func::CallOp call) {
  // Layers are counted from the first one on; where one is alone, it has no
  // loop.
  auto loop = dyn_cast<scf::ForOp>(call->getParentOp());
  Value first = loop ? loop.getLowerBound() : call.getOperands().back();
  if (layers.empty() && getConstantIntValue(first) != 0)
    return false;
  auto module = call->getParentOfType<ModuleOp>();
  Layer layer;
  layer.function = module.lookupSymbol<func::FuncOp>(call.getCallee());
  for (Operation &op : layer.function.front()) {
    if (auto barrier = dyn_cast<BarrierOp>(op))
      layer.barriers.push_back(barrier);
    else if (isa<StepOp>(op) && layer.barriers.empty())
      return false;
    auto attention = dyn_cast<AttentionOp>(op);
    if (!attention)
      continue;
    if (layer.fenced || !attention.getKey())
      return false;
    layer.fenced = layer.barriers.back();
  }
  layers.push_back(layer);
  return layer.fenced && layer.fenced != layer.barriers.front();
}

/// Null: it is read by the next layer, but not before the barrier with the
/// fence, or in its own layer before that.
Row *Exchange::findRow(const Write &write) {
  bool isCarried = write.layer != number;
  if (isCarried != isBefore)
    return nullptr;
  if (isCarried) {
    if (carried.writers.empty())
      carried.bytes = write.bytes;
    return carried.bytes == write.bytes ? &carried : nullptr;
  }
  for (Row &row : current->rows)
    if (row.bytes == write.bytes)
      return &row;
  current->rows.push_back({write.bytes, {}, {}});
  return &current->rows.back();
}

/// Whether an op may read what `write` left, without a fence between.
bool Exchange::read(StepOp op, Value buffer, const Bytes &bytes, Write &write) {
  // Tiles of rows are divided alike, if they are as many.
  auto linear = dyn_cast<PackedLinearOp>(op.getOperation());
  auto before = dyn_cast<PackedLinearOp>(write.op.getOperation());
  if (linear && buffer == linear.getResidual())
    return before && before.getInto().front() == buffer &&
           before.getRange() == linear.getRange();
  bool isReader = isa<RmsNormOp, LayerNormOp, QuantizeActivationsOp>(op);
  bool isWriter = isa<PackedLinearOp, GatedActivationOp, ActivationOp,
                      AttentionOp, EmbeddingOp, AddPositionsOp>(write.op);
  if (!isReader || !isWriter || buffer != op->getOperand(0) || !isRow(buffer) ||
      !(bytes == write.bytes))
    return false;
  Row *row = findRow(write);
  if (!row)
    return false;
  row->writers.insert(write.op);
  row->readers.insert(op);
  return true;
}

bool Exchange::visit(StepOp op) {
  if (op.getCacheMemory() && !op.writesCache() && !op.readsEarlierCache())
    return false;
  for (Value operand : op->getOperands()) {
    std::optional<Bytes> bytes = getBytes(operand);
    bool isInto = llvm::is_contained(op.getInto(), operand);
    for (Write &write : writes)
      if (bytes && bytes->overlaps(write.bytes) && write.phase != phase)
        if (isInto || !read(op, operand, *bytes, write))
          return false;
  }
  for (Value into : op.getInto())
    if (std::optional<Bytes> bytes = getBytes(into))
      writes.push_back({*bytes, op, number, phase});
  return true;
}

bool Exchange::visit(Layer &layer) {
  current = &layer;
  isBefore = true;
  ++number;
  for (Operation &op : layer.function.front()) {
    if (isa<BarrierOp>(op))
      ++phase;
    if (&op == layer.fenced) {
      writes.clear();
      isBefore = false;
    }
    if (auto step = dyn_cast<StepOp>(op); step && !visit(step))
      return false;
  }
  return true;
}

bool Exchange::find(func::FuncOp entry) {
  SmallVector<func::CallOp> calls;
  entry.walk([&](func::CallOp call) { calls.push_back(call); });
  for (func::CallOp call : calls)
    if (!addLayer(call))
      return false;
  if (layers.empty())
    return false;
  for (Operation &op : entry.front()) {
    if (isa<scf::ForOp, func::CallOp>(op))
      break;
    // What blocks do before the layers, they do behind no barrier.
    if (isa<StepOp>(op) && !isa<EmbeddingOp, AddPositionsOp>(op))
      return false;
    if (auto step = dyn_cast<StepOp>(op); step && !visit(step))
      return false;
  }
  // Each twice, so that what one layer leaves is found by the next.
  for (Layer &layer : layers)
    if (!visit(layer) || !visit(layer))
      return false;
  return !carried.writers.empty();
}

/// All other buffers of the arena lie `bytes` further: the places are first, so
/// that no address takes more than the arena's own.
static void moveBuffers(ModuleOp module, int64_t bytes) {
  module.walk([&](memref::ViewOp view) {
    std::optional<Bytes> old = getBytes(view);
    if (!old)
      return;
    OpBuilder b(view);
    view.getByteShiftMutable().assign(
        arith::ConstantIndexOp::create(b, view.getLoc(), old->begin + bytes));
  });
  auto arena = module->getAttrOfType<IntegerAttr>(kArenaBytes);
  module->setAttr(kArenaBytes,
                  OpBuilder(module).getI64IntegerAttr(arena.getInt() + bytes));
}

/// The places: the carried row's of even layers, the other rows', the carried
/// one's of odd layers. So what a layer makes empty lies side by side.
void Exchange::mark(ModuleOp module) {
  Builder b(module);
  auto set = [&](Operation *op, StringRef name, ArrayRef<int64_t> numbers) {
    op->setAttr(name, b.getDenseI64ArrayAttr(numbers));
  };
  auto count = [](const Row &row) -> int64_t {
    return llvm::alignTo(row.bytes.end - row.bytes.begin, kScratchAlignment);
  };
  int64_t odd = 0; // the carried row's place of odd layers
  for (Layer &layer : layers) {
    int64_t next = count(carried);
    for (const Row &row : layer.rows) {
      for (auto &ops : {row.writers, row.readers})
        for (Operation *op : ops)
          set(op, kExchange, {next, 0, 0});
      next += count(row);
    }
    odd = std::max(odd, next);
  }
  for (Operation *op : carried.readers)
    set(op, kExchange, {0, odd, 1});
  for (Operation *op : carried.writers) {
    if (isa<EmbeddingOp, AddPositionsOp>(op)) // as of a layer -1
      set(op, kExchange, {odd, 0, 0});
    else
      set(op, kExchange, {0, odd, 0});
  }
  for (Layer &layer : layers)
    for (BarrierOp barrier : layer.barriers) {
      if (barrier == layer.fenced)
        set(barrier, kEmpties, {0, odd, count(carried)});
      else if (barrier == layers.front().barriers.front())
        barrier->setAttr(kFencedFirst, b.getUnitAttr());
      else
        barrier->setAttr(kUnfenced, b.getUnitAttr());
    }
  moveBuffers(module, odd + count(carried));
}

namespace {
struct ExchangeRowsPass : tbq::impl::ExchangeRowsPassBase<ExchangeRowsPass> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto entry = module.lookupSymbol<func::FuncOp>(TBQ_DEVICE_DECODE);
    if (!entry || !module->hasAttr(kArenaBytes))
      return;
    Exchange exchange;
    if (exchange.find(entry))
      exchange.mark(module);
  }
};
} // namespace
