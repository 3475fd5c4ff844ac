// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A packed linear for a step of many tokens by AMX, where each term of a layout
// has one plane at most. What a term's bracket multiplies, f D + s S, is one
// dot product, of the digits f d + s: they fit signed bytes. So a product of
// tiles is a bracket as it stands, and the sums of 16 tokens stay in registers
// from group to group. Next to AMX only one of two ports takes float
// operations: three for each 16 products (one conversion, two multiply-adds)
// are what a group costs. For a token, their order is LinearGenerator's.
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

private:
  static constexpr int64_t kRowBytes = 64; // of scratch memory
  /// Of the digits of the groups that are spread together, which are to stay in
  /// the first cache, and of one group, which is on the stack anyhow.
  static constexpr int64_t kMostDigitBytes = 1 << 14;
  static constexpr int64_t kMostGroupBytes = 1 << 18;
  /// Of the activations of a block of tokens: each tile of rows reads them from
  /// the second cache, where two tiles of LinearBlock share what they load.
  static constexpr int64_t kMostInputBytes = 1 << 17;

  /// Where in scratch memory what begins, in rows.
  struct Plan {
    int64_t groupsAtOnce, blockTokens;
    int64_t coefficients, rowSums, floatSums, products, end;
  };
  static Plan getPlan(PackedLinearOp op, const Tuning &tuning);
  /// The only plane of a term, or none; terms with more do not come here.
  static std::optional<int64_t> getPlane(LayoutAttr layout, int64_t term);
  static int64_t countProducts(LayoutAttr layout);
  static int64_t getGroupRows(LayoutAttr layout);

  Value view(Value scratch, int64_t first, int64_t end, Type element);
  void convertSums();
  void generateTile();
  Value getGroupOffset(Value group);
  void spread(Value group);
  Value getTermDigits(Value codes, int64_t bits, int64_t slot, int64_t term);
  void addGroups(Value token);
  SmallVector<Value> addGroup(Value token, Value group, ValueRange sums);
  bool isOneBlock() const { return plan.groupsAtOnce == layout.getNumGroups(); }

  Plan plan;
  Value digits, coefficients, rowSums, floatSums, products; // scratch memory
  Value firstToken, endToken, firstGroup, endGroup;         // at work
};

} // namespace mlir::tbq

#endif // TBQ_CPU_TERMTILES_H
