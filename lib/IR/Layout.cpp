// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// The arithmetic of packed layouts: sizes and offsets, nothing else. The order
// of bytes is described at #tbq.layout (TbqAttrs.td); whoever reads or writes
// packed bytes asks here.

#include "tbq/IR/Tbq.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/Support/MathExtras.h"

#include <limits>

using namespace mlir;
using namespace mlir::tbq;
using llvm::divideCeil;

static constexpr int64_t kCoefficientBytes = 2; // f16
static constexpr int64_t kZeroPointBytes = 2;   // i16
static constexpr int64_t kBiasBytes = 4;        // f32
static constexpr int64_t kSalientBytes = 2;     // u8, the digit and its column
static constexpr int64_t kListedBytes = 4;      // u32, its row as well
static constexpr int64_t kListedColumns = 1 << 21;
static constexpr int64_t kTableBytes = 4;   // u32, one a tile
static constexpr int64_t kEight = 8;        // groups of a sum's coefficients
static constexpr int64_t kPanelColumns = 4; // of floats, a multiple of these

bool LayoutAttr::hasTriples() const { return getTile() >= kBandRows; }

int64_t LayoutAttr::getNumBands() const {
  return hasTriples() ? getTile() / kBandRows : 1;
}

bool LayoutAttr::listsSalient() const {
  return getSalient() && getTile() == kWarpRows;
}

static int64_t getFloatBytes(LayoutAttr layout) {
  return layout.getElementType().getIntOrFloatBitWidth() / 8;
}

static bool useSums(LayoutAttr layout, int64_t terms) {
  for (int64_t term = 0; term < terms; ++term)
    if (layout.getTerm(term, layout.getNumPlanes()) != 0)
      return true;
  return false;
}

bool LayoutAttr::usesSums() const { return useSums(*this, getNumTerms()); }

bool LayoutAttr::usesSumsInGroups() const {
  return useSums(*this, getNumTermsInGroups());
}

bool LayoutAttr::hasSumTerm() const {
  if (getTile() != kWarpRows || getSalient() || getNumTerms() == 0 ||
      getGroup() % 32 || 128 % getGroup() || getColumns() % getGroup())
    return false;
  for (int64_t plane = 0; plane <= getNumPlanes(); ++plane)
    if (getTerm(getNumTerms() - 1, plane) != (plane == getNumPlanes() ? 1 : 0))
      return false;
  return true;
}

int64_t LayoutAttr::getNumSumEights() const {
  return hasSumTerm() ? divideCeil(getNumGroups(), kEight) : 0;
}

int64_t LayoutAttr::getSumEightOffset(int64_t eight) const {
  int64_t last = std::min((eight + 1) * kEight, getNumGroups()) - 1;
  return getGroupOffset(last) + getGroupBytes(getGroup());
}

int64_t LayoutAttr::getSumCoefficientOffset(int64_t group, int64_t row) const {
  int64_t inEight = group % kEight, ofWord = kEight / 2;
  return (row * ofWord + inEight % ofWord) * 2 * kCoefficientBytes +
         inEight / ofWord * kCoefficientBytes;
}

int64_t LayoutAttr::getMostColumns(int64_t largestActivation) const {
  // What one column adds to a sum is an activation times a digit, or times the
  // integer that a term makes of all planes' digits.
  int64_t largest = 1;
  for (int64_t bits : getDigits())
    largest = std::max(largest, (int64_t(1) << bits) - 1);
  for (int64_t term = 0; term < getNumTerms(); ++term) {
    int64_t least = getTerm(term, getNumPlanes()), most = least;
    for (int64_t plane = 0; plane < getNumPlanes(); ++plane) {
      int64_t end =
          getTerm(term, plane) * ((int64_t(1) << getDigits()[plane]) - 1);
      (end < 0 ? least : most) += end;
    }
    largest = std::max({largest, -least, most});
  }
  constexpr int64_t kMost = std::numeric_limits<int32_t>::max();
  // Digits of activations, int8, also meet digits at their places in a byte.
  return std::min(kMost / (largest * largestActivation), kMost / (255 * 128));
}

