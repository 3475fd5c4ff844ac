// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See StepReplay.h. Values are copied as they are shown: what an operation read
// may be gone when it is compared.

#include "StepReplay.h"

#include "tbq/Pipelines.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Manifest;
using ::tbq::Status;

/// Whether the code that a manifest describes fuses multiply-adds, which
/// setTargetFeatures decides.
static Arithmetic getCompiledArithmetic(const Manifest &manifest) {
  CPUOptions options;
  setTargetFeatures(options, manifest.target.triple, manifest.target.features);
  return {Arithmetic::Float::Float32, options.fma};
}

static std::string getKind(StepOp op) {
  std::string kind = op->getName().stripDialect().str();
  if (auto linear = dyn_cast<PackedLinearOp>(*op))
    kind += linear.getActivationScale() ? " integer" : " float";
  else if (auto activation = dyn_cast<ActivationOp>(*op))
    kind += (" " + stringifyActivationFunction(activation.getFunction())).str();
  return kind;
}

StepReplay::StepReplay(ModuleOp packed, const ::tbq::Checkpoint &checkpoint,
                       const Manifest &manifest, const VerifyOptions &options)
    : manifest(manifest), artifact(options.artifact),
      exact(checkpoint, getCompiledArithmetic(manifest)),
      reference(checkpoint, Arithmetic()),
      magnitude(checkpoint, {Arithmetic::Float::Float64, false, true}),
      cache(getCacheType(packed)) {
  auto forward = packed.lookupSymbol<func::FuncOp>("forward");
  addSteps(forward.getBody().front(), -1);
  for (Step &step : steps) {
    step.tolerance =
        getTolerance(step.op, options, manifest.target.device.has_value());
    reports.push_back({getKind(step.op), getStepName(step.op),
                       step.tolerance.exact, step.tolerance.relative});
  }
  values.cache = &cache;
}

void StepReplay::addSteps(Block &block, int64_t layer) {
  for (Operation &op : block) {
    if (auto inner = dyn_cast<LayerOp>(op)) {
      Block &body = inner.getBody().front();
      values.indices[body.getArgument(1)] = inner.getNumber();
      addSteps(body, inner.getNumber());
    }
    auto step = dyn_cast<StepOp>(op);
    if (!step)
      continue;
    Step added{step, {}, op.getNumResults() + step.writesCache(), {}};
    for (Value operand : op.getOperands())
      if (isa<RankedTensorType, CacheType>(operand.getType()))
        added.values.push_back(operand);
    llvm::append_range(added.values, op.getResults());
    steps.push_back(std::move(added));
    layers.push_back(layer);
  }
}

void StepReplay::begin(int64_t firstPosition, int64_t tokens) {
  position = firstPosition;
  count = tokens;
  next = 0;
  auto forward = steps.front().op->getParentOfType<func::FuncOp>();
  // Position, count, and that logits are asked for from the first token on.
  const int64_t numbers[] = {position, count, 0};
  for (auto [i, number] : llvm::enumerate(numbers))
    values.indices[forward.getArgument(2 + i)] = number;
}

Status StepReplay::end() {
  if (status && next != steps.size())
    return makeError(artifact, "",
                     "a step showed " + std::to_string(next) +
                         " operations, the model has " +
                         std::to_string(steps.size()));
  return status;
}

void StepReplay::observe(void *replay, int64_t operation, int64_t layer,
                         int64_t value, const void *data, int64_t rows,
                         int64_t stride) {
  auto &self = *static_cast<StepReplay *>(replay);
  if (self.status)
    self.status = self.receive(operation, layer, value, data, rows, stride);
}

/// Rows of elements of `type` as numbers.
static Matrix copyRows(const std::string &type, const void *data, int64_t rows,
                       int64_t columns, int64_t stride) {
  Matrix matrix(rows, columns);
  auto copy = [&](auto element) {
    const auto *from = static_cast<const decltype(element) *>(data);
    for (int64_t row = 0; row < rows; ++row)
      std::copy_n(from + row * stride, columns, matrix.row(row));
  };
  if (type == "f32")
    copy(float());
  else if (type == "i32")
    copy(int32_t());
  else
    copy(int8_t());
  return matrix;
}

