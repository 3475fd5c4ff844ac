// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-lower-linear-to-cpu: a packed linear becomes loops over vectors: tiles of
// rows, tokens, groups of columns, and what follows the last group. For a
// token, the order of all float operations is the same whatever the number of
// tokens in a step.

#include "LinearBlock.h"
#include "RemarkKernel.h"
#include "TermTiles.h"

#include "tbq/Passes.h"

#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/MathExtras.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_LOWERLINEARTOCPUPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

static constexpr int64_t kCacheLine = 64;

/// Of floats, which nothing is spread for.
static constexpr int64_t kFewFloatTokens = 3;

void LinearGenerator::loadBytes() {
  int64_t most =
      layout.getSalient() ? layout.getRows() * layout.getColumns() : 0;
  bytes = PackedBytesOp::create(
      v.b, v.loc, MemRefType::get({layout.getBytes(most)}, v.b.getI8Type()),
      op.getWeight());
}

void LinearGenerator::run() {
  loadBytes();
  if (layout.hasTriples())
    return runBands();
  if (walksPanels())
    return runPanels();
  v.loop(op.getRange()[0], op.getRange()[1], [&](Value number) {
    tile.number = number;
    if (layout.getNumPanels() == 1)
      tile.offset = getPartOffset(number, /*panel=*/Value(), /*like=*/0);
    v.loop(v.index(0), op.getCount(), tokens, ValueRange(),
           [&](Value token, ValueRange) {
             SmallVector<Value> sums(getNumSums(), v.splat(0.0f));
             sums = forEachPanel(
                 sums, [&](Value panel, int64_t like, ValueRange carried) {
                   return addPart(panel, like, token, carried);
                 });
             finish(token, getTotals(sums));
             return SmallVector<Value>();
           });
  });
}

/// The columns of panel `panel`, which is `like` in size, of the tile at work.
SmallVector<Value> LinearGenerator::addPart(Value panel, int64_t like,
                                            Value token, ValueRange sums) {
  if (layout.getNumPanels() > 1)
    tile.offset = getPartOffset(tile.number, panel, like);
  int64_t columns = layout.getPanelColumns(like);
  if (layout.isFloat())
    return addFloats(v.mul(panel, layout.getPanel()), columns, token, sums);
  return addGroups(v.mul(panel, layout.getPanelGroups()), columns, token, sums);
}

/// Of floats a token has two sums, of even and of odd columns.
SmallVector<Value> LinearGenerator::getTotals(ValueRange sums) {
  if (!layout.isFloat())
    return SmallVector<Value>(sums);
  SmallVector<Value> totals;
  for (int64_t t = 0; t < tokens; ++t)
    totals.push_back(v.addf(sums[2 * t], sums[2 * t + 1]));
  return totals;
}

/// One column is `tile` weights, multiplied with one activation a token.
SmallVector<Value> LinearGenerator::addFloats(Value first, int64_t columns,
                                              Value token, ValueRange sums) {
  Type element = layout.getElementType();
  int64_t columnBytes = layout.getTile() * element.getIntOrFloatBitWidth() / 8;
  return v.unrolled(
      columns, 4, sums, [&](Value column, int64_t copy, ValueRange carried) {
        SmallVector<Value> next(carried);
        Value offset = v.add(tile.offset, v.mul(column, columnBytes));
        if (copy * columnBytes % kCacheLine == 0)
          prefetch(offset);
        Value weights = v.loadAsF32(bytes, offset, element);
        for (int64_t t = 0; t < tokens; ++t) {
          Value x =
              v.splat(v.load(input, {row(token, t), v.add(first, column)}));
          Value &sum = next[2 * t + copy % 2];
          sum = v.fma(weights, x, sum);
        }
        return next;
      });
}

/// The tile's row coefficients and zero points, which all its groups share.
void LinearGenerator::loadRowCoefficients() {
  tile.rowCoefficient =
      v.loadAsF32(bytes, v.add(tile.offset, layout.getRowCoefficientOffset()),
                  v.b.getF16Type());
  Value zeros =
      v.loadBytes(bytes, v.add(tile.offset, layout.getZeroPointOffset()),
                  VectorType::get({kLanes}, v.b.getI16Type()));
  if (integer)
    tile.zeroPoint = arith::ExtSIOp::create(v.b, v.loc, v.i32Vector(), zeros);
  else
    tile.zeroPoint = arith::SIToFPOp::create(v.b, v.loc, v.f32Vector(), zeros);
}