int64_t LayoutAttr::getNumTiles() const {
  return divideCeil(getRows(), getTile());
}

int64_t LayoutAttr::getNumPanels() const {
  return divideCeil(getColumns(), getPanel());
}

int64_t LayoutAttr::getPanelGroups() const {
  return divideCeil(getPanel(), getGroup());
}

int64_t LayoutAttr::getPanelColumns(int64_t panel) const {
  return std::min(getPanel(), getColumns() - panel * getPanel());
}

int64_t LayoutAttr::getPartBytes(int64_t panel) const {
  if (hasTriples())
    return getPanelColumns(panel) / getGroup() * getGroupBytes(getGroup()) +
           (getPanelColumns(panel) % getGroup()
                ? getGroupBytes(getPanelColumns(panel) % getGroup())
                : 0);
  if (panel + 1 == getNumPanels())
    return getBiasOffset() + (getBias() ? getTile() * kBiasBytes : 0);
  return isFloat() ? getPanel() * getFloatBytes(*this) * getTile()
                   : getPanelGroups() * getGroupBytes(getGroup());
}

int64_t LayoutAttr::getPanelOffset(int64_t panel) const {
  int64_t parts = hasTriples() ? getNumBands() : getNumTiles();
  return panel == 0 ? 0 : panel * parts * getPartBytes(0);
}

int64_t LayoutAttr::getNumGroups() const {
  return divideCeil(getColumns(), getGroup());
}

int64_t LayoutAttr::getGroupColumns(int64_t group) const {
  return std::min(getGroup(), getColumns() - group * getGroup());
}

int64_t LayoutAttr::getStepColumns(int64_t plane) const {
  return hasTriples() ? kTripleColumns : 32 / getDigits()[plane];
}

int64_t LayoutAttr::getStepColumns() const {
  int64_t columns = 4;
  for (int64_t plane = 0; plane < getNumDensePlanes(); ++plane)
    columns = std::max(columns, getStepColumns(plane));
  return columns;
}

int64_t LayoutAttr::getSteps(int64_t plane, int64_t columns) const {
  // All planes of a group end together: round up to the widest step first.
  int64_t padded = llvm::alignTo(columns, getStepColumns());
  return padded / getStepColumns(plane);
}

int64_t LayoutAttr::getStrideBytes() const {
  int64_t bytes = 0;
  for (int64_t plane = 0; plane < getNumDensePlanes(); ++plane)
    bytes += getStepColumns() / getStepColumns(plane) * getStepBytes();
  return bytes;
}

int64_t LayoutAttr::getStepOffset(int64_t plane, int64_t step) const {
  // Planes are interleaved by widest steps: [plane 0's][plane 1's]... each.
  int64_t perStride = getStepColumns() / getStepColumns(plane);
  int64_t before = 0;
  for (int64_t p = 0; p < plane; ++p)
    before += getStepColumns() / getStepColumns(p) * getStepBytes();
  return step / perStride * getStrideBytes() + before +
         step % perStride * getStepBytes();
}

int64_t LayoutAttr::getCoefficientOffset(int64_t term, int64_t columns) const {
  int64_t digits = 0;
  for (int64_t plane = 0; plane < getNumDensePlanes(); ++plane)
    digits += getSteps(plane, columns) * getStepBytes();
  return digits + term * getBandRows() * kCoefficientBytes;
}

int64_t LayoutAttr::getNumBlocks(int64_t columns) const {
  return getSalient() && !listsSalient()
             ? divideCeil(columns, getBlockColumns())
             : 0;
}

int64_t LayoutAttr::getBlockOffset(int64_t columns) const {
  return getCoefficientOffset(getNumTermsInGroups(), columns);
}

int64_t LayoutAttr::getGroupBytes(int64_t columns) const {
  if (getSalient() && !listsSalient())
    return getBlockOffset(columns) +
           getNumBlocks(columns) * getBlockHeadBytes();
  return llvm::alignTo(getBlockOffset(columns), kThreadBytes);
}

