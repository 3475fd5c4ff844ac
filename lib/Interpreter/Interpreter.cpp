// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Evaluates each op of the step from the values of its operands. Weights have
// no values here: the ops that use them read them.

#include "LinearMath.h"

#include "llvm/ADT/TypeSwitch.h"

#include <cmath>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::makeError;
using ::tbq::Result;

using Matrices = std::vector<Matrix>;

/// Evaluates single ops, each given as its method's argument.
class Interpreter::Evaluator {
public:
  Evaluator(const ::tbq::Checkpoint &checkpoint, Arithmetic arithmetic)
      : arithmetic(arithmetic), weights(checkpoint) {}

  template <class Real>
  Result<Matrices> evaluate(StepOp op, const StepValues &values);

private:
  template <class Real> Result<Matrices> evaluateStep(EmbeddingOp op);
  template <class Real> Result<Matrices> evaluateStep(RmsNormOp op);
  template <class Real> Result<Matrices> evaluateStep(LayerNormOp op);
  template <class Real> Result<Matrices> evaluateStep(AddPositionsOp op);
  template <class Real> Result<Matrices> evaluateStep(LinearOp op);
  template <class Real> Result<Matrices> evaluateStep(RopeOp op);
  template <class Real> Result<Matrices> evaluateStep(AppendCacheOp op);
  template <class Real> Result<Matrices> evaluateStep(AttentionOp op);
  template <class Real> Result<Matrices> evaluateStep(GatedActivationOp op);
  template <class Real> Result<Matrices> evaluateStep(ActivationOp op);
  template <class Real> Result<Matrices> evaluateStep(AddOp op);
  template <class Real> Result<Matrices> evaluateStep(SelectRowsOp op);
  template <class Real> Result<Matrices> evaluateStep(GroupSumsOp op);
  template <class Real> Result<Matrices> evaluateStep(QuantizeActivationsOp op);
  template <class Real> Result<Matrices> evaluateStep(PackedLinearOp op);

  const Matrix &rows(Value value) const { return values->rows.at(value); }
  /// What is added: rows, or their magnitudes.
  Matrix terms(Value value) const {
    Matrix terms = rows(value);
    if (arithmetic.magnitudes)
      for (double &term : terms.values)
        term = std::fabs(term);
    return terms;
  }
  const Matrix *rowsIfAny(Value value) const {
    return value ? &values->rows.at(value) : nullptr;
  }
  int64_t index(Value value) const { return values->indices.at(value); }

  Arithmetic arithmetic;
  WeightReader weights;
  const StepValues *values = nullptr; // of the op at work
};

static Result<Matrices> one(Matrix matrix) {
  Matrices results;
  results.push_back(std::move(matrix));
  return results;
}

