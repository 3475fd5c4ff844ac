// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-pack-weights: chooses a layout for every weight and brings every linear
// into the one form of digit planes and terms. After it, every weight that the
// step reads is a !tbq.packed, made by a tbq.pack.

#include "tbq/Passes.h"

#include "mlir/IR/Remarks.h"
#include "mlir/Support/DebugStringHelper.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_PACKWEIGHTSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// The form of a scheme: digit widths, and for each coefficient the integers
/// its bracket is made of (planes, then the sum).
static void getForm(Scheme scheme, bool shift, SmallVectorImpl<int64_t> &digits,
                    SmallVectorImpl<int64_t> &terms) {
  switch (scheme) {
  case Scheme::Ternary: // code T + 1: a (D - S) + c S
    digits.assign({2});
    terms.assign({1, -1});
    break;
  case Scheme::Binary: // bit B, the weight's sign is 2 B - 1: a (2 D - S) + m S
    digits.assign({1});
    terms.assign({2, -1});
    break;
  case Scheme::DualBinary: // bits b1, b2: alpha1 D1 + alpha2 D2
    digits.assign({1, 1});
    terms.assign({1, 0, 0, 0, 1, 0});
    break;
  case Scheme::Int8: // code q + 128: a (D - 128 S)
    digits.assign({8});
    terms.assign({1, -128});
    break;
  case Scheme::Int4: // code q + 8: a (D - 8 S)
    digits.assign({4});
    terms.assign({1, -8});
    break;
  case Scheme::SalientMask:
    llvm_unreachable("the verifiers refuse a mask");
  }
  if (shift)
    terms.append({0, 1});
}

/// Digits in the form of their scheme, for `user`; null, with an error, if the
/// layout cannot hold its groups.
static Value packDigits(Operation *user, Value weight, int64_t group,
                        ValueRange scale, Value shift, Value bias) {
  OpBuilder b(user);
  auto type = cast<DigitsType>(weight.getType());
  SmallVector<int64_t> digits, terms;
  getForm(type.getScheme(), bool(shift), digits, terms);
  auto layout = LayoutAttr::getChecked(
      [&] { return user->emitOpError(); }, b.getContext(), type.getRows(),
      type.getColumns(), Type(), ArrayRef<int64_t>(digits),
      ArrayRef<int64_t>(terms), group, kLanes, bool(bias));
  if (!layout)
    return {};
  SmallVector<Value> coefficients(scale);
  if (shift)
    coefficients.push_back(shift);
  return PackOp::create(b, weight.getLoc(),
                        PackedType::get(b.getContext(), layout), weight,
                        coefficients, bias);
}

/// A float weight in the layout of a table (one row after the other, f32) or of
/// a matrix that is multiplied with (tiles, its own element type).
static Value packFloat(OpBuilder &b, Value weight, bool matrix,
                       Value bias = {}) {
  // Beside the weight, so that one that several layers share is packed once;
  // with a bias, which may come later, where it is used.
  OpBuilder::InsertionGuard guard(b);
  if (!bias)
    b.setInsertionPointAfterValue(weight);
  auto type = cast<RankedTensorType>(weight.getType());
  int64_t rows = type.getRank() == 1 ? 1 : type.getDimSize(0);
  int64_t columns = type.getShape().back();
  auto layout =
      LayoutAttr::get(b.getContext(), rows, columns,
                      matrix ? type.getElementType() : Type(b.getF32Type()), {},
                      {}, columns, matrix ? kLanes : 1, bool(bias));
  return PackOp::create(b, weight.getLoc(),
                        PackedType::get(b.getContext(), layout), weight,
                        ValueRange(), bias);
}

static RankedTensorType withColumns(Value rows, int64_t columns, Type element) {
  auto type = cast<RankedTensorType>(rows.getType());
  return RankedTensorType::get({type.getDimSize(0), columns}, element);
}

