// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A linear of digits on a GPU. A piece is at most 128 columns of a group, cut
// into slices of 32: what a product of the tensor cores adds up (m16n8k32: two
// tiles of 8 rows, 8 tokens). Lane 4 r + q has row r's quarter q of a slice's
// columns, and token r's; of the products, what belongs to row r and tokens 2 q
// and 2 q + 1. Which columns a quarter is does not matter to a sum: those that
// the lane's words hold. With float activations a lane multiplies its digits
// itself, and the four lanes of a row are added up when the tile is done.
// Invariant: with integer activations every sum is exact in int32.
#ifndef TBQ_GPU_DIGITLINEAR_H
#define TBQ_GPU_DIGITLINEAR_H

#include "BitColumns.h"
#include "SumForm.h"
#include "WarpLinear.h"

namespace mlir::tbq {

/// Columns that a product of the tensor cores adds up, and tokens that it has.
inline constexpr int64_t kSlice = 32, kProductTokens = 8;
/// Bytes that a tile's eight rows take, of a term.
inline constexpr int64_t kCoefficientBytes = 2 * kWarpRows;
/// The most bytes of a warp's ring: more than are under way while memory is
/// waited for.
inline constexpr int64_t kRingBytes = (7 << 10) + 256;

/// How the columns of a layout's groups are cut into pieces and dealt to the
/// quarters of a warp.
struct PieceGeometry {
  explicit PieceGeometry(LayoutAttr layout);

  int64_t width;    // columns of a piece; the last of a group may have fewer
  int64_t slices;   // of a piece
  int64_t perGroup; // pieces of a group
  int64_t pieces;   // of a row
  int64_t run;      // neighbouring columns that a lane has
  int64_t bytes;    // of a tile's piece: its digits
  int64_t ofRing;   // and with its group's coefficients, as a ring has it
  bool masked;      // whether a piece may have fewer columns than its slices
};

class DigitLinear : public WarpLinear {
public:
  /// units: countUnits of all that are like these.
  DigitLinear(LinearGroup linears, OpBuilder &b, int64_t units, int64_t blocks);

  /// Of tiles that a warp has at once.
  static int64_t countUnits(const LinearGroup &alike, int64_t blocks);

  static bool takesIntegers(PackedLinearOp op);
  /// Whether a ring may bring a linear's weights: of a step of one token, or of
  /// as many as a product has columns, without salient weights.
  static bool mayHaveRing(PackedLinearOp op);
  /// How the row of one token would lie for products of bits: of digits of one
  /// bit or two, in pieces of 64 columns or 128; null: not so.
  static std::optional<BitColumns> canTakeBits(PackedLinearOp op);

  /// A ring for runAhead, where a block may share `sharedBytes`, if there is
  /// room for one.
  bool makeRing(int64_t sharedBytes);
  /// Asks for as much as the ring holds before `early`, and from there on for a
  /// round whenever one has been read: DigitStream.cpp.
  void runAhead(Operation *early);

protected:
  /// Where a tile's groups begin: the bytes, and how far in them.
  struct Start {
    Value bytes, offset;
  };
  /// Where a piece of a tile lies: its first digits, its group's coefficients.
  struct Source {
    Value bytes, digits, coefficients;
  };
  /// What a lane has loaded of a piece of a tile: words of digits by plane, in
  /// the order of columns, and a coefficient (f16) of each term in the group.
  struct TilePiece {
    SmallVector<SmallVector<Value>> words;
    SmallVector<Value> coefficients;
  };
  struct Piece {
    Value group;   // its number
    Value inGroup; // its first column, in the group
    Value isWhole; // whether the group has all its columns (i1; null: it has)
    Value first;   // whether the piece begins the group (i1; null: always)
    Value begin;   // its first column, of the row
    Value column;  // the lane's first
    SmallVector<TilePiece> tiles;
  };

  /// What the ring has brought: pieces, and whether they exist (null: they do),
  /// and an eight's coefficients, of each tile, if there is a sum term.
  struct RingRound {
    SmallVector<std::pair<Piece, Value>> pieces;
    SmallVector<Value> ofSums;
  };

  SmallVector<Value> sumPieces(Value tile, Value end, Value active,
                               Value token) override;
  int64_t countSums() const override;
  SmallVector<LaneSum> getLaneSums(ArrayRef<Value> sums, Value tile,
                                   Value end) override {
    return getLaneSums(sums, hasOther(tile, end));
  }