/// The groups of `columns` columns from group `first` on, one behind the other.
/// With salient digits they differ in size, and where one ends the next one
/// begins.
SmallVector<Value> LinearGenerator::addGroups(Value first, int64_t columns,
                                              Value token, ValueRange init) {
  if (layout.getSalient())
    loadRowCoefficients();
  SmallVector<Value> sums(init);
  int64_t whole = columns / layout.getGroup();
  int64_t groups = llvm::divideCeil(columns, layout.getGroup());
  int64_t groupBytes = layout.getGroupBytes(layout.getGroup());
  Value offset = v.add(tile.offset, layout.getGroupOffset(0));
  int64_t group = 0;
  if (whole > 1) {
    SmallVector<Value> carried(sums);
    if (layout.getSalient())
      carried.push_back(offset);
    carried =
        v.loop(v.index(0), v.index(whole), 1, carried,
               [&](Value group, ValueRange carried) {
                 SmallVector<Value> next(carried.take_front(tokens));
                 Value start = layout.getSalient()
                                   ? carried.back()
                                   : v.add(offset, v.mul(group, groupBytes));
                 Value end = generateGroup(start, v.add(first, group),
                                           layout.getGroup(), token, next);
                 if (layout.getSalient())
                   next.push_back(end);
                 return next;
               });
    sums.assign(carried.begin(), carried.begin() + tokens);
    offset =
        layout.getSalient()
            ? carried.back()
            : v.add(tile.offset, layout.getGroupOffset(0) + whole * groupBytes);
    group = whole;
  }
  for (; group < groups; ++group)
    offset = generateGroup(
        offset, v.add(first, group),
        std::min(layout.getGroup(), columns - group * layout.getGroup()), token,
        sums);
  return sums;
}

/// The group at byte `offset`: dot products of all planes, then the terms. The
/// result is where the next one begins.
Value LinearGenerator::generateGroup(Value offset, Value group, int64_t columns,
                                     Value token,
                                     SmallVectorImpl<Value> &sums) {
  Value end = v.add(offset, layout.getGroupBytes(columns));
  SmallVector<SmallVector<Value>> dots, salient; // of each plane, one a token
  // First what loops over rounds, lest what is in registers has to outlast it.
  if (layout.getSalient())
    end = generateSalient(v.add(offset, layout.getBlockOffset(columns)), group,
                          columns, token, salient);
  for (int64_t plane = 0; plane < layout.getNumDensePlanes(); ++plane)
    dots.push_back(generatePlane(offset, group, columns, plane, token));
  dots.append(salient);
  SmallVector<Value> coefficients = loadCoefficients(offset, columns);
  for (int64_t t = 0; t < tokens; ++t) {
    SmallVector<Value> planes;
    for (ArrayRef<Value> dot : dots)
      planes.push_back(dot[t]);
    sums[t] =
        addTerms(planes, loadSum(row(token, t), group), coefficients, sums[t]);
  }
  return end;
}

/// The coefficients of the terms of the group at byte `offset`.
SmallVector<Value> LinearGenerator::loadCoefficients(Value offset,
                                                     int64_t columns) {
  SmallVector<Value> coefficients;
  if (layout.getNumGroupTerms())
    prefetch(v.add(offset, layout.getCoefficientOffset(0, columns)));
  for (int64_t term = 0; term < layout.getNumGroupTerms(); ++term)
    coefficients.push_back(
        v.loadAsF32(bytes,
                    v.add(offset, layout.getCoefficientOffset(term, columns) +
                                      2 * tile.part * kLanes),
                    v.b.getF16Type()));
  if (layout.getSalient())
    coefficients.push_back(tile.rowCoefficient);
  return coefficients;
}

/// The sum of a token's activations of a group, or null where no term has it.
Value LinearGenerator::loadSum(Value token, Value group) {
  if (!layout.usesSums())
    return Value();
  return v.splat(v.load(op.getSums(), {token, group}));
}

/// `y` and what the terms make of the planes' dot products.
Value LinearGenerator::addTerms(SmallVector<Value> planes, Value sum,
                                ArrayRef<Value> coefficients, Value y) {
  if (layout.getSalient())
    planes.back() = countFromZero(planes.back(), planes.end()[-2]);
  for (int64_t term = 0; term < layout.getNumTerms(); ++term)
    y = v.fma(getBracket(term, planes, sum), coefficients[term], y);
  return y;
}

