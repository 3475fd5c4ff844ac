// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The ring of a linear of digits for one token: memory of a warp's own, among
// what a block's threads share, in slots of a round of pieces each. Lanes copy
// 16 bytes at a time, past the registers, and each waits for its own copies;
// the warp meets before it reads what other lanes have brought, and again
// before a slot is written anew. See DigitLinear.h and DigitStream.cpp.

#include "DigitLinear.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

/// Most bytes of a warp: more than are under way while memory is waited for.
static constexpr int64_t kMostBytes = 7 << 10;
/// Slots that keep memory busy while one is added, and pieces of one.
static constexpr int64_t kFewSlots = 3, kMostSlots = 8, kMostPieces = 4;
/// Registers of a lane, of 128, for a round's words and coefficients.
static constexpr int64_t kMostLoaded = 48;
/// What a round costs beside its pieces, in pieces.
static constexpr double kRoundCost = 0.5;

int64_t DigitLinear::getDigitBytes() const {
  if (geometry.perGroup == 1)
    return layout.getCoefficientOffset(0, layout.getGroup());
  return geometry.width / layout.getStepColumns() * layout.getStrideBytes();
}

int64_t DigitLinear::getPieceBytes() const {
  return llvm::alignTo(getDigitBytes() +
                           layout.getNumGroupTerms() * kCoefficientBytes,
                       kThreadBytes);
}

bool DigitLinear::makeRing(int64_t sharedBytes) {
  if (cast<MemRefType>(input.getType()).getDimSize(0) != 1 ||
      layout.getSalient())
    return false;
  int64_t free = t.countScratch(sharedBytes) / kWarps;
  int64_t bytes = llvm::alignDown(std::min(free, kMostBytes), kThreadBytes);
  int64_t registers = tiles * (layout.getNumDensePlanes() * countWords() +
                               layout.getNumGroupTerms());
  int64_t ofShare = llvm::divideCeil(pieces, shares);
  double least = 0;
  // As few pieces that do not exist, and as few rounds, as may be.
  for (int64_t most = 1; most <= std::min(kMostPieces, ofShare); ++most) {
    Rounds rounds = getRounds(most);
    int64_t slot = tiles * rounds.pieces * getPieceBytes();
    int64_t slots = std::min(bytes / std::max<int64_t>(slot, 1), kMostSlots);
    double cost = rounds.count * (rounds.pieces + kRoundCost);
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
  int64_t ofPiece = getPieceBytes() / kThreadBytes;
  Value offset;
  if (geometry.perGroup == 1) {
    offset = t.add(t.mul(number, getPieceBytes()), t.mul(chunk, kThreadBytes));
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
              t.select(t.less(within, t.index(getDigitBytes())),
                       t.add(getPlaceOffset(piece), within),
                       t.add(coefficients, t.sub(within, getDigitBytes()))));
  }
  if (!geometry.masked && !rest)
    return offset;
  // Of a piece that has fewer columns nothing past its tile is read.
  int64_t last = layout.getNumGroups() - 1;
  int64_t end = last * layout.getGroupBytes(group) +
                layout.getGroupBytes(layout.getGroupColumns(last));
  return t.min(offset, t.index(end - kThreadBytes));
}

/// Asks for a round of a tile, if there is one. slot: its offset.
void DigitLinear::copyRound(Value slot, Value tile, Value end, Value share,
                            Value round) {
  const Rounds &rounds = ring.rounds;
  int64_t ofTile = rounds.pieces * getPieceBytes() / kThreadBytes;
  t.ifThen(t.less(tile, end), [&] {
    Value number = getNumber(rounds, share, round, 0).first;
    Value count; // of chunks, where not all pieces exist
    if (!rounds.even)
      count = t.mul(countExisting(rounds, share, round),
                    getPieceBytes() / kThreadBytes);
    Value to = t.add(ring.first, slot);
    for (const Start &start : getStarts(tile, hasOther(tile, end))) {
      for (int64_t from = 0; from < ofTile; from += kWarpLanes) {
        Value chunk = t.add(t.lane(), from);
        auto copy = [&] {
          t.copy(start.bytes, t.add(start.offset, findChunk(number, chunk)),
                 ring.memory, t.add(to, t.mul(chunk, kThreadBytes)),
                 kThreadBytes);
        };
        if (count)
          t.ifThen(t.less(chunk, count), copy);
        else if (from + kWarpLanes > ofTile)
          t.ifThen(t.less(chunk, t.index(ofTile)), copy);
        else
          copy();
      }
      to = t.add(to, ofTile * kThreadBytes);
    }
  });
  // Also where nothing was: so that as many rounds are behind each.
  t.commitCopies();
}

/// The pieces of a round that has come, into registers.
SmallVector<DigitLinear::Piece> DigitLinear::readRound(Value slot, Value share,
                                                       Value round) {
  const Rounds &rounds = ring.rounds;
  t.waitForCopies(ring.slots - 1);
  t.synchronizeWarp();
  SmallVector<Piece> read;
  Value first = t.add(ring.first, slot);
  for (int64_t i = 0; i < rounds.pieces; ++i) {
    Piece piece = getPiece(getNumber(rounds, share, round, i).first);
    for (int64_t tile = 0; tile < tiles; ++tile) {
      int64_t from = (tile * rounds.pieces + i) * getPieceBytes();
      Value digits = t.add(first, from);
      Value coefficients = geometry.perGroup == 1
                               ? t.add(digits, getCoefficientOffset(piece))
                               : t.add(digits, t.index(getDigitBytes()));
      piece.tiles.push_back(
          loadTile(piece, {ring.memory, digits, coefficients}));
    }
    read.push_back(piece);
  }
  t.synchronizeWarp();
  return read;
}
