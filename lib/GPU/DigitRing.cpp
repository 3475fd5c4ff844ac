// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The ring of a linear of digits for few tokens: memory of a warp's own, among
// what a block's threads share, in slots of a round of pieces each. Lanes copy
// 16 bytes at a time, past the registers, and each waits for its own copies;
// the warp meets before it reads what other lanes have brought, and again
// before a slot is written anew. See DigitLinear.h and DigitStream.cpp.

#include "DigitLinear.h"
#include "LowerStep.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

/// Slots that keep memory busy while one is added.
static constexpr int64_t kFewSlots = 3, kMostSlots = 8;
/// Registers of a lane, of 128, for a round's words and coefficients.
static constexpr int64_t kMostLoaded = 48;

static int64_t countRowBytes(Value rows) {
  return countBytes(cast<MemRefType>(rows.getType()));
}

bool DigitLinear::makeRing(int64_t sharedBytes) {
  if (!mayHaveRing(op))
    return false;
  int64_t rowBytes = 0;
  for (Value rows : getRowBuffers())
    rowBytes += countRowBytes(rows);
  int64_t free = (t.countScratch(sharedBytes) - rowBytes) / kWarps;
  int64_t bytes = llvm::alignDown(std::min(free, kRingBytes), kThreadBytes);
  int64_t registers = tiles * (layout.getNumDensePlanes() * countWords() +
                               layout.getNumTermsInGroups());
  int64_t fewest = 0;
  for (int64_t most = 1; most <= std::min(kRoundPieces, ofShare); ++most) {
    Rounds rounds = getRounds(most);
    int64_t slot = tiles * getRoundBytes(rounds);
    // No more than a warp's rounds are.
    int64_t all = std::min(countOfWarp() * rounds.count, kMostSlots);
    int64_t slots = std::min(bytes / std::max<int64_t>(slot, 1), all);
    int64_t cost = countCost(rounds);
    int64_t least = std::min(most > 1 ? kFewSlots : 2, all);
    if (slots < least || (most > 1 && rounds.pieces * registers > kMostLoaded))
      continue;
    if (ring.slots == 0 || cost < fewest) {
      fewest = cost;
      ring = {rounds, slots, slot, bytes, rowBytes, Value(), Value()};
    }
  }
  return ring.slots > 0;
}

int64_t DigitLinear::getRoundBytes(const Rounds &rounds) const {
  return rounds.pieces * geometry.ofRing +
         (layout.hasSumTerm() ? layout.getSumEightBytes() : 0);
}

DigitLinear::RoundEight DigitLinear::getRoundEight(Value round) {
  const Rounds &rounds = ring.rounds;
  Value first = getFirst(rounds, round);
  Value number = t.div(first, kEightGroups), all = t.index(pieces);
  Value behind = t.add(first, rounds.pieces);
  if (endsWithRounds(rounds)) {
    Value ends = t.equal(t.rem(behind, kEightGroups), 0);
    if (pieces % kEightGroups) // or with the row
      ends =
          arith::OrIOp::create(t.b, t.loc, ends, t.less(t.sub(all, 1), behind));
    if (!rounds.even)
      ends = t.both(ends, t.less(first, all));
    return {number, ends,
            rounds.whole ? Value() : t.sub(t.min(behind, all), first)};
  }
  Value end = t.mul(t.add(number, 1), kEightGroups); // of the eight
  if (pieces % kEightGroups)
    end = t.min(end, all);
  Value own = t.min(countExisting(rounds, round), t.index(rounds.pieces));
  Value ofNumber = t.sub(end, first);
  Value ends = t.both(t.less(t.index(0), own), t.less(ofNumber, t.add(own, 1)));
  return {number, ends, ofNumber};
}

void DigitLinear::addRoundEight(ArrayRef<Value> ofTiles, Value round,
                                Value token, MutableArrayRef<Value> chain) {
  auto [number, ends, pieces] = getRoundEight(round);
  auto add = [&, number = number] {
    SmallVector<Value> more(chain);
    addEight({SmallVector<Value>(ofTiles),
              loadEightSums(number, token, /*mayNotExist=*/!ring.rounds.whole)},
             more);
    return more;
  };
  // Every other round's are 0 rather than that it branches.
  size_t i = 0;
  bool isOften = 2 * ring.rounds.pieces >= kEightGroups;
  llvm::copy(isOften ? add()
                     : t.ifElse(ends, add, [&](Type) { return chain[i++]; }),
             chain.begin());
}

void DigitLinear::setRing() {
  ring.memory = t.getScratch(kWarps * ring.warpBytes + ring.rowBytes);
  ring.first = t.mul(t.warp(), ring.warpBytes);
}

SmallVector<Value> DigitLinear::getRowBuffers() {
  SmallVector<Value> buffers = {input};
  if (low)
    buffers.push_back(low);
  if (op.getSums())
    buffers.push_back(op.getSums());
  auto isToBring = [](Value rows) {
    return !isOwn(rows) && countRowBytes(rows) % kThreadBytes == 0;
  };
  if (tokens > 1 || !integer || !llvm::all_of(buffers, isToBring))
    return {};
  return buffers;
}

