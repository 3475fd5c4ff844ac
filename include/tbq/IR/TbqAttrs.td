// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Schemes, activation modes and packed layouts.

#ifndef TBQ_ATTRS_TD
#define TBQ_ATTRS_TD

include "tbq/IR/TbqDialect.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"

class Tbq_Attr<string name, string attrMnemonic, list<Trait> traits = []>
    : AttrDef<Tbq_Dialect, name, traits> {
  let mnemonic = attrMnemonic;
}

def Tbq_Scheme : I32EnumAttr<"Scheme", "how a weight is quantised", [
    I32EnumAttrCase<"Ternary", 0, "ternary">,
    I32EnumAttrCase<"Binary", 1, "binary">,
    I32EnumAttrCase<"DualBinary", 2, "dual_binary">,
    I32EnumAttrCase<"SalientMask", 3, "salient_mask">,
    I32EnumAttrCase<"Int8", 4, "int8">,
    I32EnumAttrCase<"Int4", 5, "int4">]> {
  let cppNamespace = "::mlir::tbq";
  let genSpecializedAttr = 0;
}
def Tbq_SchemeAttr : EnumAttr<Tbq_Dialect, Tbq_Scheme, "scheme">;

def Tbq_Activations : I32EnumAttr<"Activations",
    "what a quantised linear multiplies its weights with", [
    I32EnumAttrCase<"F32", 0, "f32">,
    I32EnumAttrCase<"I8", 1, "i8">,
    I32EnumAttrCase<"I16", 2, "i16">]> {
  let cppNamespace = "::mlir::tbq";
  let genSpecializedAttr = 0;
}
def Tbq_ActivationsAttr : EnumAttr<Tbq_Dialect, Tbq_Activations, "activations">;

def Tbq_Function : I32EnumAttr<"ActivationFunction",
    "what an activation does to each element", [
    I32EnumAttrCase<"Relu", 0, "relu">,
    I32EnumAttrCase<"Gelu", 1, "gelu">]> {
  let cppNamespace = "::mlir::tbq";
  let genSpecializedAttr = 0;
}
def Tbq_FunctionAttr : EnumAttr<Tbq_Dialect, Tbq_Function, "function">;

