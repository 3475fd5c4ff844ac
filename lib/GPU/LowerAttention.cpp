// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rotary embedding, the KV cache and attention on a GPU. A block has a query
// head of a token, or of neighbouring ones; its warps divide the keys by
// position alone, and what they found is put together in the order of the
// warps: the same whatever the number of blocks or tokens.

#include "LinearGroup.h"
#include "LowerStep.h"
#include "WarpgroupAttention.h"

using namespace mlir;
using namespace mlir::tbq;

Rotation::Rotation(ThreadBuilder &t, RopeOp op, Value token, Value head,
                   Value i, int64_t width)
    : width(width) {
  int64_t headDim = op.getHeadDim(), half = headDim / 2;
  LayoutAttr layout = cast<PackedType>(op.getTable().getType()).getLayout();
  Value table = getBytes(t, op.getTable());
  auto vector = VectorType::get({width}, t.b.getF32Type());
  Value position = getPlace(t.b, t.loc, op.getPosition(), token).position;
  Value angles = t.add(t.mul(position, layout.getTileBytes()), t.mul(i, 4));
  cosines = t.loadBytes(table, angles, vector);
  sines = t.loadBytes(table, t.add(angles, 4 * half), vector);
  Value at = t.add(t.mul(head, headDim), i);
  low = t.loadVector(op.getInput(), {token, at}, vector);
  high = t.loadVector(op.getInput(), {token, t.add(at, half)}, vector);
}

std::pair<SmallVector<Value>, SmallVector<Value>>
Rotation::rotate(ThreadBuilder &t) const {
  std::pair<SmallVector<Value>, SmallVector<Value>> rotated;
  for (int64_t lane = 0; lane < width; ++lane) {
    Value x = t.extract(low, lane), y = t.extract(high, lane);
    Value cosine = t.extract(cosines, lane), sine = t.extract(sines, lane);
    rotated.first.push_back(t.subf(t.mulf(x, cosine), t.mulf(y, sine)));
    rotated.second.push_back(t.addf(t.mulf(y, cosine), t.mulf(x, sine)));
  }
  return rotated;
}

void mlir::tbq::lowerRope(ThreadBuilder &t, RopeOp op) {
  int64_t headDim = op.getHeadDim(), half = headDim / 2;
  Value into = op.getInto().front();
  // Neighbours that a thread loads at once.
  const int64_t width = half % 4 == 0 ? 4 : 1;
  forEachElement(t, op, half / width, [&](Value token, Value number) {
    Value pair = t.mul(number, width);
    Value head = t.div(pair, half), i = t.rem(pair, half);
    auto [low, high] = Rotation(t, op, token, head, i, width).rotate(t);
    Value at = t.add(t.mul(head, headDim), i);
    t.storeVector(low, into, {token, at});
    t.storeVector(high, into, {token, t.add(at, half)});
  });
}

void mlir::tbq::lowerAppendCache(ThreadBuilder &t, AppendCacheOp op) {
  CacheType type = op.getCacheType();
  Type element = type.getElementType();
  int64_t headDim = type.getHeadDim();
  forEachElement(t, op, headDim, [&](Value token, Value column) {
    Value feature = t.rem(column, headDim);
    auto [position, begin] = getPlace(t.b, t.loc, op.getPosition(), token);
    CacheHead cache(t.b, t.loc, type, op.getLayer(), t.div(column, headDim),
                    begin);
    t.storeF32As(t.load(op.getKey(), {token, column}), op.getCache(),
                 cache.getKeyElement(position, feature), element);
    t.storeF32As(t.load(op.getValue(), {token, column}), op.getCache(),
                 cache.getValueElement(position, feature), element);
  });
}

/// The rope that alone makes a row for `reader`, in the block's own memory.
static RopeOp findRope(AttentionOp reader, Value row, Operation *last) {
  Operation *op = reader->getPrevNode();
  while (op && (isMemoryEffectFree(op) || isa<RopeOp>(op)) &&
         !(isa<RopeOp>(op) && cast<RopeOp>(op).getInto().front() == row))
    op = op->getPrevNode();
  auto rope = dyn_cast_or_null<RopeOp>(op);
  return rope && isOwn(row) && !isReadBehind(last, row) ? rope : nullptr;
}

