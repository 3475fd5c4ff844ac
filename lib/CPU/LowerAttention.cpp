// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Rotary embedding, the KV cache and attention on a CPU: which queries go
// together; QueryGroup.h is what becomes of them.

#include "LowerStep.h"
#include "QueryGroup.h"

#include "llvm/ADT/bit.h"

using namespace mlir;
using namespace mlir::tbq;

void mlir::tbq::lowerRope(VectorBuilder &v, RopeOp op) {
  int64_t headDim = op.getHeadDim(), half = headDim / 2;
  // The widest vector that divides the half evenly: no tails.
  int64_t lanes = kLanes;
  while (half % lanes)
    lanes /= 2;
  LayoutAttr layout = cast<PackedType>(op.getTable().getType()).getLayout();
  Value table = getBytes(v, op.getTable());
  Value input = op.getInput(), into = op.getInto().front();
  VectorType type = v.f32Vector(lanes);
  forEachUnit(v, op, [&](Value token, Value head) {
    Value position = getPlace(v.b, v.loc, op.getPosition(), token).position;
    Value angles = v.mul(position, layout.getTileBytes());
    Value low = v.mul(head, headDim), high = v.add(low, half);
    v.loop(v.index(0), v.index(half), lanes, {}, [&](Value i, ValueRange) {
      Value cosines = v.loadBytes(table, v.add(angles, v.mul(i, 4)), type);
      Value sines =
          v.loadBytes(table, v.add(v.add(angles, v.mul(i, 4)), 4 * half), type);
      Value x = v.load(input, {token, v.add(low, i)}, type);
      Value y = v.load(input, {token, v.add(high, i)}, type);
      v.store(v.subf(v.mulf(x, cosines), v.mulf(y, sines)), into,
              {token, v.add(low, i)});
      v.store(v.addf(v.mulf(y, cosines), v.mulf(x, sines)), into,
              {token, v.add(high, i)});
      return SmallVector<Value>();
    });
  });
}

void mlir::tbq::lowerAppendCache(VectorBuilder &v, AppendCacheOp op) {
  CacheType type = op.getCacheType();
  Type element = type.getElementType();
  int64_t headDim = type.getHeadDim();
  forEachUnit(v, op, [&](Value token, Value head) {
    auto [position, begin] = getPlace(v.b, v.loc, op.getPosition(), token);
    CacheHead cache(v.b, v.loc, type, op.getLayer(), head, begin);
    Value first = v.mul(head, headDim);
    Value block = v.div(position, kLanes);
    Value lane = v.mul(v.rem(position, kLanes), type.getElementBytes());
    v.loop(v.index(0), v.index(headDim), [&](Value feature) {
      Value x =
          v.load(op.getKey(), {token, v.add(first, feature)}, v.f32Vector(1));
      v.storeF32As(x, op.getCache(),
                   v.add(cache.getKeyOffset(block, feature), lane), element);
    });
    for (int64_t feature = 0; feature < headDim; feature += kLanes) {
      Value x = v.loadFirst(op.getValue(), {token, v.add(first, feature)},
                            v.f32Vector(), headDim - feature);
      v.storeF32As(x, op.getCache(), cache.getValueOffset(position, feature),
                   element);
    }
  });
}

namespace {
/// Divides a worker's queries, all heads of a token before the next token's,
/// into groups that share a kv head.
class QueryDivision {
public:
  QueryDivision(VectorBuilder &v, AttentionOp op, const AttentionTarget &target)
      : v(v), op(op), target(target), kvHeads(op.getCacheType().getKvHeads()),
        sharing(op.getHeads() / kvHeads),
        most(QueryGroup::getMostQueries(target.registers)) {
    int64_t rows = cast<MemRefType>(op.getQuery().getType()).getDimSize(0);
    // Tokens of one sequence have keys in common.
    if (op.getPosition().getType().isIndex() && rows > 1 && 2 * sharing <= most)
      tokens = llvm::bit_floor(uint64_t(std::min(rows, most / sharing)));
    scratch = getScratch();
  }