/// Dot products of one plane of a group, one a token. Planes are interleaved
/// stride by stride; each is summed on its own.
SmallVector<Value> LinearGenerator::generatePlane(Value offset, Value group,
                                                  int64_t columns,
                                                  int64_t plane, Value token) {
  int64_t stride = layout.getStepColumns();
  int64_t strides = columns / stride, rest = columns % stride;
  Value first = v.mul(group, layout.getGroup());
  Value zero = integer ? v.splatI32(0) : v.splat(0.0f);
  int64_t number = getAccumulators(plane) * getInputDigits();
  SmallVector<Value> dots(tokens * number, zero);
  auto addStride = [&](Value number, int64_t valid, ValueRange carried) {
    Value from = v.add(offset, v.mul(number, layout.getStrideBytes()));
    Value column = v.add(first, v.mul(number, stride));
    return generateStride(from, column, plane, valid, token, carried);
  };
  // Elsewhere, and by AVX2, a step is dozens of instructions for each token.
  bool fewInstructions =
      hasInstruction() && (dot != DotProduct::avx2 || tokens == 1);
  dots = v.unrolled(strides, fewInstructions ? tuning.unrolledSteps : 1, dots,
                    [&](Value number, int64_t, ValueRange carried) {
                      return addStride(number, stride, carried);
                    });
  if (rest)
    dots = addStride(v.index(strides), rest, dots);
  SmallVector<Value> totals;
  for (int64_t t = 0; t < tokens; ++t)
    totals.push_back(
        finishDot(ValueRange(dots).slice(t * number, number), plane));
  return totals;
}

/// The tile's biases, or null.
Value LinearGenerator::loadBias() {
  if (!layout.getBias())
    return Value();
  Value offset = v.add(tile.offset, layout.getBiasOffset());
  if (int64_t bands = layout.getNumBands(); layout.hasTriples()) {
    Value row = v.add(v.mul(v.rem(tile.number, bands), layout.getBandRows()),
                      tile.part * kLanes);
    Value of = v.mul(v.div(tile.number, bands), layout.getTileBytes());
    offset = v.add(v.add(of, layout.getBiasOffset()), v.mul(row, 4));
  }
  return v.loadBytes(bytes, offset, v.f32Vector());
}

/// Activation scale, bias, residual; then the tile's row of a token is stored.
void LinearGenerator::finishToken(Value token, Value bias, Value y) {
  Value column =
      v.add(v.mul(tile.number, layout.getBandRows()), tile.part * kLanes);
  if (Value scale = op.getActivationScale())
    y = v.mulf(y, v.splat(v.load(scale, {token, v.index(0)})));
  if (bias)
    y = v.addf(y, bias);
  if (Value residual = op.getResidual())
    y = v.addf(y, v.load(residual, {token, column}, v.f32Vector()));
  v.store(y, op.getInto().front(), {token, column});
}

/// The tile's rows of tokens, whose sums are in memory.
void LinearGenerator::finishTokens(Value first, Value end,
                                   llvm::function_ref<Value(Value)> getSum) {
  Value bias = loadBias();
  v.loop(first, end,
         [&](Value token) { finishToken(token, bias, getSum(token)); });
}

/// Finishes the tokens of a token tile that exist.
void LinearGenerator::finish(Value token, ValueRange sums) {
  Value bias = loadBias();
  for (int64_t t = 0; t < tokens; ++t) {
    Value at = row(token, t);
    auto finishRow = [&] { finishToken(at, bias, sums[t]); };
    if (tokens == 1)
      finishRow();
    else
      v.ifThen(v.less(at, op.getCount()), finishRow);
  }
}