/// Whether two buffers are the same bytes of the step's memory.
static bool areSame(Value one, Value other) {
  auto first = one.getDefiningOp<memref::ViewOp>(),
       second = other.getDefiningOp<memref::ViewOp>();
  return one == other ||
         (first && second && first.getSource() == second.getSource() &&
          first.getType() == second.getType() &&
          getConstantIntValue(first.getByteShift()) &&
          getConstantIntValue(first.getByteShift()) ==
              getConstantIntValue(second.getByteShift()));
}

/// The rope of several tokens' queries that are rotated where they lie, for
/// `reader` alone, which may then take them as they were.
static RopeOp findRopeInPlace(AttentionOp reader) {
  Value query = reader.getQuery();
  for (Operation *op = reader->getPrevNode(); op; op = op->getPrevNode()) {
    if (!llvm::is_contained(op->getOperands(), query)) {
      if (op->getNumRegions())
        return nullptr;
      continue;
    }
    auto rope = dyn_cast<RopeOp>(op);
    bool isOnlyReader =
        rope && rope.getInto().front() == query && !isReadBehind(reader, query);
    return isOnlyReader && areSame(rope.getInput(), query) ? rope : nullptr;
  }
  return nullptr;
}

AttentionNeighbours mlir::tbq::findNeighbours(AttentionOp op) {
  AttentionNeighbours around;
  if (!op.getKey()) {
    if (op.getCacheType().getTiled())
      around.query = findRopeInPlace(op);
    return around;
  }
  auto append =
      dyn_cast_or_null<AppendCacheOp>(findEffect(op, /*isBehind=*/true));
  if (!append || append.getKey() != op.getKey() ||
      append.getValue() != op.getValue())
    return around;
  around.append = append;
  around.query = findRope(op, op.getQuery(), append);
  around.key = findRope(op, op.getKey(), append);
  return around;
}

/// The first keys and values of a block's first head, before the barrier that
/// its query waits for, where the op reads none that this step stores.
template <class Attention>
static SmallVector<Value>
loadAhead(ThreadBuilder &t, AttentionOp op,
          llvm::function_ref<Attention(AttentionPlace, Value)> getHead) {
  Operation *barrier = findBarrier(op);
  if (!op.getKey() || !barrier)
    return {};
  OpBuilder::InsertionGuard guard(t.b);
  t.b.setInsertionPoint(barrier);
  IRMapping copies;
  Value unit = getAt(t.b, op.getRange()[0], copies);
  Value end = getAt(t.b, op.getRange()[1], copies);
  AttentionPlace place = {getAt(t.b, op.getLayer(), copies),
                          getAt(t.b, op.getPosition(), copies)};
  return getHead(place, unit).loadFirst(t.less(unit, end));
}

/// What pads the rows of tokens `first` to `first` + `tokens` is read by
/// whoever sums over them; one head's block writes it.
static void padRows(ThreadBuilder &t, AttentionOp op, Value first, Value head,
                    int64_t tokens) {
  Value into = op.getInto().front();
  int64_t columns = op.getHeads() * op.getCacheType().getHeadDim();
  int64_t width = cast<MemRefType>(into.getType()).getShape().back();
  if (columns == width)
    return;
  Value token = t.add(first, t.thread());
  Value pads = t.both(t.equal(head, 0), t.less(t.thread(), t.index(tokens)));
  if (tokens > 1)
    pads = t.both(pads, t.less(token, op.getCount()));
  t.ifThen(pads, [&] {
    for (int64_t pad = columns; pad < width; ++pad)
      t.store(t.constant(0.0f), into, {token, t.index(pad)});
  });
}

/// The heads of the block's range, each of a token. The first stands by itself:
/// what is loaded for it would else be held from one head to the next.
template <class Attention>
static void
lowerHeads(ThreadBuilder &t, AttentionOp op,
           llvm::function_ref<Attention(AttentionPlace, Value)> getHead) {
  AttentionPlace place = {op.getLayer(), op.getPosition()};
  Value first = op.getRange()[0], end = op.getRange()[1];
  auto attend = [&](Value unit, ValueRange loaded) {
    Attention attention = getHead(place, unit);
    attention.run(loaded);
    attention.combine();
    padRows(t, op, t.div(unit, op.getHeads()), t.rem(unit, op.getHeads()), 1);
    t.synchronize();
  };
  SmallVector<Value> loaded = loadAhead(t, op, getHead);
  if (!loaded.empty()) {
    t.ifThen(t.less(first, end), [&] { attend(first, loaded); });
    first = t.add(first, 1);
  }
  t.loop(first, end, t.index(1), [&](Value unit) { attend(unit, {}); });
}

