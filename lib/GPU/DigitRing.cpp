// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The ring of a linear of digits for few tokens: memory of a warp's own, among
// what a block's threads share, in slots of a round of pieces each. Lanes copy
// 16 bytes at a time, past the registers, and each waits for its own copies;
// the warp meets before it reads what other lanes have brought, and again
// before a slot is written anew. See DigitLinear.h and DigitStream.cpp.

#include "DigitLinear.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

/// Slots that keep memory busy while one is added, and pieces of one.
static constexpr int64_t kFewSlots = 3, kMostSlots = 8, kMostPieces = 4;
/// Registers of a lane, of 128, for a round's words and coefficients.
static constexpr int64_t kMostLoaded = 48;

bool DigitLinear::makeRing(int64_t sharedBytes) {
  if (!mayHaveRing(op))
    return false;
  int64_t free = t.countScratch(sharedBytes) / kWarps;
  int64_t bytes = llvm::alignDown(std::min(free, kRingBytes), kThreadBytes);
  int64_t registers = tiles * (layout.getNumDensePlanes() * countWords() +
                               layout.getNumGroupTerms());
  int64_t ofShare = llvm::divideCeil(pieces, shares);
  int64_t least = 0;
  // As few pieces that do not exist, and as few rounds, as may be: what a round
  // costs by itself is half a piece, or, if some may not exist, one.
  for (int64_t most = 1; most <= std::min(kMostPieces, ofShare); ++most) {
    Rounds rounds = getRounds(most);
    int64_t slot = tiles * rounds.pieces * geometry.ofRing;
    int64_t slots = std::min(bytes / std::max<int64_t>(slot, 1), kMostSlots);
    int64_t cost = rounds.count * (2 * rounds.pieces + (rounds.even ? 1 : 2));
    if (slots < 2 || (most > 1 && (slots < kFewSlots ||
                                   rounds.pieces * registers > kMostLoaded)))
      continue;
    if (ring.slots == 0 || cost < least) {
      least = cost;
      ring = {rounds, slots, slot, bytes, Value(), Value()};
    }
  }
  return ring.slots > 0;
}

void DigitLinear::setRing() {
  ring.memory = t.getScratch(kWarps * ring.warpBytes);
  ring.first = t.mul(t.warp(), ring.warpBytes);
}

/// Where chunk `chunk` (16 bytes) of a round lies, counted from the first group
/// of its tile. number: of the round's first piece.
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

/// Whether a share's pieces of a tile are a run of bytes.
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
          t.add(offset, findChunk(getNumber(ring.rounds, t.index(0), 0).first,
                                  t.lane()));
    target.addresses.push_back(t.getAddress(start.bytes, offset));
  }
  return target;
}

DigitLinear::Target DigitLinear::moveOn(const Target &target) {
  Target next = target;
  for (Value &address : next.addresses)
    if (isPlain())
      address = t.add(address, getRoundBytes());
  return next;
}

DigitLinear::Target DigitLinear::moveOn(const Target &target, Value isLast,
                                        const Target &other) {
  Target next = moveOn(target);
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

/// Asks for a round, if there is one. slot: its offset.
void DigitLinear::copyRound(Value slot, const Target &target, Value round) {
  const Rounds &rounds = ring.rounds;
  int64_t chunks = getRoundBytes() / kThreadBytes;
  t.ifThen(target.exists, [&] {
    Value count; // of chunks, where not all pieces exist
    if (!rounds.even)
      count =
          t.mul(countExisting(rounds, round), geometry.ofRing / kThreadBytes);
    Value to = t.add(t.add(ring.first, t.mul(t.lane(), kThreadBytes)), slot);
    for (int64_t from = 0; from < chunks; from += kWarpLanes) {
      Value chunk = t.add(t.lane(), from);
      auto copy = [&] {
        Value number = getNumber(rounds, round, 0).first;
        int64_t place = from * kThreadBytes;
        for (Value address : target.addresses) {
          Value at = isPlain() ? t.add(address, from * kThreadBytes)
                               : t.add(address, findChunk(number, chunk));
          t.copy(at, ring.memory, t.add(to, place), kThreadBytes);
          place += getRoundBytes();
        }
      };
      if (count)
        t.ifThen(t.less(chunk, count), copy);
      else if (from + kWarpLanes > chunks)
        t.ifThen(t.less(chunk, t.index(chunks)), copy);
      else
        copy();
    }
  });
  // Also where nothing was: so that as many rounds are behind each.
  t.commitCopies();
}

/// The pieces of a round that has come, into registers.
std::vector<DigitLinear::RingPiece> DigitLinear::readRound(Value slot,
                                                           Value round) {
  t.waitForCopies(ring.slots - 1);
  t.synchronizeWarp();
  std::vector<RingPiece> read;
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
    read.push_back({piece, exists});
  }
  t.synchronizeWarp();
  return read;
}