  void run() {
    Value begin = op.getRange()[0], end = op.getRange()[1];
    if (op.getInto().size() == 2)
      return divideKeys(begin, end);
    if (tokens == 1)
      return addPieces(begin, end);
    // Tokens all of whose heads are this worker's, and what is left of others
    // before and after them.
    int64_t heads = op.getHeads();
    Value first = v.div(v.add(begin, heads - 1), heads);
    Value until = v.max(first, v.div(end, heads));
    Value last = v.sub(until, v.rem(v.sub(until, first), tokens));
    v.loop(v.index(0), v.index(kvHeads), [&](Value kvHead) {
      v.loop(first, last, tokens, {}, [&](Value token, ValueRange) {
        addGroup(token, tokens, kvHead, v.mul(kvHead, sharing), sharing, no());
        return SmallVector<Value>();
      });
    });
    Value before = v.min(v.mul(first, heads), end);
    Value after = v.max(v.mul(last, heads), before);
    v.loop(v.index(0), v.index(2), [&](Value side) {
      Value isAfter = v.less(v.index(0), side);
      auto select = [&](Value x, Value y) -> Value {
        return arith::SelectOp::create(v.b, v.loc, isAfter, y, x);
      };
      addPieces(select(begin, after), select(before, end));
    });
  }

private:
  /// Queries `begin` to `end`, those of one token and kv head together.
  void addPieces(Value begin, Value end) {
    Value last = v.div(v.add(end, sharing - 1), sharing);
    v.loop(v.div(begin, sharing), last, [&](Value piece) {
      Value start = v.mul(piece, sharing);
      Value from = v.max(begin, start), to = v.min(end, v.add(start, sharing));
      Value token = v.div(piece, kvHeads), kvHead = v.rem(piece, kvHeads);
      Value next = v.min(v.add(piece, 1), v.sub(last, 1));
      Value hasNext = v.less(kvHead, v.rem(next, kvHeads));
      // As many as there are registers for, then powers of two.
      for (int64_t size = std::min(sharing, most); size > 0;
           size = llvm::bit_floor(uint64_t(size - 1))) {
        Value end = v.sub(to, v.rem(v.sub(to, from), size));
        v.loop(from, end, size, {}, [&](Value query, ValueRange) {
          addGroup(token, 1, kvHead, v.sub(query, v.mul(token, op.getHeads())),
                   size, hasNext);
          return SmallVector<Value>();
        });
        from = end;
      }
    });
  }

  /// Those of one token: of whole kv heads if these are even shares, else of
  /// spans of keys, if that is less work for whoever has most. The sums that
  /// are added up and their order are the same.
  void divideKeys(Value begin, Value end) {
    Value team = getTeam(op);
    Type index = v.b.getIndexType();
    Value worker = WorkerOp::create(v.b, v.loc, index, team);
    Value workers = WorkersOp::create(v.b, v.loc, index, team);
    Value position =
        getPlace(v.b, v.loc, op.getPosition(), v.index(0)).position;
    Value blocks = v.add(v.div(position, kLanes), 1);
    Value spans = v.add(v.div(position, QueryGroup::kSpan * kLanes), 1);
    // The most of all workers together, if each had as much as any.
    Value whole = divide(v.add(workers, kvHeads - 1), workers);
    Value byHeads = v.mul(v.mul(spans, whole), workers);
    Value bySpans = v.add(v.mul(spans, kvHeads), workers);
    auto addSpans = [&] {
      Value next = v.add(worker, 1);
      storeSpans(getShare(worker, workers, blocks, spans),
                 getShare(next, workers, blocks, spans), spans);
      BarrierOp::create(v.b, v.loc, team);
      v.loop(begin, end, [&](Value head) {
        Value kvHead = v.div(head, sharing);
        withGroup(v.index(0), 1, kvHead, head, 1, no(),
                  [&](QueryGroup &group) { group.addSpans(spans); });
      });
    };
    v.ifThenElse(v.less(bySpans, byHeads), addSpans,
                 [&] { addPieces(begin, end); });
  }