  // Loading.
  Piece getPiece(Value number); // not loaded
  Piece loadPiece(ArrayRef<Start> starts, Value number);
  TilePiece loadTile(const Piece &piece, const Source &source);
  /// Of as many neighbouring rows as `rows` are; lane: bytes to its first
  /// one's.
  void loadWords(const Piece &piece, Value bytes, Value digits, Value lane,
                 MutableArrayRef<TilePiece> rows);
  void loadWords(const Piece &piece, Value bytes, Value digits, Value lane,
                 int64_t plane, MutableArrayRef<TilePiece> rows);
  void loadCoefficients(Value bytes, Value from, Value lane,
                        MutableArrayRef<TilePiece> rows);
  /// What a piece's group has where it is whole, or the row's last.
  Value ofGroup(const Piece &piece, int64_t whole, int64_t rest);
  /// Of a piece and of its group's coefficients, from its group's beginning.
  Value getPlaceOffset(const Piece &piece);
  Value getCoefficientOffset(const Piece &piece);
  Value getStepOffset(int64_t plane, Value step);
  /// Where the groups of `tile` begin, and of a second one, or of the first
  /// again where `other` says that there is none.
  SmallVector<Start> getStarts(Value tile, Value other);
  /// Whether a warp has a second tile; null if it never has.
  Value hasOther(Value tile, Value end);
  /// Who has which of the sums that sumPieces has added up.
  SmallVector<LaneSum> getLaneSums(ArrayRef<Value> sums, Value other);
  /// Of float activations a row's four lanes have parts.
  void addQuarters(MutableArrayRef<Value> sums);

  // Loading ahead.
  /// The tiles that are the block's, and where the weights lie, where `t`
  /// stands.
  std::pair<Value, Value> getRange(IRMapping &copies);
  void setBytes(IRMapping &copies);
  /// Where a warp's next round to ask for comes from, if there is one: of each
  /// tile an address, of the groups or, if `isPlain`, of the lane's first
  /// chunk.
  struct Target {
    Value exists;
    SmallVector<Value> addresses;
  };

  // The ring: DigitRing.cpp.
  /// The warp's, where `t` stands.
  void setRing();
  /// What a row of one token lies in, if the block has to bring it to memory of
  /// its own, behind the ring; to ask for it, and to wait until it has come,
  /// when `later` groups of copies have been asked for.
  SmallVector<Value> getRowBuffers();
  void askForRow();
  void waitForRow(int64_t later);
  Value findChunk(Value number, Value chunk);
  bool isPlain() const;
  /// Of a tile.
  int64_t getRoundBytes() const { return getRoundBytes(ring.rounds); }
  int64_t getRoundBytes(const Rounds &rounds) const;
  /// The eight that a round may end: its number, whether it does, and how many
  /// of the round's pieces are of it (null: all that there are).
  struct RoundEight {
    Value number, ends, pieces;
  };
  RoundEight getRoundEight(Value round);
  void addRoundEight(ArrayRef<Value> ofTiles, Value round, Value token,
                     MutableArrayRef<Value> chain);
  /// The first round of a tile, and the one behind a tile's, or that of another
  /// tile if it was the last.
  Target getTarget(Value tile, Value end);
  Target moveOn(const Target &target, Value round);
  Target moveOn(const Target &target, Value round, Value isLast,
                const Target &other);
  /// The number of the round that is so many behind, of its tile.
  Value getLater(Value round, int64_t rounds);
  Value getNextSlot(Value slot);
  /// Whether a round has any pieces, where it may have none and has none or
  /// all; else null.
  Value hasPieces(Value round);
  void copyRound(Value slot, const Target &target, Value round);
  RingRound readRound(Value slot, Value round);

  // The sum term: SumTerm.cpp. chain: what it adds to each of the lane's sums.
  /// What a lane has of an eight of groups: of each tile a word of two groups'
  /// coefficients, and their sums, of each eight tokens (or token, of floats).
  struct Eight {
    SmallVector<Value> ofTiles, sums;
  };
  /// An eight is of the share that has its last group, which is a piece.
  std::pair<int64_t, int64_t> getEights(int64_t share) const;
  std::pair<Value, Value> getEights(Value share);
  /// Where a group, and an eight's coefficients, lie behind the first group's
  /// beginning.
  Value getGroupPlace(Value group);
  Value getEightPlace(Value number);
  /// eight: where it lies in `bytes`.
  Value loadSumCoefficients(Value bytes, Value eight, Value row);
  SmallVector<Value> loadEightSums(Value number, Value token,
                                   bool mayNotExist = false);
  Eight loadEight(ArrayRef<Start> starts, Value number, Value token);
  void addEight(const Eight &eight, MutableArrayRef<Value> chain);
  void finishSumTerm(ArrayRef<Value> chain, MutableArrayRef<Value> sums);
  /// All of the share's, whose tiles begin at `starts`; active: null, or
  /// whether there is any.
  void addSumTerm(ArrayRef<Start> starts, Value share, Value active,
                  Value token, MutableArrayRef<Value> sums);

