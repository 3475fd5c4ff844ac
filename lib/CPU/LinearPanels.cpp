// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Panels of columns. One token's kernel takes all rows of a panel before the
// next one, as they lie in memory: its activations then stay in the first
// cache, which a row's weights alone may fill. Other kernels take a row whole.
// Invariant: a row's sums are made in the order of its columns, however it is
// cut: every bit is the same.

#include "LinearGenerator.h"

using namespace mlir;
using namespace mlir::tbq;

static constexpr int64_t kSumBytes = 4 * kLanes;

bool LinearGenerator::walksPanels() const {
  return tokens == 1 && layout.getNumPanels() > 1;
}

int64_t LinearGenerator::getScratchBytes(PackedLinearOp op) {
  LayoutAttr layout = op.getWeight().getType().getLayout();
  if (layout.hasTriples())
    return getBandBytes(layout);
  if (layout.getNumPanels() == 1)
    return 0;
  return kPanelTiles * (layout.isFloat() ? 2 : 1) * kSumBytes;
}

/// Where what tile `number` has of panel `panel`, which is `like` in size,
/// begins; of digits by threes, what a band has. With salient digits the table
/// before the tiles knows.
Value LinearGenerator::getPartOffset(Value number, Value panel, int64_t like) {
  if (layout.getSalient())
    return v.mul(v.loadIndex(bytes, v.mul(number, 4)), kAlignment);
  Value offset;
  if (layout.hasTriples()) {
    int64_t bands = layout.getNumBands();
    Value band = v.mul(v.rem(number, bands), layout.getPartBytes(like));
    offset = v.add(v.mul(v.div(number, bands), layout.getTileBytes()), band);
  } else {
    offset = v.mul(number, layout.getPartBytes(like));
  }
  if (layout.getNumPanels() == 1)
    return offset;
  return v.add(v.mul(panel, layout.getPanelOffset(1)), offset);
}

/// All panels, carrying values. The last one may have fewer columns, so there
/// are two bodies, of panels that are like the first and like the last.
SmallVector<Value> LinearGenerator::forEachPanel(
    ValueRange init,
    llvm::function_ref<SmallVector<Value>(Value, int64_t, ValueRange)> body) {
  int64_t last = layout.getNumPanels() - 1;
  SmallVector<Value> carried(init);
  if (last > 0)
    carried = v.loop(
        v.index(0), v.index(last), 1, carried,
        [&](Value panel, ValueRange values) { return body(panel, 0, values); });
  return body(v.index(last), last, carried);
}

void LinearGenerator::runPanels() {
  auto nothing = SmallVector<Value>();
  v.loop(op.getRange()[0], op.getRange()[1], kPanelTiles, nothing,
         [&](Value first, ValueRange) {
           Value end = v.min(v.add(first, kPanelTiles), op.getRange()[1]);
           v.loop(v.index(0), op.getCount(),
                  [&](Value token) { addTiles(first, end, token); });
           return nothing;
         });
}

/// Tiles from `first` to `end`, whose sums are in scratch memory between two
/// panels.
void LinearGenerator::addTiles(Value first, Value end, Value token) {
  int64_t number = getNumSums(), last = layout.getNumPanels() - 1;
  Value partial = memref::ViewOp::create(
      v.b, v.loc,
      MemRefType::get({kPanelTiles * number, kLanes}, v.b.getF32Type()),
      scratch, v.index(0), ValueRange());
  auto getPlaces = [&](Value at) {
    SmallVector<Value> places;
    for (int64_t i = 0; i < number; ++i)
      places.push_back(v.add(v.mul(v.sub(at, first), number), i));
    return places;
  };
  v.loop(first, end, [&](Value at) {
    for (Value place : getPlaces(at))
      v.store(v.splat(0.0f), partial, {place, v.index(0)});
  });
  forEachPanel({}, [&](Value panel, int64_t like, ValueRange) {
    v.loop(first, end, [&](Value at) {
      tile.number = at;
      SmallVector<Value> places = getPlaces(at), sums;
      for (Value place : places)
        sums.push_back(v.load(partial, {place, v.index(0)}, v.f32Vector()));
      sums = addPart(panel, like, token, sums);
      if (like == last)
        return finish(token, getTotals(sums));
      for (auto [place, sum] : llvm::zip_equal(places, sums))
        v.store(sum, partial, {place, v.index(0)});
    });
    return SmallVector<Value>();
  });
}
