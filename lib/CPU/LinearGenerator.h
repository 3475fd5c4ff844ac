// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The generator of a packed linear's loops. One for every scheme: it reads
// planes, groups and terms from the layout (#tbq.layout) and knows no scheme by
// name. A tile of 16 rows is 16 lanes, so a row's sums never leave their lane.
// Tiles and groups are in LowerLinear.cpp, dot products in LinearDots.cpp; how
// x86 takes a step of many tokens in LinearBlock.h.
#ifndef TBQ_CPU_LINEARGENERATOR_H
#define TBQ_CPU_LINEARGENERATOR_H

#include "VectorBuilder.h"

namespace mlir::tbq {

/// How four int8 products become one int32: by vector multiplications and
/// additions, by x86's vpdpbusd, or by aarch64's sdot.
enum class DotProduct { plain, vnni, dotprod };

/// Lowers one packed linear.
class LinearGenerator {
public:
  LinearGenerator(PackedLinearOp op, OpBuilder &b, DotProduct dot, bool fused)
      : op(op), v(b, op.getLoc(), fused),
        layout(op.getWeight().getType().getLayout()), input(op.getInput()),
        low(op.getLow()), integer(!isF32(input)),
        dot(integer ? dot : DotProduct::plain) {
    tokens = getTokenTile(cast<MemRefType>(input.getType()).getDimSize(0));
  }

  void run();

protected:
  /// How far ahead of its stream of weights one token's kernel prefetches, into
  /// the second cache: into the first, its few fill buffers are the limit. Far
  /// enough for memory's latency, near enough to run past a worker's last tile
  /// by little.
  static constexpr int64_t kPrefetchBytes = 6144;
  static constexpr int64_t kSalientAccumulators = 4;
  /// For each of two digits of an activation, so that what else a group needs
  /// finds a register.
  static constexpr int64_t kMostAccumulators = 4;

  static bool isF32(Value rows) {
    return cast<MemRefType>(rows.getType()).getElementType().isF32();
  }
  SmallVector<Value> generateFloatTile(Value token);
  SmallVector<Value> generateDigitTile(Value token);
  Value getTileOffset(Value tile);
  void loadBytes();
  void loadRowCoefficients();
  Value generateGroup(Value offset, Value group, int64_t columns, Value token,
                      SmallVectorImpl<Value> &sums);
  SmallVector<Value> generatePlane(Value offset, Value group, int64_t columns,
                                   int64_t plane, Value token,
                                   Value salientDigits);
  SmallVector<Value> generateStride(Value offset, Value column, int64_t plane,
                                    int64_t valid, Value token,
                                    ValueRange dots);
  SmallVector<Value> generateStep(Value offset, Value column, int64_t plane,
                                  int64_t valid, Value token, ValueRange dots);
  SmallVector<Value> generateSalient(Value offset, Value column, int64_t valid,
                                     Value token, ValueRange carried);
  Value loadMask(Value offset);
  Value spreadSalient(Value mask, int64_t slot, Value &from);
  Value getDigits(Value codes, int64_t bits, int64_t slot, int64_t place);
  SmallVector<Value> generateDots(Value digits, int64_t bits, int64_t slot,
                                  Value column, Value token, ValueRange dots,
                                  int64_t first, int64_t stride);
  Value generateDotProduct(Value digits, Value x, int64_t bits, Value dot);
  Value countFromZero(Value dot, Value masked);
  Value loadActivation(Value token, Value column);
  Value loadFour(Value rows, Value token, Value column);
  Value finishDot(ValueRange dots, int64_t plane);
  Value addSlots(ValueRange dots, int64_t plane);
  Value getBracket(int64_t term, ArrayRef<Value> planes, Value sum);
  Value getNextGroup(Value offset, int64_t columns);
  SmallVector<Value> loadCoefficients(Value offset, int64_t columns);
  Value loadSum(Value token, Value group);
  Value addTerms(SmallVector<Value> planes, Value sum,
                 ArrayRef<Value> coefficients, Value y);
  void finish(Value token, ValueRange sums);
  Value loadBias();
  void finishToken(Value token, Value bias, Value y);

  /// Accumulators that plane `plane` has for one token, or for one digit of its
  /// activations. With one token, each bit slot of a VNNI digit has its own, so
  /// that no digit is shifted, or shares it with the slot half a byte away;
  /// float sums have two, to hide the latency of additions, as salient digits
  /// have more than one.
  int64_t getAccumulators(int64_t plane) const {
    if (!integer)
      return 2;
    // sdot's digits are signed: what is scaled to a byte's upper bit is none.
    if (dot != DotProduct::vnni || tokens != 1)
      return 1;
    if (isSalient(plane))
      return kSalientAccumulators;
    int64_t slots = 8 / layout.getDigits()[plane];
    return low ? std::min(slots, kMostAccumulators) : slots;
  }
  /// Digits of an activation that are multiplied apart.
  int64_t getInputDigits() const { return hasInstruction() && low ? 2 : 1; }
  bool hasInstruction() const { return dot != DotProduct::plain; }
  bool isSalient(int64_t plane) const {
    return plane >= layout.getNumDensePlanes();
  }
  /// One token reads each weight once, in order: ask for what comes later, once
  /// for each cache line.
  void prefetch(Value offset) {
    if (tokens == 1)
      prefetchLine(v.add(offset, kPrefetchBytes));
  }
  void prefetchLine(Value offset) {
    memref::PrefetchOp::create(v.b, v.loc, bytes, offset, /*isWrite=*/false,
                               /*localityHint=*/2, /*isDataCache=*/true);
  }
  Value row(Value token, int64_t offset) { return v.add(token, offset); }

  PackedLinearOp op;
  VectorBuilder v;
  LayoutAttr layout;
  Value input, low, bytes; // `low`: the other digit of i16 activations, or null
  /// A tile of rows: its number, where it begins, and with salient digits the
  /// coefficients and zero points of its rows.
  struct Tile {
    Value number, offset, rowCoefficient, zeroPoint;
  };
  Tile tile; // at work
  bool integer;
  DotProduct dot;
  int64_t tokens; // whose sums are kept in registers at once
};

} // namespace mlir::tbq

#endif // TBQ_CPU_LINEARGENERATOR_H
