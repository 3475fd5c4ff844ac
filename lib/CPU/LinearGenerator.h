// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The generator of a packed linear's loops. One for every scheme: it reads
// planes, groups and terms from the layout (#tbq.layout) and knows no scheme by
// name. A tile of 16 rows is 16 lanes, so a row's sums never leave their lane.
// Tiles and groups are in LowerLinear.cpp, panels in LinearPanels.cpp, dot
// products in LinearDots.cpp, AVX2's in LinearPairs.cpp, digits by threes in
// LinearTriples.cpp, salient digits' in LinearSalient.cpp; how x86 takes a step
// of many tokens in LinearBlock.h.
#ifndef TBQ_CPU_LINEARGENERATOR_H
#define TBQ_CPU_LINEARGENERATOR_H

#include "VectorBuilder.h"

namespace mlir::tbq {

/// How four int8 products become one int32: by vector multiplications and
/// additions, by x86's vpdpbusd or its vpmaddubsw, or by aarch64's sdot.
enum class DotProduct { plain, vnni, avx2, dotprod };

/// A step of digits by threes: 64 columns of 64 rows, of which two halves are
/// read one after the other.
struct TripleStep {
  /// The numbers of the half's 32 rows, a word each, of three columns each; the
  /// last one is a digit. A word's bits past the fifth are anything.
  static SmallVector<Value> load(VectorBuilder &v, Value bytes, Value offset,
                                 LayoutAttr layout, int64_t half,
                                 llvm::function_ref<void(Value)> prefetch);
  /// The half's digits, a byte each: `store` gets those of four columns of 16
  /// rows, part `part` of the half.
  static void spread(
      VectorBuilder &v, ArrayRef<Value> numbers,
      llvm::function_ref<void(int64_t quad, int64_t part, Value four)> store);
};

/// Lowers one packed linear.
class LinearGenerator {
public:
  /// `scratch`: the function's, of at least the op's getScratchBytes. `apart`:
  /// tokens are computed one by one.
  LinearGenerator(PackedLinearOp op, OpBuilder &b, DotProduct dot, bool permute,
                  bool fused, const Tuning &tuning, Value scratch,
                  bool apart = false)
      : op(op), v(b, op.getLoc(), fused), tuning(tuning), scratch(scratch),
        layout(op.getWeight().getType().getLayout()), input(op.getInput()),
        low(op.getLow()), integer(!isF32(input)),
        dot(integer ? dot : DotProduct::plain), permute(permute) {
    int64_t rows = cast<MemRefType>(input.getType()).getDimSize(0);
    tokens = apart ? 1 : rows < kTokenTile ? rows : tuning.tokenTile;
  }

  void run();

  /// What the op needs, for one token, where its weight has panels or digits by
  /// threes.
  static int64_t getScratchBytes(PackedLinearOp op);

protected:
  /// Localities of a prefetch.
  static constexpr int64_t kSecondCache = 2;
  static constexpr int64_t kFirstCache = 3;
  /// Tokens whose salient sums, and activations to look up, are kept in
  /// registers at once, for each digit of an activation.
  static constexpr int64_t kSalientTokens = 4;
  /// Tiles of rows that pass together between two panels: all that most workers
  /// have. Where a panel's part of them ends the stream of weights jumps, which
  /// may cost microseconds; sums that the second cache holds cost less.
  static constexpr int64_t kPanelTiles = 512;
  /// For each of two digits of an activation, so that what else a group needs
  /// finds a register.
  static constexpr int64_t kMostAccumulators = 4;

  /// Salient digits of a row that a round has, the bytes of a lane; and of all.
  static constexpr int64_t kRound = 4;
  static constexpr int64_t kBytes = kRound * kLanes;

