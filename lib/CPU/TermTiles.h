// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A packed linear for a step of many tokens by AMX, where each term of a layout
// has one plane at most. What a term's bracket multiplies, f D + s S, is one
// dot product, of the digits f d + s: they fit signed bytes. So a product of
// tiles is a bracket as it stands. Two tiles of digits and two of activations
// make four products, so that each is loaded for two. A few groups' products
// are made together, then added to a tile's sums in registers: next to AMX only
// one of two ports takes float operations, of which a group takes three for
// each 16 products (one conversion, two multiply-adds). For a token, their
// order is LinearGenerator's.
#ifndef TBQ_CPU_TERMTILES_H
#define TBQ_CPU_TERMTILES_H

#include "LinearGenerator.h"

namespace mlir::tbq {

class TermTiles : public LinearGenerator {
public:
  /// `scratch`: the function's, of at least the op's getScratchBytes.
  TermTiles(PackedLinearOp op, OpBuilder &b, bool fused, const Tuning &tuning,
            Value scratch);

  void run();

  /// What the op needs; 0: it is none for this.
  static int64_t getScratchBytes(PackedLinearOp op, const Tuning &tuning);
  /// Tiles of rows that are multiplied together.
  static int64_t countRowTiles(LayoutAttr layout);

private:
  static constexpr int64_t kRowBytes = 64; // of scratch memory
  /// Tiles of digits, and of activations, that are multiplied together.
  static constexpr int64_t kTilesAtOnce = 2;
  /// Groups that are spread together and then multiplied: more digits and
  /// products would drive each other from the first cache.
  static constexpr int64_t kGroupsAtOnce = 2;
  /// Of the digits that are on the stack; wider groups than that are not
  /// multiplied so.
  static constexpr int64_t kMostDigitBytes = 1 << 18;
  /// Of the activations of a block of tokens, which each tile of rows reads
  /// from the second cache.
  static constexpr int64_t kMostInputBytes = 1 << 20;

  /// How many of each there are, and where in scratch memory what begins, in
  /// rows.
  struct Plan {
    int64_t rowTiles, tokenTiles, groupsAtOnce, blockTokens;
    int64_t coefficients, rowSums, floatSums, products, end;
  };
  static Plan getPlan(PackedLinearOp op, const Tuning &tuning);
  /// The only plane of a term, or none; terms with more do not come here.
  static std::optional<int64_t> getPlane(LayoutAttr layout, int64_t term);
  static int64_t countProducts(LayoutAttr layout);
  static int64_t getGroupRows(LayoutAttr layout);

  Value view(Value scratch, int64_t first, int64_t end, Type element);
  void convertSums();
  Value getSumRow(Value token, int64_t t, int64_t number);
  SmallVector<Value> loadSums(Value token, int64_t number);
  void generateTiles();
  Value getGroupOffset(Value group);
  void spread(Value group, int64_t number);
  Value getTermDigits(Value codes, int64_t bits, int64_t slot, int64_t term);
  Value getPlace(Value group, int64_t number);
  Value getFirstDigits(Value group, int64_t number);
  Value getFirstCoefficient(Value group, int64_t number);
  Value getProduct(Value group, int64_t number, int64_t input, int64_t product);
  int64_t countInputs() { return plan.tokenTiles * getInputs().size(); }
  void multiplyGroup(Value token, Value group);
  void addGroups(Value token, int64_t number, int64_t tokenTile);
  SmallVector<Value> addGroup(Value token, Value group, int64_t number,
                              int64_t tokenTile, ValueRange sums);
  void finishTiles();

  Plan plan;
  Value digits, coefficients, rowSums, floatSums, products; // scratch memory
  Value firstToken, endToken, firstGroup, endGroup;         // at work
  SmallVector<Tile, kTilesAtOnce> tiles;                    // at work
};

} // namespace mlir::tbq

#endif // TBQ_CPU_TERMTILES_H
