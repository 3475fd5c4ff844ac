// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-resolve-weights: a packed weight's bytes are a view of the weights
// section at the place that the weight was given; where equal layers share the
// code, at the layer's, which a table has.

#include "tbq/Passes.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_RESOLVEWEIGHTSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// Tables of offsets, one for each list.
using OffsetTables = DenseMap<Attribute, memref::GlobalOp>;

static memref::GlobalOp getTable(PackedBytesOp op, ArrayRef<int64_t> offsets,
                                 OffsetTables &tables) {
  auto module = op->getParentOfType<ModuleOp>();
  OpBuilder b = OpBuilder::atBlockBegin(module.getBody());
  auto type = MemRefType::get({int64_t(offsets.size())}, b.getI64Type());
  auto values = DenseElementsAttr::get(
      RankedTensorType::get(type.getShape(), type.getElementType()), offsets);
  memref::GlobalOp &table = tables[values];
  if (!table)
    table = memref::GlobalOp::create(
        b, op.getLoc(), "tbq_offsets_" + std::to_string(tables.size() - 1),
        b.getStringAttr("private"), type, values, /*constant=*/true,
        IntegerAttr());
  return table;
}

/// What every offset but the first is from the one before it, if that is so:
/// the first layer's weights have others between them.
static std::optional<int64_t> getStride(ArrayRef<int64_t> offsets) {
  int64_t stride = offsets.back() - offsets.drop_back().back();
  for (size_t i = 2; i < offsets.size(); ++i)
    if (offsets[i] - offsets[i - 1] != stride)
      return std::nullopt;
  return stride;
}

/// By arithmetic: a table would be a load that everything waits for.
static Value getStridedOffset(OpBuilder &b, Location loc, Value layer,
                              ArrayRef<int64_t> offsets, int64_t stride) {
  auto constant = [&](int64_t value) -> Value {
    return arith::ConstantIndexOp::create(b, loc, value);
  };
  Value offset = arith::AddIOp::create(
      b, loc, constant(offsets[1] - stride),
      arith::MulIOp::create(b, loc, layer, constant(stride)));
  if (offsets[0] == offsets[1] - stride)
    return offset;
  Value isFirst = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, layer,
                                        constant(0));
  return arith::SelectOp::create(b, loc, isFirst, constant(offsets[0]), offset);
}

/// A packed weight's bytes: where it was placed, for this layer.
static void lowerBytes(PackedBytesOp op, OffsetTables &tables) {
  OpBuilder b(op);
  Location loc = op.getLoc();
  auto placed = op.getWeight().getDefiningOp<PlacedWeightOp>();
  ArrayRef<int64_t> offsets = placed.getOffsets();
  Value offset;
  if (llvm::all_equal(offsets)) {
    offset = arith::ConstantIndexOp::create(b, loc, offsets.front());
  } else if (std::optional<int64_t> stride = getStride(offsets)) {
    offset = getStridedOffset(b, loc, placed.getLayer(), offsets, *stride);
  } else {
    memref::GlobalOp global = getTable(op, offsets, tables);
    Value table = memref::GetGlobalOp::create(b, loc, global.getType(),
                                              global.getSymName());
    offset = arith::IndexCastOp::create(
        b, loc, b.getIndexType(),
        memref::LoadOp::create(b, loc, table, placed.getLayer()));
  }
  op.replaceAllUsesWith(memref::ViewOp::create(b, loc, op.getType(),
                                               placed.getSection(), offset,
                                               ValueRange())
                            .getResult());
  op.erase();
}

namespace {
struct ResolveWeightsPass
    : tbq::impl::ResolveWeightsPassBase<ResolveWeightsPass> {
  void runOnOperation() override {
    OffsetTables tables;
    getOperation().walk([&](PackedBytesOp op) { lowerBytes(op, tables); });
    getOperation().walk([](PlacedWeightOp op) { op.erase(); });
  }
};
} // namespace
