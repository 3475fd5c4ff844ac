// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The walk through @forward: arguments get their values, ops are evaluated in
// order, layers are entered.
// Invariant: a layer's values are dropped when it ends.

#include "tbq/Interpreter.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Result;
using ::tbq::Status;

std::string mlir::tbq::getStepName(Operation *op) {
  if (auto name = dyn_cast<NameLoc>(op->getLoc()))
    return name.getName().str();
  return op->getName().getStringRef().str();
}

CacheType mlir::tbq::getCacheType(ModuleOp module) {
  auto forward = module.lookupSymbol<func::FuncOp>("forward");
  if (!forward)
    return {};
  for (Type type : forward.getArgumentTypes())
    if (auto cache = dyn_cast<CacheType>(type))
      return cache;
  return {};
}

/// Reports the op's rows, whose values lie in `values`.
static void report(const Interpreter::Observer &observer, StepOp op,
                   const StepValues &values) {
  auto collect = [&](ValueRange range) {
    SmallVector<const Matrix *> found;
    for (Value value : range)
      if (auto rows = values.rows.find(value); rows != values.rows.end())
        found.push_back(&rows->second);
    return found;
  };
  observer(op, collect(op->getOperands()), collect(op->getResults()));
}

/// Whether an op only says what weights are made of.
static bool isWeight(Operation *op) {
  return isa<WeightOp, QuantizeOp, RopeTableOp, PackOp>(op);
}

Status Interpreter::run(Block &block, StepValues &values) {
  for (Operation &op : block) {
    if (auto step = dyn_cast<StepOp>(op)) {
      auto results = evaluate(step, values);
      if (!results)
        return results.error();
      for (auto [value, rows] : llvm::zip_equal(op.getResults(), *results))
        values.rows[value] = std::move(rows);
      if (observer)
        report(observer, step, values);
    } else if (auto layer = dyn_cast<LayerOp>(op)) {
      if (Status status = run(layer, values); !status)
        return status;
    } else if (!isWeight(&op) && !op.hasTrait<OpTrait::IsTerminator>()) {
      return makeError("", getStepName(&op),
                       op.getName().getStringRef().str() +
                           " is no op of the graph stage");
    }
  }
  return Status::ok();
}

Status Interpreter::run(LayerOp layer, StepValues &values) {
  Block &body = layer.getBody().front();
  // Copied before the map grows.
  Matrix input = values.rows.at(layer.getInput());
  values.rows[body.getArgument(0)] = std::move(input);
  values.indices[body.getArgument(1)] = layer.getNumber();
  if (Status status = run(body, values); !status)
    return status;
  Value result = cast<YieldOp>(body.getTerminator()).getValues().front();
  Matrix output = values.rows.at(result);
  for (Operation &op : body)
    for (Value value : op.getResults())
      values.rows.erase(value);
  values.rows.erase(body.getArgument(0));
  values.rows[layer.getResult()] = std::move(output);
  return Status::ok();
}

/// (tokens, cache, position, count, first) -> rows
static bool isForward(FunctionType type) {
  ArrayRef<Type> inputs = type.getInputs();
  return inputs.size() == 5 && type.getNumResults() == 1 &&
         isa<RankedTensorType>(inputs[0]) && isa<CacheType>(inputs[1]) &&
         llvm::all_of(inputs.drop_front(2), llvm::IsaPred<IndexType>);
}

Result<Matrix> Interpreter::forward(ModuleOp module, ArrayRef<int32_t> tokens,
                                    int64_t position, int64_t first,
                                    KeyValues &cache) {
  auto forward = module.lookupSymbol<func::FuncOp>("forward");
  if (!forward || !isForward(forward.getFunctionType()))
    return makeError("", "@forward",
                     "must take tokens, cache, position, count and first, and "
                     "give one result");
  const int64_t count = tokens.size();
  StepValues values;
  values.cache = &cache;
  Matrix &ids = values.rows[forward.getArgument(0)] = Matrix(count, 1);
  llvm::copy(tokens, ids.values.begin());
  const int64_t numbers[] = {position, count, first};
  for (auto [i, number] : llvm::enumerate(numbers))
    values.indices[forward.getArgument(2 + i)] = number;
  Block &body = forward.getBody().front();
  if (Status status = run(body, values); !status)
    return status.error();
  return std::move(values.rows.at(body.getTerminator()->getOperand(0)));
}
