// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-pack-weights: chooses a layout for every weight and brings every linear
// into the one form of digit planes and terms. After it, every weight that the
// step reads is a !tbq.packed, made by a tbq.pack.

#include "tbq/Passes.h"

#include "mlir/IR/Remarks.h"
#include "mlir/Support/DebugStringHelper.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/FormatVariadic.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_PACKWEIGHTSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// The form of a scheme: digit widths, and for each coefficient the integers
/// its bracket is made of (planes, then the sum).
static void getForm(Scheme scheme, bool shift, bool salient,
                    SmallVectorImpl<int64_t> &digits,
                    SmallVectorImpl<int64_t> &terms) {
  switch (scheme) {
  case Scheme::Ternary: // code T + 1: a (D - S) + c S
    digits.assign({2});
    terms.assign({1, -1});
    break;
  case Scheme::Binary: // bit B, the weight's sign is 2 B - 1: a (2 D - S) + m S
    if (!salient) {
      digits.assign({1});
      terms.assign({2, -1});
      break;
    }
    // B is 0 where salient, M is 1 there and q counts from the row's zero:
    // a (2 D - S + D_M) + m (S - D_M) + s D_q
    digits.assign({1, 1, 8});
    terms.assign({2, 1, 0, -1});
    if (shift)
      terms.append({0, -1, 0, 1});
    terms.append({0, 0, 1, 0});
    return;
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

/// The largest integer that a weight meets as an activation in any linear; 0:
/// only floats. All who use a weight read the same bytes.
using Activated = DenseMap<Value, int64_t>;

static int64_t getLargest(std::optional<Activations> activations) {
  switch (activations.value_or(Activations::F32)) {
  case Activations::F32:
    return 0;
  case Activations::I8:
    return kSteps8;
  case Activations::I16:
    return kSteps16;
  }
  llvm_unreachable("unknown activations");
}

/// The widest groups of whole steps that have at most `most` columns and are
/// parts of the layout's: they divide it, or a row that is one group.
static int64_t getPart(LayoutAttr layout, int64_t most) {
  int64_t group = layout.getGroup(), step = layout.getStepColumns();
  if (group <= most)
    return group;
  int64_t part = most / step * step;
  if (group == layout.getColumns())
    return llvm::alignTo(llvm::divideCeil(group, llvm::divideCeil(group, part)),
                         step);
  while (group % part != 0)
    part -= step;
  return part;
}

/// Of an activation, whose largest integer is `largest`.
static int64_t getActivationBytes(int64_t largest) {
  if (largest == 0)
    return 4;
  return largest == kSteps8 ? 1 : 2;
}

/// `layout` with other tiles, and other panels, of columns that are `parts`
/// times `whole`: of at most `most` such parts each, as even as these allow.
static LayoutAttr withTiles(LayoutAttr layout, int64_t tile, int64_t parts,
                            int64_t whole, int64_t most) {
  int64_t panels = llvm::divideCeil(parts, std::max<int64_t>(most, 1));
  int64_t panel = llvm::divideCeil(parts, panels) * whole;
  return LayoutAttr::get(
      layout.getContext(), layout.getRows(), layout.getColumns(),
      layout.getElementType(), layout.getDigits(), layout.getTerms(),
      layout.getGroup(), tile, layout.getBias(), layout.getSalient(),
      std::min(panel, layout.getColumns()));
}

/// The layout in panels of which a tile's part and the activations that it
/// meets (`largest` says their type) take at most `panelBytes`, or are of one
/// group, as evenly as groups allow. It stays as it is where all of them do,
/// and where activations are so little beside weights that reading them again
/// costs nothing.
static LayoutAttr cutPanels(LayoutAttr layout, int64_t largest,
                            int64_t panelBytes) {
  constexpr int64_t kMuch = 12, kFloats = 16;
  int64_t activationBytes = layout.getColumns() * getActivationBytes(largest);
  int64_t bytes = layout.getTileBytes() + activationBytes;
  if (panelBytes == 0 || layout.getTile() != kLanes || layout.getSalient() ||
      bytes <= panelBytes || activationBytes * kMuch < bytes)
    return layout;
  // Floats have no groups: a panel's activations are whole cache lines.
  int64_t whole = layout.isFloat() ? kFloats : layout.getGroup();
  int64_t wholes = llvm::divideCeil(layout.getColumns(), whole);
  return withTiles(layout, layout.getTile(), wholes, whole,
                   panelBytes * wholes / bytes);
}

namespace {
/// What the target's linears read.
struct Packing {
  int64_t tileRows, panelBytes, tripleColumns, tripleWeights, threads;
};
} // namespace

/// Of what a row at a time is taken from.
static Packing getTablePacking(int64_t tileRows) {
  return {tileRows, /*panelBytes=*/0, /*tripleColumns=*/0, /*tripleWeights=*/0,
          /*threads=*/0};
}

/// What the worker with the most tiles reads of a matrix, in bytes. A tile by
/// threes makes its tables anew, which takes as long as two fifths of a band.
static double getLongestShare(LayoutAttr layout, int64_t workers) {
  constexpr double kTables = 0.4;
  double tile = layout.getTileBytes();
  if (layout.hasTriples())
    tile *= 1 + kTables / layout.getNumBands();
  return llvm::divideCeil(layout.getNumTiles(), workers) * tile;
}

/// The layout with digits by threes; null where two bits are faster. It is for
/// ternary digits that meet int8: for int16 twice the tables are too many. Of
/// matrices of a model that the last cache does not hold. The worker with the
/// most to do must have less than of two bits; where their number is not known,
/// one must, and rows do for as many tiles that others have about equal shares.
static LayoutAttr groupByThrees(LayoutAttr layout, Scheme scheme,
                                int64_t largest, Packing packing) {
  // A step of many tokens spreads a group's digits at once, up to so many.
  constexpr int64_t kMostColumns = 4096;
  int64_t group = layout.getGroup();
  if (packing.tripleColumns == 0 || packing.tileRows != kLanes ||
      scheme != Scheme::Ternary || largest != kSteps8 ||
      layout.getRows() % kBandRows || layout.getColumns() % kTripleColumns ||
      group % kTripleColumns || group > kMostColumns ||
      layout.getRows() * layout.getColumns() < packing.tripleWeights)
    return {};
  constexpr int64_t kManyTiles = 8;
  const int64_t workers = packing.threads ? packing.threads : 1;
  const int64_t leastTiles = packing.threads ? 1 : kManyTiles;
  LayoutAttr best = layout;
  for (int64_t bands = kMostBands; bands > 0; --bands) {
    if (layout.getRows() % (bands * kBandRows))
      continue;
    LayoutAttr threes =
        withTiles(layout, bands * kBandRows, layout.getNumGroups(), group,
                  packing.tripleColumns / group);
    if (threes.getNumTiles() >= leastTiles &&
        getLongestShare(threes, workers) < getLongestShare(best, workers))
      best = threes;
  }
  return best.hasTriples() ? best : LayoutAttr();
}

/// Digits in the form of their scheme, for `user`; null, with an error, if the
/// layout cannot hold its groups. Where they meet integers as large as
/// `largest`, a group whose sums int32 may not hold is packed in parts.
static Value packDigits(Operation *user, Value weight, int64_t group,
                        ValueRange scale, Value shift, ValueRange salient,
                        Value bias, int64_t largest, Packing packing) {
  OpBuilder b(user);
  auto type = cast<DigitsType>(weight.getType());
  SmallVector<int64_t> digits, terms;
  getForm(type.getScheme(), bool(shift), !salient.empty(), digits, terms);
  auto getLayout = [&](int64_t group) {
    return LayoutAttr::getChecked(
        [&] { return user->emitOpError(); }, b.getContext(), type.getRows(),
        type.getColumns(), Type(), ArrayRef<int64_t>(digits),
        ArrayRef<int64_t>(terms), group, packing.tileRows, bool(bias),
        !salient.empty());
  };
  LayoutAttr layout = getLayout(group);
  if (!layout)
    return {};
  if (largest)
    layout = getLayout(getPart(layout, layout.getMostColumns(largest)));
  if (LayoutAttr threes =
          groupByThrees(layout, type.getScheme(), largest, packing))
    layout = threes;
  else
    layout = cutPanels(layout, largest, packing.panelBytes);
  SmallVector<Value> coefficients(scale);
  if (shift)
    coefficients.push_back(shift);
  return PackOp::create(
      b, weight.getLoc(), PackedType::get(b.getContext(), layout), weight,
      coefficients, salient, bias,
      layout.getGroup() == group ? IntegerAttr() : b.getI64IntegerAttr(group));
}

/// A float weight in the layout of a table (one row after the other, f32) or of
/// a matrix that is multiplied with (tiles, its own element type).
static Value packFloat(OpBuilder &b, Value weight, Packing packing,
                       Value bias = {}) {
  // Beside the weight, so that one that several layers share is packed once;
  // with a bias, which may come later, where it is used.
  OpBuilder::InsertionGuard guard(b);
  if (!bias)
    b.setInsertionPointAfterValue(weight);
  auto type = cast<RankedTensorType>(weight.getType());
  int64_t rows = type.getRank() == 1 ? 1 : type.getDimSize(0);
  int64_t columns = type.getShape().back();
  auto layout = LayoutAttr::get(b.getContext(), rows, columns,
                                packing.tileRows > 1 ? type.getElementType()
                                                     : Type(b.getF32Type()),
                                {}, {}, columns, packing.tileRows, bool(bias),
                                /*salient=*/false);
  layout = cutPanels(layout, /*largest=*/0, packing.panelBytes);
  return PackOp::create(b, weight.getLoc(),
                        PackedType::get(b.getContext(), layout), weight,
                        /*coefficients=*/ValueRange(),
                        /*salient=*/ValueRange(), bias,
                        /*group=*/IntegerAttr());
}

/// A vector, or a table with a row a position.
static void packTable(OpBuilder &b, OpOperand &table) {
  table.assign(packFloat(b, table.get(), getTablePacking(/*tileRows=*/1)));
}

static RankedTensorType withColumns(Value rows, int64_t columns, Type element) {
  auto type = cast<RankedTensorType>(rows.getType());
  return RankedTensorType::get({type.getDimSize(0), columns}, element);
}

namespace {
/// What a packed linear multiplies with.
struct Inputs {
  Value input, low, sums, scale;
};
} // namespace

/// The digits, scale and sums of the linear's input, or it and its f32 sums.
static Inputs makeInputs(OpBuilder &b, LinearOp op, LayoutAttr layout) {
  Inputs made;
  made.input = op.getInput();
  int64_t columns = layout.getColumns(), group = layout.getGroup();
  int64_t groups = layout.getNumGroups();
  Activations mode = op.getActivations().value_or(Activations::F32);
  if (mode != Activations::F32) {
    SmallVector<Type> types(mode == Activations::I16 ? 2 : 1,
                            withColumns(made.input, columns, b.getI8Type()));
    types.push_back(withColumns(made.input, 1, b.getF32Type()));
    types.push_back(withColumns(made.input, groups, b.getI32Type()));
    ResultRange quantized = QuantizeActivationsOp::create(
                                b, op.getLoc(), types, made.input, columns,
                                group, ValueRange(), Value(), ValueRange())
                                ->getResults();
    made.input = quantized.front();
    if (mode == Activations::I16)
      made.low = quantized[1];
    made.scale = quantized.drop_back().back();
    if (layout.usesSums())
      made.sums = quantized.back();
  } else if (layout.usesSums()) {
    made.sums =
        GroupSumsOp::create(
            b, op.getLoc(),
            TypeRange{withColumns(made.input, groups, b.getF32Type())},
            made.input, columns, group, ValueRange(), Value(), ValueRange())
            .getResult(0);
  }
  return made;
}

/// Says what became of a layer: scheme, true size, layout.
static void remarkLayer(Location location, Value weight, Value packed) {
  auto pack = packed.getDefiningOp<PackOp>();
  auto digits = dyn_cast<DigitsType>(weight.getType());
  remark::analysis(location,
                   remark::RemarkOpts::name("layout").category("pack"))
      << (digits ? stringifyScheme(digits.getScheme()) : "float")
      << llvm::formatv(": {0:F3} bits a weight, {1} bytes, ",
                       pack.getBitsPerWeight(), pack.getBytes())
             .str()
      << debugString(pack.getType());
}

static LogicalResult packLinear(LinearOp op, const Activated &activated,
                                Packing packing) {
  OpBuilder b(op);
  Inputs inputs{op.getInput(), {}, {}, {}};
  Value packed;
  if (isa<DigitsType>(op.getWeight().getType())) {
    packed = packDigits(op, op.getWeight(), *op.getGroup(), op.getScale(),
                        op.getShift(), op.getSalient(), op.getBias(),
                        activated.lookup(op.getWeight()), packing);
    if (!packed)
      return failure();
    inputs = makeInputs(b, op, cast<PackedType>(packed.getType()).getLayout());
  } else {
    packed = packFloat(b, op.getWeight(), packing, op.getBias());
  }
  remarkLayer(op.getLoc(), op.getWeight(), packed);
  auto linear = PackedLinearOp::create(
      b, op.getLoc(), op->getResultTypes(), inputs.input, packed, inputs.low,
      inputs.sums, inputs.scale, op.getResidual(), ValueRange(), Value(),
      ValueRange());
  op->replaceAllUsesWith(linear);
  op.erase();
  return success();
}

/// Packed like a linear's weight, so that a tied head may use the same bytes.
static LogicalResult packEmbedding(EmbeddingOp op, const Activated &activated,
                                   Packing packing) {
  OpBuilder b(op);
  Value table = op.getTable();
  Value packed =
      isa<DigitsType>(table.getType())
          ? packDigits(op, table, *op.getGroup(), op.getScale(),
                       /*shift=*/Value(), /*salient=*/ValueRange(),
                       /*bias=*/Value(), activated.lookup(table), packing)
          : packFloat(b, table, packing);
  if (!packed)
    return failure();
  remarkLayer(op.getLoc(), table, packed);
  op.getTableMutable().assign(packed);
  op.getScaleMutable().clear();
  op.removeGroupAttr();
  return success();
}

namespace {
struct PackWeightsPass : tbq::impl::PackWeightsPassBase<PackWeightsPass> {
  using PackWeightsPassBase::PackWeightsPassBase;

  void runOnOperation() override {
    SmallVector<Operation *> ops;
    Activated activated;
    DenseSet<Value> tables;
    getOperation()->walk([&](Operation *op) {
      if (isa<LinearOp, EmbeddingOp, AddPositionsOp, RmsNormOp, LayerNormOp,
              RopeOp>(op))
        ops.push_back(op);
      if (auto linear = dyn_cast<LinearOp>(op)) {
        int64_t &largest = activated[linear.getWeight()];
        largest = std::max(largest, getLargest(linear.getActivations()));
      }
      if (auto embedding = dyn_cast<EmbeddingOp>(op))
        tables.insert(embedding.getTable());
    });
    // A row of a table is taken whole, also of one that is a head too.
    auto getPacking = [&](Value weight) {
      if (tables.contains(weight))
        return getTablePacking(tileRows);
      return Packing{tileRows, panelBytes, tripleColumns, tripleWeights,
                     threads};
    };
    for (Operation *op : ops) {
      OpBuilder b(op);
      LogicalResult result =
          llvm::TypeSwitch<Operation *, LogicalResult>(op)
              .Case([&](LinearOp linear) {
                return packLinear(linear, activated,
                                  getPacking(linear.getWeight()));
              })
              .Case([&](EmbeddingOp embedding) {
                return packEmbedding(embedding, activated,
                                     getPacking(embedding.getTable()));
              })
              .Case([&](RmsNormOp norm) {
                packTable(b, norm.getWeightMutable());
                return success();
              })
              .Case([&](LayerNormOp norm) {
                packTable(b, norm.getWeightMutable());
                packTable(b, norm.getBiasMutable());
                return success();
              })
              .Case<AddPositionsOp, RopeOp>([&](auto positions) {
                packTable(b, positions.getTableMutable());
                return success();
              });
      if (failed(result))
        return signalPassFailure();
    }
  }
};
} // namespace
