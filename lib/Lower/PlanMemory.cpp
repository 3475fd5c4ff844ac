// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-plan-memory: functions on tensors become functions on memory with the
// arguments of a step (format/StepAbi.h); each tensor is a view of the arena at
// an offset known now or of the worker's own memory, logits and residual where
// they belong. Every op gets the number of tokens it is to compute.

#include "ArenaPlan.h"
#include "StepArguments.h"
#include "WorkerMemory.h"
#include "tbq/Passes.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_PLANMEMORYPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

namespace {
/// A function of one entry's step, and where its tensors lie in the arena.
struct PlannedFunction {
  func::FuncOp function;
  ArenaPlan plan;
  ArenaPlan own;        // of the tensors that each worker makes for itself
  int64_t base = 0;     // of its buffers
  int64_t residual = 0; // of a layer function's residual
  bool isLayer = false;
  /// Which step argument each argument of the function on tensors is; those of
  /// a layer function begin after its residual and number.
  SmallVector<StepArgument> arguments{kTokens, kCache, kPosition, kCount,
                                      kFirst};
};

/// One entry point with the layer functions it repeats.
struct PlannedEntry {
  PlannedFunction entry;
  std::vector<PlannedFunction> layers;
  int64_t tokens;
};

/// The types of a step's arguments, for one entry.
struct StepTypes {
  MemRefType arena, weights, cache, tokens, logits;
  Type position; // of the first token, or of a batch its tokens' places
};
} // namespace

static CacheType getCache(func::FuncOp entry) {
  return cast<CacheType>(entry.getArgument(1).getType());
}

static MemRefType bytesOf(MLIRContext *context, int64_t bytes) {
  return MemRefType::get({bytes}, IntegerType::get(context, 8));
}

static func::ReturnOp getReturn(func::FuncOp function) {
  return cast<func::ReturnOp>(function.getBody().front().getTerminator());
}

/// Plans a layer function: its residual has memory already, and the result
/// goes there too, which must not spoil a later read.
static FailureOr<PlannedFunction> planLayer(func::FuncOp function,
                                            int64_t workerBytes) {
  Value residual = function.getArgument(0);
  Value result = getReturn(function).getOperand(0);
  Operation *last = result.getDefiningOp();
  for (OpOperand &use : residual.getUses()) {
    bool allowed = use.getOwner() == last
                       ? cast<StepOp>(last).mayOverwrite(residual)
                       : last && use.getOwner()->isBeforeInBlock(last);
    if (!allowed)
      return use.getOwner()->emitOpError(
          "reads a residual that the layer's result has overwritten");
  }
  DenseSet<Value> elsewhere{residual, result};
  ArenaPlan own = planWorkerMemory(function, elsewhere, workerBytes);
  elsewhere.insert_range(own.getTensors());
  FailureOr<ArenaPlan> plan =
      ArenaPlan::create(function, elsewhere, [](LayersOp) { return 0; });
  if (failed(plan))
    return failure();
  PlannedFunction planned{function, std::move(*plan), std::move(own)};
  planned.isLayer = true;
  return planned;
}

static FailureOr<PlannedEntry> planEntry(func::FuncOp entry,
                                         int64_t workerBytes) {
  auto module = entry->getParentOfType<ModuleOp>();
  PlannedEntry planned;
  planned.tokens =
      cast<RankedTensorType>(entry.getArgument(0).getType()).getDimSize(0);
  DenseMap<Operation *, int64_t> scratch;
  SmallVector<LayersOp> repeats(entry.getOps<LayersOp>());
  for (LayersOp repeat : repeats) {
    FailureOr<PlannedFunction> layer = planLayer(
        module.lookupSymbol<func::FuncOp>(repeat.getCallee()), workerBytes);
    if (failed(layer))
      return failure();
    scratch[repeat] = layer->plan.getBytes();
    layer->arguments.clear();
    for (Value captured : repeat.getArguments()) {
      auto argument = dyn_cast<BlockArgument>(captured);
      if (!argument)
        return repeat.emitOpError("captures a value that is no argument of '")
               << entry.getName() << "'";
      layer->arguments.push_back(
          planned.entry.arguments[argument.getArgNumber()]);
    }
    planned.layers.push_back(std::move(*layer));
  }
  DenseSet<Value> elsewhere{getReturn(entry).getOperand(0)};
  planned.entry.own = planWorkerMemory(entry, elsewhere, workerBytes);
  elsewhere.insert_range(planned.entry.own.getTensors());
  FailureOr<ArenaPlan> plan = ArenaPlan::create(
      entry, elsewhere, [&](LayersOp op) { return scratch.lookup(op); });
  if (failed(plan))
    return failure();
  planned.entry.function = entry;
  planned.entry.plan = std::move(*plan);
  for (auto [repeat, layer] : llvm::zip_equal(repeats, planned.layers)) {
    layer.base = planned.entry.plan.getScratchOffset(repeat);
    layer.residual = planned.entry.plan.getOffset(repeat.getInput());
  }
  return planned;
}