/// Bytes of a salient tile before its first group.
static int64_t getHeadBytes(LayoutAttr layout) {
  if (!layout.getSalient())
    return 0;
  if (layout.listsSalient())
    return llvm::alignTo(layout.getListSizeOffset() + kTableBytes,
                         kThreadBytes);
  return layout.getBiasOffset() +
         (layout.getBias() ? layout.getTile() * kBiasBytes : 0);
}

/// Bytes that a tile's salient digits put between its groups.
static int64_t getBytesAmong(LayoutAttr layout, int64_t salientDigits) {
  return layout.listsSalient() ? 0 : kSalientBytes * salientDigits;
}

int64_t LayoutAttr::getListSizeOffset() const {
  return getBiasOffset() + (getBias() ? getTile() * kBiasBytes : 0);
}

int64_t LayoutAttr::getListOffset() const {
  int64_t last = getNumGroups() - 1;
  return getGroupOffset(last) + getGroupBytes(getGroupColumns(last));
}

int64_t LayoutAttr::getGroupOffset(int64_t group, int64_t salientDigits) const {
  int64_t ofSums = hasSumTerm() ? group / kEight * getSumEightBytes() : 0;
  return getHeadBytes(*this) +
         group % getPanelGroups() * getGroupBytes(getGroup()) + ofSums +
         getBytesAmong(*this, salientDigits);
}

int64_t LayoutAttr::getZeroPointOffset() const {
  return getTile() * kCoefficientBytes;
}

int64_t LayoutAttr::getBiasOffset() const {
  if (isFloat()) {
    int64_t columns = getTile() == 1 ? getPaddedColumns()
                                     : getPanelColumns(getNumPanels() - 1);
    return columns * getTile() * getFloatBytes(*this);
  }
  if (getSalient())
    return getZeroPointOffset() + getTile() * kZeroPointBytes;
  if (hasTriples()) {
    int64_t last = getNumPanels() - 1;
    return getPanelOffset(last) + getNumBands() * getPartBytes(last);
  }
  if (int64_t eights = getNumSumEights())
    return getSumEightOffset(eights - 1) + getSumEightBytes();
  int64_t last = getNumGroups() - 1;
  return getGroupOffset(last) + getGroupBytes(getGroupColumns(last));
}

int64_t LayoutAttr::getTileBytes(int64_t salientDigits) const {
  if (hasTriples())
    return getBiasOffset() + (getBias() ? getTile() * kBiasBytes : 0);
  if (!getSalient()) {
    int64_t last = getNumPanels() - 1;
    return (last == 0 ? 0 : last * getPartBytes(0)) + getPartBytes(last);
  }
  if (listsSalient())
    return llvm::alignTo(getListOffset() + kListedBytes * salientDigits,
                         kAlignment);
  int64_t last = getNumGroups() - 1;
  return llvm::alignTo(getGroupOffset(last, salientDigits) +
                           getGroupBytes(getGroupColumns(last)),
                       kAlignment);
}

int64_t LayoutAttr::getTableBytes() const {
  return getSalient() ? llvm::alignTo(getNumTiles() * kTableBytes, kAlignment)
                      : 0;
}

int64_t LayoutAttr::getBytes(int64_t salientDigits) const {
  // However the digits fall on the tiles, each ends with less than kAlignment
  // bytes of padding.
  int64_t padding = getSalient() ? (getNumTiles() - 1) * (kAlignment - 1) : 0;
  return getTableBytes() +
         llvm::alignTo(getNumTiles() * getTileBytes() +
                           (listsSalient() ? kListedBytes : kSalientBytes) *
                               salientDigits +
                           padding,
                       getSalient() ? kAlignment : 1);
}

int64_t LayoutAttr::getPaddedColumns() const {
  return llvm::alignTo(getColumns(), kLanes);
}