namespace {
struct LowerLinearToCPUPass
    : tbq::impl::LowerLinearToCPUPassBase<LowerLinearToCPUPass> {
  using LowerLinearToCPUPassBase::LowerLinearToCPUPassBase;

  void runOnOperation() override {
    auto product = llvm::StringSwitch<std::optional<DotProduct>>(dot)
                       .Case("plain", DotProduct::plain)
                       .Cases({"vnni", "amx"}, DotProduct::vnni)
                       .Case("avx2", DotProduct::avx2)
                       .Case("dotprod", DotProduct::dotprod)
                       .Default(std::nullopt);
    if (!product) {
      getOperation()->emitError("unknown dot product '") << dot << "'";
      return signalPassFailure();
    }
    getOperation()->walk(
        [&](func::FuncOp function) { lowerLinears(function, *product); });
  }

  void lowerLinears(func::FuncOp function, DotProduct product) {
    SmallVector<PackedLinearOp> ops;
    int64_t scratchBytes = 0;
    const Tuning common = getTuning();
    auto hasTermTiles = [&](PackedLinearOp op) {
      return dot == "amx" && mayBeMany(op) &&
             TermTiles::getScratchBytes(op, common) != 0;
    };
    auto getBlockBytes = [&](PackedLinearOp op) -> int64_t {
      if (!mayBeMany(op))
        return 0;
      if (hasTermTiles(op))
        return TermTiles::getScratchBytes(op, common);
      return product == DotProduct::vnni
                 ? LinearBlock::getScratchBytes(op, dot == "amx",
                                                LinearBlock::fit(op, common))
                 : 0;
    };
    function.walk([&](PackedLinearOp op) {
      ops.push_back(op);
      scratchBytes = std::max({scratchBytes, getBlockBytes(op),
                               LinearGenerator::getScratchBytes(op)});
    });
    Value scratch;
    if (scratchBytes)
      scratch = createScratch(function, scratchBytes);
    for (PackedLinearOp op : ops) {
      if (failed(checkTiles(op, product)))
        return signalPassFailure();
      OpBuilder b(op);
      bool inBlocks = getBlockBytes(op) != 0;
      const bool inTerms = hasTermTiles(op);
      Tuning tuning = LinearBlock::fit(op, common);
      if (inTerms)
        tuning.rowTiles =
            TermTiles::countRowTiles(op.getWeight().getType().getLayout());
      bool inTiles = inBlocks && dot == "amx" && LinearBlock::fillsTiles(op);
      // The figures of a machine with AMX are of tiles, where there are blocks.
      Roofline roofline{readRate, peakRate, decodeRate, prefillRate};
      if (inBlocks && dot == "amx" && !inTiles)
        roofline = Roofline();
      remarkKernel(op, {product, inBlocks, inTiles, inTerms}, tuning, roofline);
      auto generateFew = [&] {
        LinearGenerator(op, b, product, permute, fma, tuning, scratch,
                        /*apart=*/true)
            .run();
      };
      auto generateMany = [&] {
        if (inTerms)
          TermTiles(op, b, fma, tuning, scratch).run();
        else if (inBlocks)
          LinearBlock(op, b, dot == "amx", fma, tuning, scratch).run();
        else
          LinearGenerator(op, b, product, permute, fma, tuning, scratch).run();
      };
      VectorBuilder v(b, op.getLoc(), fma);
      if (mayBeMany(op))
        v.ifThenElse(v.less(op.getCount(), v.index(getFew(op) + 1)),
                     generateFew, generateMany);
      else
        generateFew();
      op.erase();
    }
  }

  static LogicalResult checkTiles(PackedLinearOp op, DotProduct product) {
    LayoutAttr layout = op.getWeight().getType().getLayout();
    if (layout.hasTriples() &&
        (op.getLow() || product != DotProduct::vnni ||
         cast<MemRefType>(op.getInput().getType()).getElementType().isF32()))
      return op.emitOpError("looks sums of int8 up by AVX-512, where digits "
                            "stand by threes: ")
             << layout;
    if (layout.getTile() != kLanes && !layout.hasTriples())
      return op.emitOpError("on a CPU needs tiles of ")
             << kLanes << " rows, not " << layout;
    return success();
  }

  /// For so few tokens nothing is worth spreading: one token's kernel takes a
  /// tile for each of them, which the first cache then has. Of the rows that a
  /// step selects there is mostly one.
  int64_t getFew(PackedLinearOp op) const {
    auto rows = cast<MemRefType>(op.getInput().getType());
    return rows.getElementType().isF32()
               ? std::min<int64_t>(fewTokens, kFewFloatTokens)
               : fewTokens;
  }
  bool mayBeMany(PackedLinearOp op) const {
    auto rows = cast<MemRefType>(op.getInput().getType());
    return rows.getDimSize(0) > getFew(op);
  }

  Tuning getTuning() const {
    Tuning tuning;
    tuning.farBytes = farBytes;
    tuning.nearBytes = nearBytes;
    tuning.unrolledSteps = unrolledSteps;
    tuning.fewTokens = fewTokens;
    tuning.tokenTile = tokenTile;
    tuning.rowTiles = rowTiles;
    tuning.blockTokens = blockTokens;
    tuning.unrolledQuads = unrolledQuads;
    tuning.unrolledTokens = unrolledTokens;
    return tuning;
  }

  /// On the worker's stack, for all linears of the function in turn.
  static Value createScratch(func::FuncOp function, int64_t size) {
    OpBuilder b = OpBuilder::atBlockBegin(&function.getBody().front());
    return memref::AllocaOp::create(
        b, function.getLoc(), MemRefType::get({size}, b.getI8Type()),
        ValueRange(), ValueRange(), b.getI64IntegerAttr(kAlignment));
  }
};
} // namespace