/// The i8 digits, scale and sums of the linear's input, or its f32 sums.
static void addActivations(OpBuilder &b, LinearOp op, LayoutAttr layout,
                           Value &input, Value &sums, Value &scale) {
  int64_t columns = layout.getColumns(), group = layout.getGroup();
  int64_t groups = layout.getNumGroups();
  if (op.getActivations() == Activations::I8) {
    auto quantized = QuantizeActivationsOp::create(
        b, op.getLoc(),
        TypeRange{withColumns(input, columns, b.getI8Type()),
                  withColumns(input, 1, b.getF32Type()),
                  withColumns(input, groups, b.getI32Type())},
        input, columns, group, ValueRange(), Value(), ValueRange());
    input = quantized.getResult(0);
    scale = quantized.getResult(1);
    if (layout.usesSums())
      sums = quantized.getResult(2);
  } else if (layout.usesSums()) {
    sums = GroupSumsOp::create(
               b, op.getLoc(),
               TypeRange{withColumns(input, groups, b.getF32Type())}, input,
               columns, group, ValueRange(), Value(), ValueRange())
               .getResult(0);
  }
}

static LogicalResult packLinear(LinearOp op) {
  OpBuilder b(op);
  Value input = op.getInput(), sums, scale, packed;
  if (!op.getSalient().empty())
    return op.emitOpError("cannot pack salient weights yet");
  if (isa<DigitsType>(op.getWeight().getType())) {
    packed = packDigits(op, op.getWeight(), *op.getGroup(), op.getScale(),
                        op.getShift(), op.getBias());
    if (!packed)
      return failure();
    addActivations(b, op, cast<PackedType>(packed.getType()).getLayout(), input,
                   sums, scale);
  } else {
    packed = packFloat(b, op.getWeight(), /*matrix=*/true, op.getBias());
  }
  remark::analysis(op.getLoc(),
                   remark::RemarkOpts::name("layout").category("pack"))
      << "packed as " << debugString(packed.getType());
  auto linear = PackedLinearOp::create(
      b, op.getLoc(), op->getResultTypes(), input, packed, sums, scale,
      op.getResidual(), ValueRange(), Value(), ValueRange());
  op->replaceAllUsesWith(linear);
  op.erase();
  return success();
}

/// Packed like a linear's weight, so that a tied head may use the same bytes.
static LogicalResult packEmbedding(EmbeddingOp op) {
  OpBuilder b(op);
  if (!isa<DigitsType>(op.getTable().getType())) {
    op.getTableMutable().assign(packFloat(b, op.getTable(), /*matrix=*/true));
    return success();
  }
  Value packed = packDigits(op, op.getTable(), *op.getGroup(), op.getScale(),
                            /*shift=*/Value(), /*bias=*/Value());
  if (!packed)
    return failure();
  op.getTableMutable().assign(packed);
  op.getScaleMutable().clear();
  op.removeGroupAttr();
  return success();
}

namespace {
struct PackWeightsPass : tbq::impl::PackWeightsPassBase<PackWeightsPass> {
  void runOnOperation() override {
    SmallVector<Operation *> ops;
    getOperation()->walk([&](Operation *op) {
      if (isa<LinearOp, EmbeddingOp, RmsNormOp, RopeOp>(op))
        ops.push_back(op);
    });
    for (Operation *op : ops) {
      OpBuilder b(op);
      LogicalResult result =
          llvm::TypeSwitch<Operation *, LogicalResult>(op)
              .Case([&](LinearOp linear) { return packLinear(linear); })
              .Case([&](EmbeddingOp embedding) {
                return packEmbedding(embedding);
              })
              .Case([&](RmsNormOp norm) {
                norm.getWeightMutable().assign(
                    packFloat(b, norm.getWeight(), /*matrix=*/false));
                return success();
              })
              .Case([&](RopeOp rope) {
                rope.getTableMutable().assign(
                    packFloat(b, rope.getTable(), /*matrix=*/false));
                return success();
              });
      if (failed(result))
        return signalPassFailure();
    }
  }
};
} // namespace
