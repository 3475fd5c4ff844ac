// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-exchange-rows: which rows of a decode step's layers go from block to
// block without a barrier (RowExchange.h). One barrier of a layer stays, the
// one before attention: behind it lies in order all that was stored before,
// plain or not, so a place is empty for whoever looks before its row is there,
// if it was made empty before that barrier and is written behind it. Layers
// have two sets of places by turns: what is read of one's lies before the next
// one's barrier, and is made empty behind that, before the barrier of the layer
// that has the set again. What is written behind that barrier and not exchanged
// may be read by the blocks that wrote it alone, or behind the next one. What
// was written before it and is read behind it may be written again by who has
// since read a row as a whole that the reader made of it: no block does before
// all have read. If a step has anything else, all its barriers stay.

#include "LowerStep.h"
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

/// A row that goes from ops of some phase to others behind a barrier, and the
/// phase in which it was read last.
struct Row {
  Bytes bytes;
  SetVector<Operation *> writers, readers;
  int64_t phase = -1;
};

/// A function of layers, and the rows that stay in one of them.
struct Layer {
  func::FuncOp function;
  SmallVector<BarrierOp> barriers;
  BarrierOp kept;        // which of them stays
  AttentionOp attention; // behind it
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
  bool isReadByAll(const Write &older);
  Row *findRow(const Write &write);

  SmallVector<Layer, 0> layers;
  Row carried;               // from one layer to the next
  Layer *current = nullptr;  // null: before the first
  bool isBefore = true;      // the barrier that stays
  int64_t number = -1;       // of layers that were entered before this one
  int64_t phase = 0;         // barriers that have been passed
  SmallVector<Write> writes; // since the last one that stays
  SmallVector<Write> older;  // before it, by what has read them since
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
    // By one who has used query, key and value before it stores.
    if (layer.kept || !findNeighbours(attention).append)
      return false;
    layer.kept = layer.barriers.back();
    layer.attention = attention;
  }
  layers.push_back(layer);
  return layer.kept && layer.kept != layer.barriers.front();
}

/// Null: it is read by the next layer, but not before the barrier that stays,
/// or in its own layer before that.
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

/// Whether an op may read what `write` left, without a barrier between.
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
  row->phase = phase;
  return true;
}

/// Whether who comes here has seen all of what the op makes that has read
/// `older`: a row.
bool Exchange::isReadByAll(const Write &older) {
  auto isSeen = [&](const Row &row) {
    return row.writers.contains(older.op) && row.phase > older.phase;
  };
  return isSeen(carried) || llvm::any_of(layers, [&](const Layer &layer) {
           return llvm::any_of(layer.rows, isSeen);
         });
}

bool Exchange::visit(StepOp op) {
  if (op.getCacheMemory() && !op.writesCache() && !op.readsEarlierCache())
    return false;
  for (Value operand : op->getOperands()) {
    std::optional<Bytes> bytes = getBytes(operand);
    if (!bytes)
      continue;
    bool isInto = llvm::is_contained(op.getInto(), operand), isOlder = !isInto;
    for (Write &write : writes) {
      if (!bytes->overlaps(write.bytes))
        continue;
      isOlder = false;
      if (write.phase != phase && (isInto || !read(op, operand, *bytes, write)))
        return false;
    }
    for (const Write &each : older)
      if (isInto && bytes->overlaps(each.bytes) && each.phase != phase &&
          !isReadByAll(each))
        return false;
    // What rotates a row for attention, and stores its key, is a part of it.
    bool isOfAttention = isa<RopeOp, AppendCacheOp>(op) && !isBefore;
    if (isOlder)
      older.push_back(
          {*bytes, isOfAttention ? current->attention : op, number, phase});
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
    if (&op == layer.kept) {
      writes.clear();
      older.clear();
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

/// The places of even layers, the carried row's first, and those of odd ones.
void Exchange::mark(ModuleOp module) {
  Builder b(module);
  auto set = [&](Operation *op, StringRef name, ArrayRef<int64_t> numbers) {
    op->setAttr(name, b.getDenseI64ArrayAttr(numbers));
  };
  auto count = [](const Row &row) -> int64_t {
    return llvm::alignTo(row.bytes.end - row.bytes.begin, kScratchAlignment);
  };
  int64_t odd = 0; // where those of odd layers begin
  for (Layer &layer : layers) {
    int64_t bytes = count(carried);
    for (const Row &row : layer.rows)
      bytes += count(row);
    odd = std::max(odd, bytes);
  }
  for (Layer &layer : layers) {
    int64_t next = count(carried);
    for (const Row &row : layer.rows) {
      for (auto &ops : {row.writers, row.readers})
        for (Operation *op : ops)
          set(op, kExchange, {next, odd, 0});
      next += count(row);
    }
  }
  for (Operation *op : carried.readers)
    set(op, kExchange, {0, odd, 1});
  for (Operation *op : carried.writers) {
    op->setAttr(kCarried, b.getUnitAttr());
    if (isa<EmbeddingOp, AddPositionsOp>(op)) // as of a layer -1
      set(op, kExchange, {odd, 0, 0});
    else
      set(op, kExchange, {0, odd, 0});
  }
  for (Layer &layer : layers)
    for (BarrierOp barrier : layer.barriers) {
      if (barrier == layer.kept)
        set(barrier, kEmpties, {0, odd, odd});
      else if (barrier == layers.front().barriers.front())
        barrier->setAttr(kBlockOnlyLater, b.getUnitAttr());
      else
        barrier->setAttr(kBlockOnly, b.getUnitAttr());
    }
  moveBuffers(module, 2 * odd);
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
