// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What the dialect means, executed: a module after the graph stage, op by op,
// with the weights of a checkpoint. It also takes the packed form whose weights
// are still names (buildPackedFormPipeline), so that each op of a compiled step
// can be replayed.
// Invariant: sums of integers are exact; a weight is dequantised a row at a
// time, so memory does not grow with the model but for what tbq.quantize makes.
#ifndef TBQ_INTERPRETER_H
#define TBQ_INTERPRETER_H

#include "format/Result.h"
#include "tbq/Checkpoint.h"
#include "tbq/IR/Tbq.h"

#include "mlir/IR/BuiltinOps.h"

#include <functional>
#include <memory>
#include <vector>

namespace mlir::tbq {

/// Rows of numbers, one a token, row-major: floats, digits or sums. float64
/// holds every element type of a step exactly.
struct Matrix {
  Matrix() = default;
  Matrix(int64_t rows, int64_t columns)
      : rows(rows), columns(columns), values(rows * columns) {}

  double *row(int64_t number) { return values.data() + number * columns; }
  const double *row(int64_t number) const {
    return values.data() + number * columns;
  }

  int64_t rows = 0, columns = 0;
  std::vector<double> values;
};

/// In which floats the ops compute.
struct Arithmetic {
  enum class Float { Float64, Float32 };
  Float type = Float::Float64;
  /// Float32: whether bracket * coefficient + sum is rounded once, as on a
  /// target with fused multiply-add.
  bool fused = false;
  /// Packed linears, group sums and layer norms add the magnitudes of what they
  /// would add: what the rounding errors of their sums are relative to.
  bool magnitudes = false;
};

/// Keys and values of one sequence. What is stored is rounded to the cache's
/// element type.
class KeyValues {
public:
  explicit KeyValues(CacheType type) : type(type), layers(type.getLayers()) {}

  /// Rows of kv heads x head_dim elements, for positions from `position` on.
  void store(int64_t layer, int64_t position, const Matrix &keys,
             const Matrix &values);
  /// Positions [0, positions) of a layer from the memory of a step's cache.
  void load(int64_t layer, int64_t positions, const uint8_t *cache);

  const double *key(int64_t layer, int64_t head, int64_t position) const {
    return find(layers[layer].keys, head, position);
  }
  const double *value(int64_t layer, int64_t head, int64_t position) const {
    return find(layers[layer].values, head, position);
  }
  CacheType getType() const { return type; }

private:
  struct Layer {
    std::vector<double> keys, values; // [position][kv head][feature]
  };
  const double *find(const std::vector<double> &rows, int64_t head,
                     int64_t position) const {
    return rows.data() +
           (position * type.getKvHeads() + head) * type.getHeadDim();
  }

  CacheType type;
  std::vector<Layer> layers;
};

/// What the values of a step are while it is interpreted.
struct StepValues {
  DenseMap<Value, Matrix> rows;
  DenseMap<Value, int64_t> indices;
  KeyValues *cache = nullptr;
};

class Interpreter {
public:
  /// Weights come from `checkpoint`, which must outlive this.
  Interpreter(const ::tbq::Checkpoint &checkpoint, Arithmetic arithmetic);
  ~Interpreter();

  /// Gets each op of the step with its rows in the order of its operands and
  /// results. getStepName(op) is the layer's name.
  using Observer =
      std::function<void(StepOp op, ArrayRef<const Matrix *> operands,
                         ArrayRef<const Matrix *> results)>;
  void observe(Observer observer) { this->observer = std::move(observer); }

  /// Runs @forward on `tokens`, which stand at `position` and after, and
  /// returns its result for the tokens from `first` on. `cache` holds what
  /// stands before and receives what is new. Errors name the op's layer.
  ::tbq::Result<Matrix> forward(ModuleOp module, ArrayRef<int32_t> tokens,
                                int64_t position, int64_t first,
                                KeyValues &cache);

  /// The results of one op, whose operands `values` holds.
  ::tbq::Result<std::vector<Matrix>> evaluate(StepOp op, StepValues &values);

private:
  class Evaluator;
  std::unique_ptr<Evaluator> evaluator;
  bool isDouble;
  Observer observer;

  ::tbq::Status run(Block &block, StepValues &values);
  ::tbq::Status run(LayerOp layer, StepValues &values);
};

/// The cache type of @forward; null if it has none.
CacheType getCacheType(ModuleOp module);

/// What the model calls the layer of an op: the name in its location.
std::string getStepName(Operation *op);

} // namespace mlir::tbq

#endif // TBQ_INTERPRETER_H