/// Whether what is shown is of this type: rows are padded to whole vectors.
static bool isShownAs(Type type, const Manifest::Operation::Value &shown) {
  if (auto cache = dyn_cast<CacheType>(type))
    return shown.type == "cache" && shown.columns == cache.getBytes();
  auto rows = cast<RankedTensorType>(type);
  std::string element;
  llvm::raw_string_ostream(element) << rows.getElementType();
  const int64_t columns =
      rows.getRank() == 1 ? 1 : llvm::alignTo(rows.getDimSize(1), kLanes);
  return shown.type == element && shown.columns == columns;
}

/// Whether the operation is the one the model has here.
Status StepReplay::checkOperation(const Step &step, int64_t operation,
                                  int64_t layer) const {
  const Manifest::Operation &shown = manifest.operations[operation];
  const StringRef kind = step.op->getName().stripDialect();
  const bool isSame =
      shown.kind == kind && shown.values.size() == step.values.size() &&
      layer == layers[next] &&
      llvm::all_of(llvm::zip(step.values, shown.values), [](auto pair) {
        return isShownAs(std::get<0>(pair).getType(), std::get<1>(pair));
      });
  if (isSame)
    return Status::ok();
  return makeError(artifact, getStepName(step.op),
                   "the step runs '" + shown.kind + "' in layer " +
                       std::to_string(layer) + ", which is not this '" +
                       kind.str() + "': it was compiled from another model");
}

Status StepReplay::receive(int64_t operation, int64_t layer, int64_t value,
                           const void *data, int64_t rows, int64_t stride) {
  if (next >= steps.size())
    return makeError(artifact, "",
                     "a step shows more operations than the "
                     "model has");
  const Step &step = steps[next];
  if (Status expected = checkOperation(step, operation, layer); !expected)
    return expected;
  const Manifest::Operation::Value &shown =
      manifest.operations[operation].values[value];
  if (shown.type == "cache") {
    cache.load(layer, position + count, static_cast<const uint8_t *>(data));
  } else {
    auto type = cast<RankedTensorType>(step.values[value].getType());
    const int64_t columns = type.getRank() == 1 ? 1 : type.getDimSize(1);
    Matrix matrix = copyRows(shown.type, data, rows, columns, stride);
    if (shown.written)
      results.push_back(std::move(matrix));
    else
      values.rows[step.values[value]] = std::move(matrix);
  }
  if (value + 1 != int64_t(step.values.size()))
    return Status::ok();
  OperationReport &report = reports[next];
  ++report.runs;
  Status finished = finish(step, report);
  values.rows.clear();
  results.clear();
  ++next;
  return finished;
}

Status StepReplay::finish(const Step &step, OperationReport &report) {
  if (auto append = dyn_cast<AppendCacheOp>(*step.op))
    return finishAppend(append, report);
  auto expected =
      (step.tolerance.exact ? exact : reference).evaluate(step.op, values);
  if (!expected)
    return expected.error();
  std::vector<Matrix> magnitudes(expected->size());
  if (step.tolerance.scale == Scale::Magnitudes) {
    auto sums = magnitude.evaluate(step.op, values);
    if (!sums)
      return sums.error();
    magnitudes = std::move(*sums);
  }
  for (auto [i, wanted] : llvm::enumerate(*expected))
    report.broken |= !compare(results[i], wanted, magnitudes[i], step.tolerance,
                              report.worst);
  return Status::ok();
}

/// The keys and values of a layer from `position` on.
static Matrix getRows(const KeyValues &cache, int64_t layer, int64_t position,
                      int64_t count) {
  const CacheType type = cache.getType();
  const int64_t columns = type.getKvHeads() * type.getHeadDim();
  Matrix rows(count, 2 * columns);
  for (int64_t t = 0; t < count; ++t) {
    std::copy_n(cache.key(layer, 0, position + t), columns, rows.row(t));
    std::copy_n(cache.value(layer, 0, position + t), columns,
                rows.row(t) + columns);
  }
  return rows;
}

/// The result is the cache, whose memory has been read by now.
Status StepReplay::finishAppend(AppendCacheOp op, OperationReport &report) {
  const int64_t layer = values.indices.at(op.getLayer());
  KeyValues written(cache.getType());
  written.store(layer, position, values.rows.at(op.getKey()),
                values.rows.at(op.getValue()));
  report.broken |= !compare(getRows(cache, layer, position, count),
                            getRows(written, layer, position, count), Matrix(),
                            Tolerance(), report.worst);
  return Status::ok();
}