void DigitLinear::askForRow() {
  int64_t first = kWarps * ring.warpBytes;
  for (Value rows : getRowBuffers()) {
    int64_t count = countRowBytes(rows) / kThreadBytes;
    for (int64_t before = 0; before < count; before += kThreads) {
      Value number = t.add(t.thread(), before);
      Value exists =
          before + kThreads > count ? t.less(number, t.index(count)) : Value();
      Value at = t.mul(number, kThreadBytes);
      t.ifThen(exists, [&] {
        t.copy(rows, at, ring.memory, t.add(at, first), kThreadBytes);
      });
    }
    first += countRowBytes(rows);
  }
  t.commitCopies();
}

void DigitLinear::waitForRow(int64_t later) {
  t.waitForCopies(later);
  t.synchronize();
  IRMapping own;
  int64_t first = kWarps * ring.warpBytes;
  for (Value rows : getRowBuffers()) {
    auto type = cast<MemRefType>(rows.getType());
    auto shared =
        MemRefType::get(type.getShape(), type.getElementType(), AffineMap(),
                        t.b.getI64IntegerAttr(kSharedMemory));
    own.map(rows, memref::ViewOp::create(t.b, t.loc, shared, ring.memory,
                                         t.index(first), ValueRange()));
    first += countRowBytes(rows);
  }
  for (OpOperand &operand : op->getOpOperands())
    operand.set(own.lookupOrDefault(operand.get()));
  input = op.getInput();
  low = op.getLow();
}

/// Where chunk `chunk` (16 bytes) of a round's pieces lies, counted from the
/// first group of its tile, if these are no run of bytes. number: of the
/// round's first piece.
Value DigitLinear::findChunk(Value number, Value chunk) {
  int64_t group = layout.getGroup(), rest = layout.getColumns() % group;
  int64_t ofPiece = geometry.ofRing / kThreadBytes;
  Value offset;
  if (geometry.perGroup == 1) {
    offset = t.add(t.mul(number, geometry.ofRing), t.mul(chunk, kThreadBytes));
  } else {
    // A group's coefficients come with each of its pieces.
    Piece piece = getPiece(t.add(number, t.div(chunk, ofPiece)));
    Value within = t.mul(t.rem(chunk, ofPiece), kThreadBytes);
    Value coefficients = t.index(layout.getCoefficientOffset(0, group));
    if (piece.isWhole)
      coefficients = t.select(piece.isWhole, coefficients,
                              t.index(layout.getCoefficientOffset(0, rest)));
    offset =
        t.add(t.mul(piece.group, layout.getGroupBytes(group)),
              t.select(t.less(within, t.index(geometry.bytes)),
                       t.add(getPlaceOffset(piece), within),
                       t.add(coefficients, t.sub(within, geometry.bytes))));
  }
  if (!geometry.masked && !rest)
    return offset;
  // Of a piece that has fewer columns nothing past its tile is read.
  int64_t last = layout.getNumGroups() - 1;
  int64_t end = last * layout.getGroupBytes(group) +
                layout.getGroupBytes(layout.getGroupColumns(last));
  return t.min(offset, t.index(end - kThreadBytes));
}

/// Whether a share's pieces of a tile are a run of bytes, but for the sum
/// term's among them.
bool DigitLinear::isPlain() const {
  return geometry.perGroup == 1 && !geometry.masked &&
         layout.getColumns() % layout.getGroup() == 0;
}

DigitLinear::Target DigitLinear::getTarget(Value tile, Value end) {
  Target target{t.less(tile, end), {}};
  for (const Start &start : getStarts(tile, hasOther(tile, end))) {
    Value offset = start.offset;
    if (isPlain())
      offset =
          t.add(t.add(offset, t.mul(t.lane(), kThreadBytes)),
                getGroupPlace(getNumber(ring.rounds, t.index(0), 0).first));
    target.addresses.push_back(t.getAddress(start.bytes, offset));
  }
  return target;
}

DigitLinear::Target DigitLinear::moveOn(const Target &target, Value round) {
  Target next = target;
  if (!isPlain())
    return next;
  Value bytes = t.index(ring.rounds.pieces * geometry.ofRing);
  if (layout.hasSumTerm())
    bytes =
        t.select(getRoundEight(round).ends, t.index(getRoundBytes()), bytes);
  for (Value &address : next.addresses)
    address = t.add(address, bytes);
  return next;
}

DigitLinear::Target DigitLinear::moveOn(const Target &target, Value round,
                                        Value isLast, const Target &other) {
  Target next = moveOn(target, round);
  next.exists = t.select(isLast, other.exists, next.exists);
  for (auto [own, first] : llvm::zip_equal(next.addresses, other.addresses))
    own = t.select(isLast, first, own);
  return next;
}

Value DigitLinear::getLater(Value round, int64_t rounds) {
  if (rounds == 0)
    return round;
  Value later = t.add(round, rounds), count = t.index(ring.rounds.count);
  return t.select(t.less(later, count), later, t.sub(later, count));
}