/// Steps that the largest activation of a token takes.
static int64_t getSteps(Activations activations) {
  switch (activations) {
  case Activations::F32:
    break;
  case Activations::I8:
    return 127;
  case Activations::I16:
    return 32639;
  }
  llvm_unreachable("float activations are not quantised");
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(EmbeddingOp op) {
  auto table = weights.read(op);
  if (!table)
    return table.error();
  const Matrix &tokens = rows(op.getTokens());
  Matrix output(tokens.rows, table->columns);
  for (int64_t t = 0; t < tokens.rows; ++t) {
    const auto id = static_cast<int64_t>(tokens.row(t)[0]);
    if (id < 0 || id >= table->rows)
      return makeError("", getStepName(op),
                       "token " + std::to_string(id) +
                           " is not in a table of " +
                           std::to_string(table->rows));
    readRow<Real>(*table, id, output.row(t));
  }
  return one(std::move(output));
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(RmsNormOp op) {
  auto weight = weights.readVector(op.getWeight());
  if (!weight)
    return weight.error();
  return one(normalize<Real>(rows(op.getInput()), *weight,
                             op.getEpsilon().convertToFloat()));
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(LayerNormOp op) {
  auto weight = weights.readVector(op.getWeight());
  if (!weight)
    return weight.error();
  auto bias = weights.readVector(op.getBias());
  if (!bias)
    return bias.error();
  const float epsilon = op.getEpsilon().convertToFloat();
  if (arithmetic.magnitudes)
    return one(getNormMagnitudes(rows(op.getInput()), *weight, *bias, epsilon));
  return one(normalize<Real>(rows(op.getInput()), *weight, *bias, epsilon));
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(AddPositionsOp op) {
  auto table = weights.readTable(op.getTable());
  if (!table)
    return table.error();
  const Matrix &input = rows(op.getInput());
  const int64_t first = index(op.getPosition()) + op.getOffset();
  if (first + input.rows > table->rows)
    return makeError(
        "", getStepName(op),
        "has no row for position " +
            std::to_string(index(op.getPosition()) + input.rows - 1));
  Matrix positions(input.rows, input.columns);
  for (int64_t t = 0; t < input.rows; ++t)
    readRow<Real>(*table, first + t, positions.row(t));
  return one(add<Real>(input, positions));
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(LinearOp op) {
  auto weight = weights.read(op);
  if (!weight)
    return weight.error();
  const Matrix &input = rows(op.getInput());
  const Matrix *residual = rowsIfAny(op.getResidual());
  const Activations activations =
      op.getActivations().value_or(Activations::F32);
  if (weight->isFloat() || activations == Activations::F32)
    return one(multiply<Real>(input, *weight, residual));
  return one(multiply<Real>(quantizeRows<Real>(input, getSteps(activations)),
                            *weight, residual, arithmetic.fused));
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(PackedLinearOp op) {
  auto weight = weights.read(op);
  if (!weight)
    return weight.error();
  if (arithmetic.magnitudes)
    weight->takeMagnitudes();
  const Matrix input = terms(op.getInput());
  const Matrix added = op.getResidual() ? terms(op.getResidual()) : Matrix();
  const Matrix *residual = op.getResidual() ? &added : nullptr;
  if (!op.getActivationScale())
    return one(multiply<Real>(input, *weight, residual));
  QuantizedRows quantized{input, rows(op.getActivationScale())};
  if (op.getLow()) {
    const Matrix low = terms(op.getLow());
    for (size_t i = 0; i < low.values.size(); ++i)
      quantized.digits.values[i] = 256 * input.values[i] + low.values[i];
  }
  return one(multiply<Real>(quantized, *weight, residual, arithmetic.fused));
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(RopeOp op) {
  Value table = op.getTable();
  if (auto pack = table.getDefiningOp<PackOp>())
    table = pack.getWeight();
  auto angles = table.getDefiningOp<RopeTableOp>();
  if (!angles)
    return makeError("", getStepName(op), "its table is no tbq.rope_table");
  return one(rotate<Real>(rows(op.getInput()), angles.getInvFreq(),
                          index(op.getPosition()), op.getHeads(),
                          op.getHeadDim()));
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(AppendCacheOp op) {
  values->cache->store(index(op.getLayer()), index(op.getPosition()),
                       rows(op.getKey()), rows(op.getValue()));
  return Matrices();
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(AttentionOp op) {
  return one(attend<Real>(rows(op.getQuery()), *values->cache,
                          index(op.getLayer()), index(op.getPosition()),
                          op.getHeads(), op.getScale().convertToFloat()));
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(GatedActivationOp op) {
  return one(gate<Real>(rows(op.getGate()), rows(op.getUp())));
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(ActivationOp op) {
  return one(activate<Real>(rows(op.getInput()), op.getFunction()));
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(AddOp op) {
  return one(add<Real>(rows(op.getLhs()), rows(op.getRhs())));
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(SelectRowsOp op) {
  const Matrix &input = rows(op.getInput());
  const int64_t first = index(op.getFirst());
  Matrix output(input.rows - first, input.columns);
  std::copy(input.row(first), input.row(input.rows), output.row(0));
  return one(std::move(output));
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluateStep(GroupSumsOp op) {
  return one(sumGroups<Real>(terms(op.getInput()), op.getGroup()));
}

template <class Real>
Result<Matrices>
Interpreter::Evaluator::evaluateStep(QuantizeActivationsOp op) {
  // High and low digits, scale, sums; or int8 digits, scale, sums.
  const bool wide = op->getNumResults() == 4;
  QuantizedRows quantized = quantizeRows<Real>(
      rows(op.getInput()), getSteps(wide ? Activations::I16 : Activations::I8));
  // Sums of integers are exact in float64.
  Matrix sums = sumGroups<double>(quantized.digits, op.getGroup());
  Matrices results;
  if (wide) {
    Matrix high = quantized.digits;
    for (auto [digit, upper] :
         llvm::zip_equal(quantized.digits.values, high.values)) {
      upper = std::floor((digit + 128) / 256);
      digit -= 256 * upper;
    }
    results.push_back(std::move(high));
  }
  results.push_back(std::move(quantized.digits));
  results.push_back(std::move(quantized.scale));
  results.push_back(std::move(sums));
  return results;
}

template <class Real>
Result<Matrices> Interpreter::Evaluator::evaluate(StepOp op,
                                                  const StepValues &given) {
  values = &given;
  return llvm::TypeSwitch<Operation *, Result<Matrices>>(op)
      .Case<EmbeddingOp, AddPositionsOp, RmsNormOp, LayerNormOp, LinearOp,
            RopeOp, AppendCacheOp, AttentionOp, GatedActivationOp, ActivationOp,
            AddOp, SelectRowsOp, GroupSumsOp, QuantizeActivationsOp,
            PackedLinearOp>([&](auto step) { return evaluateStep<Real>(step); })
      .Default([](Operation *unknown) -> Result<Matrices> {
        return makeError("", getStepName(unknown),
                         "no meaning is written for " +
                             unknown->getName().getStringRef().str());
      });
}

Interpreter::Interpreter(const ::tbq::Checkpoint &checkpoint,
                         Arithmetic arithmetic)
    : evaluator(std::make_unique<Evaluator>(checkpoint, arithmetic)),
      isDouble(arithmetic.type == Arithmetic::Float::Float64) {}
Interpreter::~Interpreter() = default;

Result<Matrices> Interpreter::evaluate(StepOp op, StepValues &values) {
  return isDouble ? evaluator->evaluate<double>(op, values)
                  : evaluator->evaluate<float>(op, values);
}