/// All tokens by tiles, whose heads are dealt to the blocks in turn, those with
/// the most keys first: what the op reads and writes is behind barriers.
/// ofToken: heads of a unit of one token; 1: it has several tokens.
static void lowerTiles(ThreadBuilder &t, AttentionOp op,
                       AttentionNeighbours around, BarrierOp barrier,
                       int64_t tokens, int64_t sets, int64_t room,
                       int64_t ofToken) {
  Type index = t.b.getIndexType();
  Value team = barrier.getTeam();
  Value block = WorkerOp::create(t.b, t.loc, index, team);
  Value blocks = WorkersOp::create(t.b, t.loc, index, team);
  // Of a unit.
  int64_t heads = ofToken > 1                                  ? ofToken
                  : sets > 1 && TileAttention::hasHeadSets(op) ? sets
                                                               : 1;
  int64_t rows = ofToken > 1 ? 1 : tokens * sets / heads,
          columns = op.getHeads() / heads;
  Value tiles = t.div(t.add(op.getCount(), rows - 1), rows);
  Value units = t.mul(tiles, columns);
  t.loop(block, units, blocks, [&](Value number) {
    Value unit = t.sub(t.sub(units, number), 1);
    Value first = t.mul(t.div(unit, columns), rows);
    Value head = t.mul(t.rem(unit, columns), heads);
    TileAttention attention(t, op, around, {op.getLayer(), op.getPosition()},
                            first, head, tokens, sets, room, ofToken);
    attention.run({});
    attention.combine();
    padRows(t, op, first, head, rows);
    t.synchronize();
  });
}

/// Sets of queries of a unit: two where that leaves blocks enough to do in a
/// step of 512 tokens, and they have the memory.
static int64_t countSets(ThreadBuilder &t, AttentionOp op, int64_t rows,
                         int64_t tokens, int64_t blocks, int64_t sharedBytes) {
  constexpr int64_t kStep = 512, kLeast = 2; // units of a block
  int64_t units = op.getHeads() * std::min(rows, kStep) / (2 * tokens);
  if (tokens < 16 || units < kLeast * blocks)
    return 1;
  TileAttention two(t, op, {}, {op.getLayer(), op.getPosition()}, t.index(0),
                    t.index(0), tokens, /*sets=*/2);
  return two.countBytes() <= t.countScratch(sharedBytes) ? 2 : 1;
}

void mlir::tbq::lowerAttention(ThreadBuilder &t, AttentionOp op,
                               AttentionNeighbours around, int64_t blocks,
                               int64_t sharedBytes, bool warpgroups) {
  auto getWarpHead = [&](AttentionPlace place, Value unit) {
    return WarpAttention(t, op, around, place, t.div(unit, op.getHeads()),
                         t.rem(unit, op.getHeads()));
  };
  auto getTileHead = [&](AttentionPlace place, Value unit) {
    return TileAttention(t, op, around, place, t.div(unit, op.getHeads()),
                         t.rem(unit, op.getHeads()), /*tokens=*/1);
  };
  if (!op.getCacheType().getTiled())
    return lowerHeads<WarpAttention>(t, op, getWarpHead);
  int64_t rows = cast<MemRefType>(op.getQuery().getType()).getDimSize(0);
  auto before = dyn_cast_or_null<BarrierOp>(findEffect(op, /*isBehind=*/false));
  Operation *behind = findEffect(op, /*isBehind=*/true);
  // Tokens of one sequence have keys in common, of several a token's heads.
  const bool areTokens = op.getPosition().getType().isIndex();
  int64_t heads = areTokens ? 1 : TileAttention::countHeads(op);
  int64_t tokens = !areTokens && heads == 1 ? 1
                   : areTokens && rows > 8  ? 16
                                            : 8;
  if (rows == 1 || !before || !isa_and_nonnull<BarrierOp>(behind))
    return lowerHeads<TileAttention>(t, op, getTileHead);
  int64_t room = t.countScratch(sharedBytes);
  if (warpgroups && tokens == 16 &&
      WarpgroupAttention::canTake(op, room, blocks))
    return WarpgroupAttention(t, op, around, room).run(before.getTeam());
  lowerTiles(t, op, around, before, tokens,
             countSets(t, op, rows, tokens, blocks, sharedBytes), room, heads);
}