  // One token: DigitVector.cpp.
  /// Digits of a plane that lie so many bits up in bytes, by fours: as many as
  /// are added up before they are shifted.
  struct Stream {
    int64_t bits = 0;
    SmallVector<int64_t> fours;
  };
  SmallVector<Stream> getStreams(int64_t plane) const;
  SmallVector<Value> getDots(const Piece &piece, ArrayRef<Value> activations,
                             int64_t plane);
  void addOne(const Piece &piece, Value token, MutableArrayRef<Value> sums);
  Value loadSum(const Piece &piece, Value token);
  /// Whether the rows of a product that a lane has, of two tiles, are
  /// neighbours of one, or else a row of each.
  bool hasNeighbours() const { return tokens == 1 && tiles == 2; }
  Value firstRow();
  /// Of a tile's row that the lane has in the end.
  Value lastRow();
  SmallVector<LaneSum> finishOne(SmallVector<Value> sums, Value other);

  // Bits of one token: DigitBits.cpp.
  SmallVector<Value> getBitDots(const Piece &piece, ArrayRef<Value> columns,
                                int64_t plane);
  Value getBitBracket(int64_t term, ArrayRef<Value> dots, Value sum);

  // Multiplying. sums: of each token (floats), or, for each eight tokens, of
  // each tile and of two tokens.
  void addProducts(const Piece &piece, Value token,
                   MutableArrayRef<Value> sums);
  void addFloats(const Piece &piece, Value token, MutableArrayRef<Value> sums);
  /// Four of a lane's digits: byte i has column i's. Of those that are where
  /// they are stored, the bits below.
  Value getDigits(const TilePiece &tile, int64_t plane, int64_t four,
                  int64_t by = 0);
  int64_t getPosition(int64_t plane, int64_t four) const;
  SmallVector<Value> loadActivations(const Piece &piece, Value rows,
                                     Value token, int64_t product);
  void addProduct(const Piece &piece, ArrayRef<Value> high,
                  ArrayRef<Value> rest, ArrayRef<Value> ofGroup,
                  MutableArrayRef<Value> sums);
  void addDots(const TilePiece &one, const TilePiece &other,
               ArrayRef<Value> activations, int64_t plane,
               SmallVector<Value> &sums);
  /// The only term that a plane's dots are in, if they are its bracket but for
  /// the sum; else -1.
  int64_t findTermFrom(int64_t plane) const;
  /// Whether products begin with such a term's sum, which is then to be had
  /// before them.
  bool startsWithSums() const { return tokens > 1; }
  void addTerms(const TilePiece &tile, ArrayRef<Value> dots, Value sum,
                Value &total);
  Value getBracket(int64_t term, ArrayRef<Value> dots, Value sum);

  // Salient digits: LinearSalient.cpp.
  void addSalient(Value tile, Value active, Value token,
                  MutableArrayRef<LaneSum> sums);
  Value getSalientWeight(Value tile, Value row, Value column, Value digit);
  Value loadActivation(Value token, Value column);

  /// Token `number` of a product: of as many as it has, not as there are.
  Value getProductToken(Value token, Value number) {
    return getToken(token, number, tokens % kProductTokens == 0);
  }
  Value row() { return t.div(t.lane(), 4); }
  Value quarter() { return t.rem(t.lane(), 4); }

  int64_t getAhead() const; // pieces of a round
  /// Tokens of a product that a lane has.
  int64_t countOfTile() const { return tokens == 1 ? 1 : 2; }
  /// Of a lane's columns of a piece.
  int64_t countFours() const { return 2 * geometry.slices; }
  /// Words of a plane of a piece that a lane has.
  int64_t countWords() const {
    return kSlice / 4 * geometry.slices / geometry.run;
  }

  struct Ring {
    Rounds rounds;
    int64_t slots = 0, slotBytes, warpBytes, rowBytes = 0;
    Value memory, first; // of the block, and the warp's part of it
  };

  PieceGeometry geometry;
  Ring ring;
  Value low; // the other digit of i16 activations, or null
  bool integer;
  std::optional<BitColumns> bits; // how the input lies; null: as bytes
  SumForm sumForm;
};

} // namespace mlir::tbq

#endif // TBQ_GPU_DIGITLINEAR_H