def Tbq_LayoutAttr : Tbq_Attr<"Layout", "layout"> {
  let summary = "how a weight's bytes are arranged, to the last bit";
  let description = [{
    A matrix of `rows` x `columns` is cut into tiles of `tile` rows; a tile is
    one contiguous run of bytes, read once from front to back by one worker.
    Rows past the last are zero.

    *Digit planes* (`digits`, a width of 1, 2, 4 or 8 bits a plane): a tile is
    a sequence of groups of `group` columns (the last one may be shorter). A
    group is a sequence of steps, then, for each term, `tile` f16 coefficients,
    and ends at a multiple of 16 bytes. `tile` is 16, or 8 for a GPU, or
    more for digits by threes.
    A GPU multiplies sums of groups as it does digits. So in tiles of 8 rows,
    whose groups all have 32, 64 or 128 columns, a last term that is S alone
    (without salient digits) has its coefficients behind each eight groups, or
    the last ones: of 32 words, word 4 r + q has row r's of the eight's groups q
    and q + 4, or 0 of those past the last.
    A step of a plane of b bits is 4 * `tile` bytes: byte 4 r + i, bits
    [b j, b j + b), hold the digit of tile row r, column 4 j + i of the step;
    a step so covers 32 / b columns. The widest step among the planes sets the
    stride; planes are interleaved at that stride, plane by plane.

    *Digits by threes* (`tile` one to six times 64, one plane of 2 bits, of
    which no digit is 3; rows are whole tiles, columns and `group` multiples of
    64): base 3, 1.75 bits a digit. A tile is as many bands of 64 rows, whose
    groups are apart, each with 64 coefficients a term. A step covers 64 columns and is 7 times 64
    words of 16 bits, word r row r's. Word i of a row holds three numbers
    d0 + 3 d1 + 9 d2 of three columns each, 9 i to 9 i + 8 in order, 5 bits each
    from the lowest on. Its last bit is 0, but in words 0 and 1, where it is bit
    1 and bit 0 of column 63's digit. So sums of three columns are looked up
    among 27, by vectors of words.

    `terms` says how a group's integer sums become a result, one row of P + 1
    integers for each coefficient: P for the planes' dot products D_p, one for
    the sum S of the activations:
    y += sum over terms t of coefficient[t] * (sum_p terms[t][p] D_p + terms[t][P] S).
    So ternary with scale and shift is `digits [2], terms [[1, -1], [0, 1]]`,
    and int8 with a scale, q + 128 in a digit, `digits [8], terms [[1, -128]]`.

    *Float* (an element type): for each column, `tile` elements, one a row.
    With `tile` 1 this is the plain row-major matrix, rows padded to a multiple
    of 16 elements.

    *Salient digits* (`salient`): the last plane has 8 bits, but a digit only
    where the plane before it, of 1 bit, has a 1: its mask. A digit counts from
    the zero point of its row. The last term is this plane's alone, and its
    coefficients are one a row. Tiles so differ in size: before the first one
    stands a table of a u32 a tile, where it begins, in units of 64 bytes from
    the table's first, and a tile begins with `tile` f16 row coefficients and
    `tile` i16 zero points. Neither plane has steps: a group goes on behind its
    coefficients with blocks of 128 columns (the last one may be shorter). A
    block is `tile` bytes, the number of salient digits of each row, and then
    rounds, as many as the row with the most digits has fours: the columns of the
    next four digits of row 0, of row 1, ... (of as many as the row has left), a
    byte each, counted from the block's first, and then the digits, a byte each,
    in the same order. A row's digits are in the order of their columns.
    In tiles of 8 rows groups stay where they are: behind the biases stands a
    u32, the number of the tile's salient digits, and behind the last group,
    row by row, a u32 each: the digit, the row in the tile from bit 8 on and
    the column from bit 11 on.

    `bias`: after its last group (salient: after its zero points), a tile holds
    `tile` f32 biases.

    `panel`: columns are cut into panels of so many, whole groups each, of which
    the last one may have fewer. What all tiles have of the first panel, tile by
    tile, stands before what they have of the second; biases are in the last.
    So one token's kernel can take all rows of a panel while the activations
    that they meet stay in the first cache, and still reads one stream. Tiles of
    16 rows alone have such panels, and salient digits none. With digits by
    threes a panel is the tile's: what all its bands have of the first, band by
    band, stands before what they have of the second.

    Nothing here depends on the host or on the instruction set.
  }];
  let parameters = (ins
    "int64_t":$rows, "int64_t":$columns,
    "::mlir::Type":$elementType, // null: digit planes
    ArrayRefParameter<"int64_t">:$digits,
    ArrayRefParameter<"int64_t">:$terms, // row-major, numTerms x (planes + 1)
    "int64_t":$group, "int64_t":$tile, "bool":$bias, "bool":$salient,
    "int64_t":$panel); // columns, if there is only one
  let builders = [AttrBuilder<(ins
    "int64_t":$rows, "int64_t":$columns, "::mlir::Type":$elementType,
    "::llvm::ArrayRef<int64_t>":$digits, "::llvm::ArrayRef<int64_t>":$terms,
    "int64_t":$group, "int64_t":$tile, "bool":$bias, "bool":$salient), [{
    return $_get($_ctxt, rows, columns, elementType, digits, terms, group, tile,
                 bias, salient, /*panel=*/columns);
  }]>];
  let hasCustomAssemblyFormat = 1;
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    bool isFloat() const { return bool(getElementType()); }
    int64_t getNumPlanes() const { return getDigits().size(); }
    int64_t getNumTerms() const {
      return getDigits().empty() ? 0 : getTerms().size() / (getNumPlanes() + 1);
    }
    /// The integer that term `term` multiplies plane `plane`'s sum with, or
    /// that of the activations' sum for `plane == getNumPlanes()`.
    int64_t getTerm(int64_t term, int64_t plane) const {
      return getTerms()[term * (getNumPlanes() + 1) + plane];
    }
    /// Whether digits stand by threes.
    bool hasTriples() const;
    /// Bands of a tile, one without such digits; and their rows, whose digits
    /// stand together.
    int64_t getNumBands() const;
    int64_t getBandRows() const { return getTile() / getNumBands(); }
    /// Whether any term uses the sum of the activations.
    bool usesSums() const;
    /// The most columns of a group for which every dot product and every term's
    /// integer fit int32, with activations of at most this magnitude.
    int64_t getMostColumns(int64_t largestActivation) const;
    /// Whether salient digits stand in a list behind a tile's groups.
    bool listsSalient() const;
    /// Planes that have steps: all but a salient one and its mask.
    int64_t getNumDensePlanes() const {
      return getNumPlanes() - 2 * getSalient();
    }
    /// Terms with a coefficient a group: all but a salient plane's.
    int64_t getNumGroupTerms() const { return getNumTerms() - getSalient(); }
    /// Whether the last of these is the activations' sum, and its coefficients
    /// stand behind each eight groups.
    bool hasSumTerm() const;
    /// Terms whose coefficients stand in the groups: all before that.
    int64_t getNumTermsInGroups() const {
      return getNumGroupTerms() - hasSumTerm();
    }
    /// Whether any of these uses the sum of the activations.
    bool usesSumsInGroups() const;
    /// Eights of groups that have such coefficients (the last one of fewer), the
    /// bytes of an eight's, and where they begin in the tile.
    int64_t getNumSumEights() const;
    int64_t getSumEightBytes() const { return 16 * getTile(); }
    int64_t getSumEightOffset(int64_t eight) const;
    /// Byte offset of a coefficient in those.
    int64_t getSumCoefficientOffset(int64_t group, int64_t row) const;

    int64_t getNumTiles() const;
    int64_t getNumPanels() const;
    /// Groups of a panel; the last one may have fewer.
    int64_t getPanelGroups() const;
    /// Columns of panel `panel`.
    int64_t getPanelColumns(int64_t panel) const;
    /// Bytes that a tile has in panel `panel`: a part, without salient digits.
    /// With digits by threes: that a band has, without biases.
    int64_t getPartBytes(int64_t panel) const;
    /// Byte offset of panel `panel`, where there are no salient digits; with
    /// digits by threes, within a tile.
    int64_t getPanelOffset(int64_t panel) const;
    int64_t getNumGroups() const;
    /// Columns of group `group`; the last one may be shorter.
    int64_t getGroupColumns(int64_t group) const;
    /// Columns that one step of a plane's digits covers, and the widest plane's.
    int64_t getStepColumns(int64_t plane) const;
    int64_t getStepColumns() const;
    /// Words that a row has in a step of digits by threes, of 16 bits each.
    int64_t getTripleWords() const { return 7; }
    /// Bytes of one step of one plane.
    int64_t getStepBytes() const {
      return getBandRows() * (hasTriples() ? 2 * getTripleWords() : 4);
    }
    /// Steps that plane `plane` takes for `columns` columns.
    int64_t getSteps(int64_t plane, int64_t columns) const;
    /// Bytes of all dense planes' steps for getStepColumns() columns.
    int64_t getStrideBytes() const;
    /// Byte offset of step `step` of a dense plane within a group.
    int64_t getStepOffset(int64_t plane, int64_t step) const;
    /// Byte offset, within a group of `columns`, of term `term`'s coefficients.
    int64_t getCoefficientOffset(int64_t term, int64_t columns) const;
    /// Columns that a block of salient digits covers, and blocks of a group.
    int64_t getBlockColumns() const { return 128; }
    int64_t getNumBlocks(int64_t columns) const;
    /// Byte offset, within a group of `columns`, of its first block.
    int64_t getBlockOffset(int64_t columns) const;
    /// Bytes before a block's digits: how many each row has.
    int64_t getBlockHeadBytes() const { return getTile(); }
    /// Bytes of a group of `columns` columns, without its salient digits.
    int64_t getGroupBytes(int64_t columns) const;
    /// Byte offset of group `group` within its part of a tile, before whose
    /// salient digits there are `salientDigits` in the tile.
    int64_t getGroupOffset(int64_t group, int64_t salientDigits = 0) const;
    /// Byte offset of the row coefficients and zero points of a salient tile.
    int64_t getRowCoefficientOffset() const { return 0; }
    int64_t getZeroPointOffset() const;
    /// Byte offset, in a tile that lists its salient digits, of their number and
    /// of the list.
    int64_t getListSizeOffset() const;
    int64_t getListOffset() const;
    /// Byte offset of the biases within a tile's last part; with digits by
    /// threes, within the tile.
    int64_t getBiasOffset() const;
    /// Bytes of a tile that has this many salient digits.
    int64_t getTileBytes(int64_t salientDigits = 0) const;
    /// Bytes before the first tile: the table of a salient layout.
    int64_t getTableBytes() const;
    /// The most bytes that a weight with this many salient digits can take.
    int64_t getBytes(int64_t salientDigits = 0) const;
    /// Columns of a float row with tile 1, or of an activation row that meets
    /// this layout, rounded up to whole vectors of 16.
    int64_t getPaddedColumns() const;
    /// Bits of information a weight carries, if a coefficient is stored once for
    /// `group` columns, and `salientDigits` of all weights are salient: digits,
    /// coefficients, zero points, bias; without padding, tables and counts.
    double getBitsPerWeight(int64_t group, int64_t salientDigits) const;
  }];
}

#endif // TBQ_ATTRS_TD