Value DigitLinear::getNextSlot(Value slot) {
  Value next = t.add(slot, t.constantI32(ring.slotBytes));
  Value end = t.constantI32(ring.slots * ring.slotBytes);
  return t.select(t.same(next, end), t.constantI32(0), next);
}

Value DigitLinear::hasPieces(Value round) {
  const Rounds &rounds = ring.rounds;
  return rounds.even || !rounds.whole
             ? Value()
             : t.less(getFirst(rounds, round), t.index(pieces));
}

/// Asks for a round. slot: its offset.
void DigitLinear::copyRound(Value slot, const Target &target, Value round) {
  const Rounds &rounds = ring.rounds;
  int64_t ofPiece = geometry.ofRing / kThreadBytes;
  int64_t ofPieces = rounds.pieces * ofPiece;
  int64_t chunks = getRoundBytes() / kThreadBytes; // and an eight's
  Value count; // of chunks of pieces, where not all exist
  if (!rounds.whole)
    count = t.mul(countExisting(rounds, round), ofPiece);
  RoundEight eight;
  if (layout.hasSumTerm())
    eight = getRoundEight(round);
  Value number = getNumber(rounds, round, 0).first;
  Value to = t.add(t.add(ring.first, t.mul(t.lane(), kThreadBytes)), slot);
  for (int64_t from = 0; from < chunks; from += kWarpLanes) {
    Value chunk = t.add(t.lane(), from);
    // The last ones are of the eight.
    bool hasPieces = from < ofPieces;
    bool hasEight = layout.hasSumTerm() && from + kWarpLanes > ofPieces;
    Value isOfEight =
        hasEight && hasPieces ? t.less(t.index(ofPieces - 1), chunk) : Value();
    Value exists; // null: it does
    if (hasPieces && count)
      exists = t.less(chunk, count);
    else if (hasPieces && from + kWarpLanes > ofPieces && !hasEight)
      exists = t.less(chunk, t.index(ofPieces));
    if (hasEight) {
      Value ofEight = t.both(eight.ends, t.less(chunk, t.index(chunks)));
      Value ofPiece = exists ? exists : t.less(chunk, t.index(ofPieces));
      exists = !isOfEight ? ofEight : t.select(isOfEight, ofEight, ofPiece);
    }
    // What is added to a round's address; an eight may end among the pieces.
    Value offset =
        isPlain() ? t.index(from * kThreadBytes) : findChunk(number, chunk);
    if (layout.hasSumTerm() && eight.pieces) {
      Value more = t.index(0);
      if (!endsWithRounds(rounds)) {
        Value isBehind = t.less(t.sub(t.mul(eight.pieces, ofPiece), 1), chunk);
        more = t.select(t.both(eight.ends, isBehind),
                        t.index(layout.getSumEightBytes()), more);
      }
      if (hasEight) {
        Value back = t.mul(t.sub(eight.pieces, rounds.pieces), geometry.ofRing);
        more = isOfEight ? t.select(isOfEight, back, more) : back;
      }
      offset = t.add(offset, more);
    }
    t.ifThen(exists, [&] {
      int64_t place = from * kThreadBytes;
      for (Value address : target.addresses) {
        t.copy(t.add(address, offset), ring.memory, t.add(to, place),
               kThreadBytes);
        place += getRoundBytes();
      }
    });
  }
}

/// Of a round that has come, into registers.
DigitLinear::RingRound DigitLinear::readRound(Value slot, Value round) {
  t.waitForCopies(ring.slots - 1);
  t.synchronizeWarp();
  RingRound read;
  Value first = t.add(ring.first, slot);
  if (hasNeighbours())
    first = t.add(first, t.mul(t.div(row(), kRows / 2), getRoundBytes()));
  int64_t rows = hasNeighbours() ? tiles : 1; // loaded together
  for (int64_t i = 0; i < ring.rounds.pieces; ++i) {
    auto [number, exists] = getNumber(ring.rounds, round, i);
    Piece piece = getPiece(number);
    piece.tiles.resize(tiles);
    Value toCoefficients = geometry.perGroup == 1 ? getCoefficientOffset(piece)
                                                  : t.index(geometry.bytes);
    for (int64_t tile = 0; tile < tiles; tile += rows) {
      auto own = MutableArrayRef(piece.tiles).slice(tile, rows);
      Value at = t.add(first, tile * getRoundBytes() + i * geometry.ofRing);
      loadWords(piece, ring.memory, at, t.mul(firstRow(), 4), own);
      loadCoefficients(ring.memory, t.add(at, toCoefficients),
                       t.mul(firstRow(), 2), own);
    }
    read.pieces.push_back({piece, exists});
  }
  if (layout.hasSumTerm()) {
    Value ends = getRoundEight(round).ends;
    int64_t behind = ring.rounds.pieces * geometry.ofRing;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      // Of neighbours `first` is the lane's tile's.
      Value at = t.add(first, tile / rows * rows * getRoundBytes() + behind);
      Value own = t.add(firstRow(), tile % rows);
      read.ofSums.push_back(t.select(
          ends, loadSumCoefficients(ring.memory, at, own), t.constantI32(0)));
    }
  }
  t.synchronizeWarp();
  return read;
}