namespace {
/// Rewrites one planned function.
class FunctionRewriter {
public:
  FunctionRewriter(PlannedFunction &planned, const StepTypes &types)
      : planned(planned), function(planned.function), types(types),
        block(function.getBody().front()), b(function.getContext()) {}

  void run();

private:
  void replaceArguments();
  Value getBuffer(Value tensor);
  Value getCount(Operation *op);
  void rewriteStep(StepOp op);
  void rewriteLayers(LayersOp op);

  PlannedFunction &planned;
  func::FuncOp function;
  const StepTypes &types;
  Block &block;
  OpBuilder b;
  Value ownMemory;                  // of the worker, if it needs some
  DenseMap<Value, Value> buffers;   // of tensors
  DenseMap<Value, Value> rowCounts; // of memrefs with fewer rows than tokens
};
} // namespace

/// Adds the step's arguments and gives the old ones' uses to them.
void FunctionRewriter::replaceArguments() {
  MLIRContext *context = function.getContext();
  Type index = IndexType::get(context);
  SmallVector<Type> inputs{types.arena,  types.weights, types.cache,
                           types.tokens, types.logits,  types.position,
                           index,        index,         TeamType::get(context)};
  if (planned.isLayer)
    inputs.push_back(index);
  unsigned old = block.getNumArguments();
  block.addArguments(inputs,
                     SmallVector<Location>(inputs.size(), function.getLoc()));
  unsigned next = 0;
  if (planned.isLayer) {
    // The residual, and the result that takes its place, are one buffer.
    Value residual = block.getArgument(0);
    b.setInsertionPointToStart(&block);
    Value byte =
        arith::ConstantIndexOp::create(b, function.getLoc(), planned.residual);
    Value view = memref::ViewOp::create(
        b, function.getLoc(),
        getBufferType(cast<RankedTensorType>(residual.getType())),
        block.getArgument(old + kArena), byte, ValueRange());
    buffers[getReturn(function).getOperand(0)] = view;
    residual.replaceAllUsesWith(view);
    block.getArgument(1).replaceAllUsesWith(block.getArgument(old + kLayer));
    next = 2;
  }
  for (StepArgument argument : planned.arguments)
    block.getArgument(next++).replaceAllUsesWith(
        block.getArgument(old + argument));
  block.eraseArguments(0, old);
}

Value FunctionRewriter::getBuffer(Value tensor) {
  if (Value buffer = buffers.lookup(tensor))
    return buffer;
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(&block);
  Location loc = tensor.getLoc();
  Value result = getReturn(function).getNumOperands()
                     ? getReturn(function).getOperand(0)
                     : Value();
  if (!planned.isLayer && tensor == result)
    return buffers[tensor] = block.getArgument(kLogits);
  auto type = getBufferType(cast<RankedTensorType>(tensor.getType()));
  Value memory = block.getArgument(kArena);
  int64_t offset = planned.residual;
  if (planned.own.contains(tensor)) {
    memory = ownMemory;
    offset = planned.own.getOffset(tensor);
    b.setInsertionPointAfter(ownMemory.getDefiningOp());
  } else if (planned.plan.contains(tensor)) {
    offset = planned.base + planned.plan.getOffset(tensor);
  }
  Value byte = arith::ConstantIndexOp::create(b, loc, offset);
  return buffers[tensor] =
             memref::ViewOp::create(b, loc, type, memory, byte, ValueRange());
}

/// How many rows an op computes: as many as its input has.
Value FunctionRewriter::getCount(Operation *op) {
  if (auto select = dyn_cast<SelectRowsOp>(op)) {
    Value rows = arith::SubIOp::create(
        b, op->getLoc(), block.getArgument(kCount), block.getArgument(kFirst));
    return rows;
  }
  for (Value operand : op->getOperands())
    if (Value count = rowCounts.lookup(operand))
      return count;
  return block.getArgument(kCount);
}

void FunctionRewriter::rewriteStep(StepOp op) {
  b.setInsertionPoint(op);
  SmallVector<Value> into;
  for (Value result : op->getResults())
    into.push_back(getBuffer(result));
  Value count = getCount(op);
  if (count != block.getArgument(kCount))
    for (Value buffer : into)
      rowCounts[buffer] = count;
  op.getIntoMutable().append(into);
  op.getCountMutable().assign(count);
  for (auto [result, buffer] : llvm::zip_equal(op->getResults(), into))
    result.replaceAllUsesWith(buffer);
  OperationState state(op->getLoc(), op->getName());
  state.addOperands(op->getOperands());
  state.propertiesAttr = op->getPropertiesAsAttribute();
  state.addAttributes(llvm::to_vector(op->getDiscardableAttrs()));
  b.create(state);
  op->erase();
}