double LayoutAttr::getBitsPerWeight(int64_t group,
                                    int64_t salientDigits) const {
  double bits = 0, columns = getColumns();
  if (isFloat())
    bits = getElementType().getIntOrFloatBitWidth();
  for (int64_t digit : getDigits().take_front(getNumDensePlanes()))
    bits += hasTriples() ? 16.0 * getTripleWords() / kTripleColumns : digit;
  bits += 8.0 * kCoefficientBytes * getNumGroupTerms() *
          divideCeil(getColumns(), group) / columns;
  if (getSalient())
    bits += 8.0 * kSalientBytes * salientDigits / (getRows() * columns) +
            8.0 * (kCoefficientBytes + kZeroPointBytes) / columns;
  return bits + (getBias() ? 8.0 * kBiasBytes / columns : 0);
}

//===----------------------------------------------------------------------===//
// Assembly: <576x576, digits [2], terms [[1, -1], [0, 1]], group 128, tile 16>
//       or: <576x576, digits [1, 1, 8], terms [...], salient, group 128, tile
//       16> or: <576x576, bf16, tile 16>
//===----------------------------------------------------------------------===//

static void printList(AsmPrinter &printer, ArrayRef<int64_t> values) {
  printer << "[";
  llvm::interleaveComma(values, printer.getStream());
  printer << "]";
}

static ParseResult parseList(AsmParser &parser, SmallVectorImpl<int64_t> &out) {
  return parser.parseCommaSeparatedList(AsmParser::Delimiter::Square, [&] {
    return parser.parseInteger(out.emplace_back());
  });
}

void LayoutAttr::print(AsmPrinter &printer) const {
  printer << "<" << getRows() << "x" << getColumns() << ", ";
  if (isFloat()) {
    printer << getElementType();
  } else {
    printer << "digits ";
    printList(printer, getDigits());
    printer << ", terms [";
    for (int64_t t = 0; t < getNumTerms(); ++t) {
      printer << (t ? ", " : "");
      printList(printer,
                getTerms().slice(t * (getNumPlanes() + 1), getNumPlanes() + 1));
    }
    printer << (getSalient() ? "], salient, group " : "], group ")
            << getGroup();
  }
  printer << ", tile " << getTile();
  if (getPanel() != getColumns())
    printer << ", panel " << getPanel();
  printer << (getBias() ? ", bias>" : ">");
}

Attribute LayoutAttr::parse(AsmParser &parser, Type) {
  SMLoc loc = parser.getCurrentLocation();
  SmallVector<int64_t> shape, digits, terms;
  Type elementType;
  int64_t group = 0, tile = 0;
  bool bias = false, salient = false;
  if (parser.parseLess() ||
      parser.parseDimensionList(shape, /*allowDynamic=*/false,
                                /*withTrailingX=*/false) ||
      parser.parseComma())
    return {};
  if (shape.size() != 2)
    return parser.emitError(loc, "expected a shape rows x columns"), nullptr;
  if (succeeded(parser.parseOptionalKeyword("digits"))) {
    auto parseTerm = [&] { return parseList(parser, terms); };
    if (parseList(parser, digits) || parser.parseComma() ||
        parser.parseKeyword("terms") ||
        parser.parseCommaSeparatedList(AsmParser::Delimiter::Square,
                                       parseTerm) ||
        parser.parseComma())
      return {};
    salient = succeeded(parser.parseOptionalKeyword("salient"));
    if ((salient && parser.parseComma()) || parser.parseKeyword("group") ||
        parser.parseInteger(group))
      return {};
  } else {
    if (parser.parseType(elementType))
      return {};
    group = shape[1];
  }
  if (parser.parseComma() || parser.parseKeyword("tile") ||
      parser.parseInteger(tile))
    return {};
  int64_t panel = shape[1];
  bool more = succeeded(parser.parseOptionalComma());
  if (more && succeeded(parser.parseOptionalKeyword("panel"))) {
    if (parser.parseInteger(panel))
      return {};
    more = succeeded(parser.parseOptionalComma());
  }
  if (more) {
    if (parser.parseKeyword("bias"))
      return {};
    bias = true;
  }
  if (parser.parseGreater())
    return {};
  return parser.getChecked<LayoutAttr>(
      loc, parser.getContext(), shape[0], shape[1], elementType,
      ArrayRef<int64_t>(digits), ArrayRef<int64_t>(terms), group, tile, bias,
      salient, panel);
}