  /// Vectors of the rows of a tile, or of a band: one, but for digits by
  /// threes.
  int64_t getParts() const { return layout.getBandRows() / kLanes; }
  static int64_t getBandBytes(LayoutAttr layout);
  static bool isF32(Value rows) {
    return cast<MemRefType>(rows.getType()).getElementType().isF32();
  }
  bool walksPanels() const;
  void runPanels();
  void addTiles(Value first, Value end, Value token);
  Value getPartOffset(Value number, Value panel, int64_t like);
  SmallVector<Value> forEachPanel(
      ValueRange init,
      llvm::function_ref<SmallVector<Value>(Value, int64_t, ValueRange)> body);
  SmallVector<Value> addPart(Value panel, int64_t like, Value token,
                             ValueRange sums);
  SmallVector<Value> addFloats(Value first, int64_t columns, Value token,
                               ValueRange sums);
  SmallVector<Value> addGroups(Value first, int64_t columns, Value token,
                               ValueRange init);
  void runBands();
  void addBands(Value number, Value token);
  void makeTables(Value first, int64_t columns, Value token);
  SmallVector<Value> lookUpGroup(Value offset, Value begin, int64_t columns);
  SmallVector<Value> addTriples(Value first, int64_t columns, Value token,
                                ValueRange init);
  SmallVector<Value> getTotals(ValueRange sums);
  void loadBytes();
  void loadRowCoefficients();
  Value generateGroup(Value offset, Value group, int64_t columns, Value token,
                      SmallVectorImpl<Value> &sums);
  SmallVector<Value> generatePlane(Value offset, Value group, int64_t columns,
                                   int64_t plane, Value token);
  SmallVector<Value> generateStride(Value offset, Value column, int64_t plane,
                                    int64_t valid, Value token,
                                    ValueRange dots);
  SmallVector<Value> generateStep(Value offset, Value column, int64_t plane,
                                  int64_t valid, Value token, ValueRange dots);
  Value getDigits(Value codes, int64_t bits, int64_t slot, int64_t place);
  SmallVector<Value> generateDots(Value digits, int64_t bits, int64_t slot,
                                  Value column, Value token, ValueRange dots,
                                  int64_t first, int64_t stride);
  /// Digits, one a byte, of the four columns from `column` of a step on.
  struct Digits {
    Value bytes;
    int64_t column;
  };
  SmallVector<Digits> getPairDigits(Value codes, int64_t bits, int64_t valid);
  SmallVector<Value> addPairs(Value codes, int64_t bits, Value column,
                              int64_t valid, Value token, ValueRange dots);
  Value generateDotProduct(Value digits, Value x, int64_t bits, Value dot);
  Value addDotProducts(Value dot, Value digits, Value x);
  Value loadActivation(Value token, Value column);
  Value loadFour(Value rows, Value token, Value column);
  Value finishDot(ValueRange dots, int64_t plane);
  Value addSlots(ValueRange dots, int64_t plane);
  Value generateSalient(Value from, Value group, int64_t columns, Value token,
                        SmallVectorImpl<SmallVector<Value>> &dots);
  SmallVector<Value> generateBlock(Value column, int64_t valid, Value token,
                                   int64_t number, ValueRange carried);
  SmallVector<Value> loadTables(Value column, int64_t valid, Value token,
                                int64_t number);
  /// Salient digits of all rows, and the column of each within the block; bytes
  /// without one are 0.
  struct Round {
    Value columns, digits, present;
  };
  SmallVector<Value> forEachRound(
      Value from, ValueRange init,
      llvm::function_ref<SmallVector<Value>(const Round &, ValueRange)> body);
  Round getPlace(const Round &round, int64_t place);
  void addLookedUp(const Round &round, ValueRange tables,
                   MutableArrayRef<Value> sums);
  void addGathered(const Round &round, Value column, Value token,
                   MutableArrayRef<Value> sums);
  Value splatByte(int8_t value);
  Value expand(Value from, Value present);
  Value combine(ValueRange parts);
  Value countFromZero(Value dot, Value masked);
  Value getBracket(int64_t term, ArrayRef<Value> planes, Value sum);
  SmallVector<Value> loadCoefficients(Value offset, int64_t columns);
  Value loadSum(Value token, Value group);
  Value addTerms(SmallVector<Value> planes, Value sum,
                 ArrayRef<Value> coefficients, Value y);
  void finish(Value token, ValueRange sums);
  Value loadBias();
  void finishToken(Value token, Value bias, Value y);
  void finishTokens(Value first, Value end,
                    llvm::function_ref<Value(Value)> getSum);