void FunctionRewriter::rewriteLayers(LayersOp op) {
  b.setInsertionPoint(op);
  Location loc = op.getLoc();
  Value first = arith::ConstantIndexOp::create(b, loc, op.getFirst());
  Value last = arith::ConstantIndexOp::create(b, loc, op.getLast());
  Value one = arith::ConstantIndexOp::create(b, loc, 1);
  StringRef callee = op.getCallee();
  SmallVector<Value> arguments(block.getArguments().take_front(kLayer));
  scf::ForOp::create(b, loc, first, last, one, ValueRange(),
                     [&](OpBuilder &inner, Location loc, Value i, ValueRange) {
                       arguments.push_back(i);
                       func::CallOp::create(inner, loc, callee, TypeRange(),
                                            arguments);
                       scf::YieldOp::create(inner, loc);
                     });
  // The residual stays where it was.
  op.getResult().replaceAllUsesWith(op.getInput());
  op.erase();
}

void FunctionRewriter::run() {
  replaceArguments();
  if (int64_t bytes = planned.own.getBytes()) {
    b.setInsertionPointToStart(&block);
    ownMemory = createWorkerMemory(b, function.getLoc(), bytes);
  }
  for (Operation &op : llvm::make_early_inc_range(block)) {
    if (auto weight = dyn_cast<PlacedWeightOp>(op))
      weight.getSectionMutable().assign(block.getArgument(kWeights));
    else if (auto layers = dyn_cast<LayersOp>(op))
      rewriteLayers(layers);
    else if (auto step = dyn_cast<StepOp>(op))
      rewriteStep(step);
  }
  getReturn(function)->setOperands({});
  function.setType(FunctionType::get(function.getContext(),
                                     block.getArgumentTypes(), TypeRange()));
}

static int64_t getLogitsColumns(func::FuncOp entry) {
  auto logits = cast<RankedTensorType>(entry.getResultTypes()[0]);
  return llvm::alignTo(logits.getDimSize(1), kLanes);
}

/// Sizes of an entry's memory, of which the arena and the `columns` of a row of
/// logits are those of all entries.
static StepTypes getStepTypes(func::FuncOp entry, int64_t weights,
                              int64_t arena, int64_t columns) {
  MLIRContext *context = entry.getContext();
  auto tokens = cast<RankedTensorType>(entry.getArgument(0).getType());
  auto logits = cast<RankedTensorType>(entry.getResultTypes()[0]);
  auto toMemory = [](RankedTensorType type) {
    return MemRefType::get(type.getShape(), type.getElementType());
  };
  Type position = entry.getArgument(2).getType();
  int64_t sequences = 1;
  if (auto places = dyn_cast<RankedTensorType>(position)) {
    sequences = places.getDimSize(0);
    position = toMemory(places);
  }
  return {
      bytesOf(context, arena),
      bytesOf(context, weights),
      bytesOf(context, sequences * getCache(entry).getBytes()),
      toMemory(tokens),
      MemRefType::get({tokens.getDimSize(0), columns}, logits.getElementType()),
      position};
}

namespace {
struct PlanMemoryPass : tbq::impl::PlanMemoryPassBase<PlanMemoryPass> {
  using PlanMemoryPassBase::PlanMemoryPassBase;

  void runOnOperation() override {
    ModuleOp module = getOperation();
    auto sections = module.getOps<WeightsOp>();
    if (sections.empty()) {
      module.emitError("has no tbq.weights: run tbq-place-weights before");
      return signalPassFailure();
    }
    auto weights = *sections.begin();
    FailureOr<SmallVector<func::FuncOp>> functions = getEntries(module);
    if (failed(functions))
      return signalPassFailure();
    std::vector<PlannedEntry> entries;
    int64_t arena = kAlignment, columns = 0;
    for (func::FuncOp entry : *functions) {
      FailureOr<PlannedEntry> planned = planEntry(entry, workerBytes);
      if (failed(planned))
        return signalPassFailure();
      arena = std::max(arena, planned->entry.plan.getBytes());
      columns = std::max(columns, getLogitsColumns(entry));
      entries.push_back(std::move(*planned));
    }

    Builder b(&getContext());
    for (PlannedEntry &planned : entries) {
      func::FuncOp entry = planned.entry.function;
      StepTypes types = getStepTypes(entry, weights.getBytes(), arena, columns);
      auto set = [&](StringRef name, int64_t value) {
        module->setAttr(name, b.getI64IntegerAttr(value));
      };
      set("tbq.arena_bytes", arena);
      set("tbq.cache_bytes", getCache(entry).getBytes());
      set("tbq.logits_stride", types.logits.getDimSize(1));
      set(("tbq." + entry.getName() + "_tokens").str(), planned.tokens);
      FunctionRewriter(planned.entry, types).run();
      for (PlannedFunction &layer : planned.layers)
        FunctionRewriter(layer, types).run();
    }
  }
};
} // namespace