LogicalResult LayoutAttr::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t rows, int64_t columns,
                                 Type elementType, ArrayRef<int64_t> digits,
                                 ArrayRef<int64_t> terms, int64_t group,
                                 int64_t tile, bool bias, bool salient,
                                 int64_t panel) {
  if (rows < 1 || columns < 1)
    return emitError() << "layout of an empty matrix " << rows << "x"
                       << columns;
  const bool triples = tile >= kBandRows;
  if (tile != 1 && tile != kWarpRows && tile != kLanes &&
      (tile < 1 || tile % kBandRows || tile / kBandRows > kMostBands))
    return emitError() << "tile must be 1, " << kWarpRows << ", " << kLanes
                       << " or 1 to " << kMostBands << " times " << kBandRows
                       << " rows, not " << tile;
  if (panel < 1 || panel > columns)
    return emitError() << "panel of " << panel << " columns in a row of "
                       << columns;
  if (panel < columns) {
    if ((tile != kLanes && !triples) || salient)
      return emitError() << "panels need tiles of " << kLanes << " or "
                         << kBandRows << " rows without salient digits";
    int64_t whole = elementType ? kPanelColumns : group;
    if (whole < 1 || panel % whole != 0)
      return emitError() << "panels of " << panel
                         << " columns are no multiple of "
                         << (elementType ? "" : "groups of ") << whole;
  }
  if (elementType) {
    if (triples)
      return emitError() << "tiles of " << tile << " rows need digits";
    if (!elementType.isF32() && !elementType.isF16() && !elementType.isBF16())
      return emitError() << "elements must be f32, f16 or bf16, not "
                         << elementType;
    if (!digits.empty() || !terms.empty())
      return emitError() << "a float layout has no digits and no terms";
    return success();
  }
  if (digits.empty())
    return emitError() << "a layout needs an element type or digits";
  if (tile == 1)
    return emitError() << "digits need tiles of " << kWarpRows << ", " << kLanes
                       << " or more rows";
  for (int64_t bits : digits)
    if (bits != 1 && bits != 2 && bits != 4 && bits != 8)
      return emitError() << "a digit has 1, 2, 4 or 8 bits, not " << bits;
  if (terms.empty() || terms.size() % (digits.size() + 1) != 0)
    return emitError() << "each term needs " << digits.size() + 1
                       << " integers: one a plane and one for the sum";
  if (group < 1 || group > columns)
    return emitError() << "group of " << group << " columns in a row of "
                       << columns;
  if (triples) {
    if (digits != ArrayRef<int64_t>(2) || salient)
      return emitError() << "tiles of " << tile
                         << " rows need one plane of 2 bits";
    if (rows % tile || columns % kTripleColumns || group % kTripleColumns)
      return emitError() << "tiles of " << tile
                         << " rows need as many whole, and columns and groups "
                            "of whole "
                         << kTripleColumns << "s";
  }
  if (salient) {
    if (tile == kWarpRows && columns > kListedColumns)
      return emitError() << "a list of salient digits holds columns up to "
                         << kListedColumns << ", not " << columns;
    if (digits.size() < 2 || digits.back() != 8 ||
        digits[digits.size() - 2] != 1)
      return emitError() << "salient digits need a last plane of 8 bits after "
                            "a mask of 1 bit";
    const size_t width = digits.size() + 1, numTerms = terms.size() / width;
    for (size_t i = 0; i < terms.size(); ++i) {
      const bool lastTerm = i / width + 1 == numTerms;
      const bool lastPlane = i % width + 1 == digits.size();
      if (terms[i] != 0 && lastTerm != lastPlane)
        return emitError() << "the last term, and no other, must be of the "
                              "salient digits alone";
    }
  }
  int64_t step = 4;
  for (int64_t bits : digits)
    step = std::max(step, 32 / bits);
  if (group < columns && group % step != 0)
    return emitError() << "groups of " << group
                       << " columns do not end with a step of " << step;
  return success();
}