  /// Accumulators that plane `plane` has for one token, or for one digit of its
  /// activations. With one token, each bit slot of a VNNI digit has its own, so
  /// that no digit is shifted, or shares it with the slot half a byte away, if
  /// a shift of each step is less than a shift and an addition of four sums;
  /// float sums have two, to hide the latency of additions.
  int64_t getAccumulators(int64_t plane) const {
    if (!integer)
      return 2;
    // sdot's digits are signed: what is scaled to a byte's upper bit is none,
    // and vpmaddubsw's products are to fit 16 bits.
    if (dot != DotProduct::vnni || tokens != 1)
      return 1;
    int64_t slots = 8 / layout.getDigits()[plane];
    int64_t steps = layout.getSteps(plane, layout.getGroup());
    bool few = low || steps < 2 * (slots - kMostAccumulators);
    return few ? std::min(slots, kMostAccumulators) : slots;
  }
  /// Digits of an activation that are multiplied apart.
  int64_t getInputDigits() const { return hasInstruction() && low ? 2 : 1; }
  bool hasInstruction() const { return dot != DotProduct::plain; }
  /// The rows of activations: of i16 both digits, the one of 256 first.
  SmallVector<Value> getInputs() const {
    return low ? SmallVector<Value>{input, low} : SmallVector<Value>{input};
  }
  /// Whether salient digits find their activations in registers, not in memory.
  bool looksUp() const { return dot == DotProduct::vnni && permute; }
  /// Sums of rows that a tile has; of floats those of even and odd columns.
  int64_t getNumSums() const { return (layout.isFloat() ? 2 : 1) * tokens; }
  int64_t getSalientTokens() const {
    return kSalientTokens / int64_t(getInputs().size());
  }
  /// Salient sums of a token: of its mask, then of its digits, each for both
  /// digits of an activation, or of floats in even and in odd places.
  int64_t getSalientSums() const {
    return integer ? 2 * int64_t(getInputs().size()) : 4;
  }
  /// One token reads each weight once, in order: ask for what comes later, once
  /// for each cache line. First into the second cache and then into the first,
  /// whose fill buffers are too few to wait for memory.
  void prefetch(Value offset) {
    if (tokens != 1)
      return;
    if (tuning.farBytes)
      prefetchLine(v.add(offset, tuning.farBytes), kSecondCache);
    if (tuning.nearBytes)
      prefetchLine(v.add(offset, tuning.nearBytes), kFirstCache);
  }
  void prefetchLine(Value offset, int64_t locality) {
    memref::PrefetchOp::create(v.b, v.loc, bytes, offset, /*isWrite=*/false,
                               locality, /*isDataCache=*/true);
  }
  Value row(Value token, int64_t offset) { return v.add(token, offset); }

  PackedLinearOp op;
  VectorBuilder v;
  const Tuning &tuning;
  Value scratch;
  LayoutAttr layout;
  Value tables, partial;   // scratch memory, of one token's digits by threes
  Value input, low, bytes; // `low`: the other digit of i16 activations, or null
  /// A tile of rows, or a band: its number, where its part of the panel at work
  /// begins, and with salient digits the coefficients and zero points of its
  /// rows.
  struct Tile {
    Value number, offset, rowCoefficient, zeroPoint;
    int64_t part = 0; // of a band's rows
  };
  Tile tile; // at work
  bool integer;
  DotProduct dot;
  bool permute;   // one instruction permutes the bytes of two vectors
  int64_t tokens; // whose sums are kept in registers at once
};

} // namespace mlir::tbq

#endif // TBQ_CPU_LINEARGENERATOR_H
