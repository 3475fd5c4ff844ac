// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A weight as the ops mean it, a row at a time: floats, or terms. A term of a
// quantised row is an integer for each column, which a coefficient a group (or
// a row) multiplies:
//   w[i] = sum over terms of coefficient[group of i] * integer[i].
// Values are borrowed from the checkpoint, or from what a tbq.quantize made.
#ifndef TBQ_INTERPRETER_WEIGHTROWS_H
#define TBQ_INTERPRETER_WEIGHTROWS_H

#include "tbq/Weights.h"

#include <cmath>
#include <map>
#include <memory>

namespace mlir::tbq {

class WeightRows {
public:
  int64_t rows = 0, columns = 0;
  int64_t group = 0;            // columns whose brackets are made at once
  int64_t coefficientGroup = 0; // and that share coefficients: as many or more
  /// Integers that the digits of the planes, and the number 1, are multiplied
  /// with: terms x (planes + 1). Salient values are a plane too, the last.
  std::vector<int64_t> factors;

  bool isFloat() const { return planes.empty(); }
  int64_t getNumTerms() const { return isFloat() ? 0 : coefficients.size(); }
  int64_t getNumGroups() const { return (columns + group - 1) / group; }

  /// A float weight's row.
  void readFloats(int64_t row, float *out) const;
  /// The integers of all terms, one row of `columns` after the other.
  void readIntegers(int64_t row, std::vector<int16_t> &out) const;
  float getCoefficient(int64_t row, int64_t group, int64_t term) const;
  /// 0 without a bias.
  float getBias(int64_t row) const;

  /// From now on, all of these are magnitudes, and differences sums.
  void takeMagnitudes();

private:
  friend class WeightReader;
  struct Plane {
    const uint8_t *digits;
    int64_t bits;
    bool isSigned; // int8 counts from -128, whatever stores it
  };
  struct Floats {
    const uint8_t *data = nullptr;
    ::tbq::DType dtype = ::tbq::DType::F32;
  };
  void readPlane(const Plane &plane, int64_t row, int16_t *out) const;
  void readSalient(int64_t row, const int16_t *mask, int16_t *out) const;

  float withSign(float value) const {
    return magnitudes ? std::fabs(value) : value;
  }

  bool magnitudes = false;
  Floats elements, bias;
  std::vector<Plane> planes; // the last one a mask, with salient values
  std::vector<const uint8_t *> coefficients; // f16
  /// Salient values, where each row's begin, i16 zero points (may be null);
  /// their coefficients, one a row, are the last term's.
  const uint8_t *salientValues = nullptr, *salientOffsets = nullptr,
                *salientZero = nullptr;
};

/// Finds what the operands of an op stand for. What tbq.quantize ops make is
/// kept: digits take a fraction of the floats they are made of.
class WeightReader {
public:
  explicit WeightReader(const ::tbq::Checkpoint &checkpoint)
      : checkpoint(checkpoint) {}

  ::tbq::Result<WeightRows> read(LinearOp op);
  ::tbq::Result<WeightRows> read(EmbeddingOp op);
  ::tbq::Result<WeightRows> read(PackedLinearOp op);
  /// A table of floats, with a row a position.
  ::tbq::Result<WeightRows> readTable(Value table);
  /// A vector of floats.
  ::tbq::Result<std::vector<float>> readVector(Value weight);

private:
  /// The values that make up a weight.
  struct Operands {
    Value weight, bias;
    SmallVector<Value> coefficients, salient;
    int64_t group = 0, coefficientGroup = 0;
    ArrayRef<int64_t> factors; // of a layout; empty: what the scheme means
  };
  ::tbq::Result<WeightRows> read(const Operands &operands);
  static Operands lookInside(PackOp op);
  ::tbq::Result<const uint8_t *> find(Value value);
  ::tbq::Status readPlanes(const Operands &operands, WeightRows &rows);
  ::tbq::Status readSalient(const Operands &operands, WeightRows &rows);
  ::tbq::Result<WeightRows::Floats> readFloats(Value value);
  ::tbq::Result<const QuantizedWeight *> evaluateOnce(QuantizeOp op);

  const ::tbq::Checkpoint &checkpoint;
  std::map<Operation *, std::unique_ptr<QuantizedWeight>> made;
};

} // namespace mlir::tbq

#endif // TBQ_INTERPRETER_WEIGHTROWS_H