  /// Where the share of a worker begins, as a number of spans of all kv heads:
  /// the one that is next to an even share of blocks.
  Value getShare(Value worker, Value workers, Value blocks, Value spans) {
    Value block = divide(v.mul(v.mul(blocks, kvHeads), worker), workers);
    Value kvHead = divide(block, blocks);
    Value within = v.sub(block, v.mul(kvHead, blocks));
    return v.add(
        v.mul(kvHead, spans),
        v.div(v.add(within, QueryGroup::kSpan / 2), QueryGroup::kSpan));
  }

  /// Spans `begin` to `end` of all kv heads, each with all of its queries.
  void storeSpans(Value begin, Value end, Value spans) {
    Value last = divide(v.sub(v.add(end, spans), 1), spans);
    v.loop(divide(begin, spans), last, [&](Value kvHead) {
      Value first = v.mul(kvHead, spans), behind = v.add(first, spans);
      Value from = v.sub(v.max(begin, first), first);
      Value to = v.sub(v.min(end, behind), first);
      Value hasNext = v.less(behind, end);
      int64_t size = std::min(sharing, most), rest = sharing % size;
      auto store = [&](Value query, int64_t heads) {
        withGroup(v.index(0), 1, kvHead, v.add(v.mul(kvHead, sharing), query),
                  heads, hasNext,
                  [&](QueryGroup &group) { group.storeSpans(from, to); });
      };
      v.loop(v.index(0), v.index(sharing - rest), size, {},
             [&](Value query, ValueRange) {
               store(query, size);
               return SmallVector<Value>();
             });
      if (rest)
        store(v.index(sharing - rest), rest);
    });
  }

  Value divide(Value x, Value y) {
    return arith::DivUIOp::create(v.b, v.loc, x, y);
  }
  Value no() {
    return arith::ConstantOp::create(v.b, v.loc, v.b.getBoolAttr(false));
  }

  void addGroup(Value token, int64_t tokens, Value kvHead, Value head,
                int64_t heads, Value hasNext) {
    withGroup(token, tokens, kvHead, head, heads, hasNext,
              [](QueryGroup &group) { group.run(); });
  }

  void withGroup(Value token, int64_t tokens, Value kvHead, Value head,
                 int64_t heads, Value hasNext,
                 llvm::function_ref<void(QueryGroup &)> body) {
    Value begin = getPlace(v.b, v.loc, op.getPosition(), token).cache;
    CacheHead cache(v.b, v.loc, op.getCacheType(), op.getLayer(), kvHead,
                    begin);
    QueryGroup group(v, op, cache, token, tokens, head, heads, hasNext, scratch,
                     target);
    body(group);
  }

  /// Scores on the stack, once a function.
  Value getScratch() {
    auto function = op->getParentOfType<func::FuncOp>();
    OpBuilder b = OpBuilder::atBlockBegin(&function.getBody().front());
    int64_t queries = std::min(tokens * sharing, most);
    return memref::AllocaOp::create(
        b, op.getLoc(),
        MemRefType::get({QueryGroup::kSpan, queries, kLanes}, b.getF32Type()),
        ValueRange(), ValueRange(), b.getI64IntegerAttr(kAlignment));
  }

  VectorBuilder &v;
  AttentionOp op;
  AttentionTarget target;
  int64_t kvHeads;
  int64_t sharing;    // heads that share a kv head
  int64_t most;       // queries of a group
  int64_t tokens = 1; // of a group of all heads that share a kv head
  Value scratch;
};
} // namespace

Value mlir::tbq::getTeam(Operation *op) {
  for (Value argument : op->getParentOfType<func::FuncOp>().getArguments())
    if (isa<TeamType>(argument.getType()))
      return argument;
  return nullptr;
}

void mlir::tbq::lowerAttention(VectorBuilder &v, AttentionOp op,
                               const AttentionTarget &target) {
  QueryDivision(v, op, target).run();
}
