// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Assembly, verifiers and byte layout of the dialect's types.

#include "tbq/IR/Tbq.h"

#include "mlir/IR/DialectImplementation.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

//===----------------------------------------------------------------------===//
// !tbq.digits<576x1536, ternary>
//===----------------------------------------------------------------------===//

void DigitsType::print(AsmPrinter &printer) const {
  printer << "<" << getRows() << "x" << getColumns() << ", "
          << stringifyScheme(getScheme()) << ">";
}

Type DigitsType::parse(AsmParser &parser) {
  SMLoc loc = parser.getCurrentLocation();
  SmallVector<int64_t> shape;
  StringRef keyword;
  if (parser.parseLess() ||
      parser.parseDimensionList(shape, /*allowDynamic=*/false,
                                /*withTrailingX=*/false) ||
      parser.parseComma() || parser.parseKeyword(&keyword) ||
      parser.parseGreater())
    return {};
  if (shape.size() != 2)
    return parser.emitError(loc, "expected a shape rows x columns"), nullptr;
  std::optional<Scheme> scheme = symbolizeScheme(keyword);
  if (!scheme)
    return parser.emitError(loc, "unknown scheme '") << keyword << "'", nullptr;
  return parser.getChecked<DigitsType>(loc, parser.getContext(), shape[0],
                                       shape[1], *scheme);
}

LogicalResult DigitsType::verify(function_ref<InFlightDiagnostic()> emitError,
                                 int64_t rows, int64_t columns, Scheme) {
  if (rows < 1 || columns < 1)
    return emitError() << "digits of an empty matrix " << rows << "x"
                       << columns;
  return success();
}

//===----------------------------------------------------------------------===//
// !tbq.cache<30 layers, 3 by 64, 2048 tokens, f32>
//===----------------------------------------------------------------------===//

void CacheType::print(AsmPrinter &printer) const {
  printer << "<" << getLayers() << " layers, " << getKvHeads() << " by "
          << getHeadDim() << ", " << getPositions() << " tokens, "
          << getElementType() << (getTiled() ? ", tiled>" : ">");
}

Type CacheType::parse(AsmParser &parser) {
  SMLoc loc = parser.getCurrentLocation();
  int64_t layers, kvHeads, headDim, positions;
  Type elementType;
  if (parser.parseLess() || parser.parseInteger(layers) ||
      parser.parseKeyword("layers") || parser.parseComma() ||
      parser.parseInteger(kvHeads) || parser.parseKeyword("by") ||
      parser.parseInteger(headDim) || parser.parseComma() ||
      parser.parseInteger(positions) || parser.parseKeyword("tokens") ||
      parser.parseComma() || parser.parseType(elementType))
    return {};
  const bool tiled = succeeded(parser.parseOptionalComma());
  if ((tiled && parser.parseKeyword("tiled")) || parser.parseGreater())
    return {};
  return parser.getChecked<CacheType>(loc, parser.getContext(), layers, kvHeads,
                                      headDim, positions, elementType, tiled);
}

LogicalResult CacheType::verify(function_ref<InFlightDiagnostic()> emitError,
                                int64_t layers, int64_t kvHeads,
                                int64_t headDim, int64_t positions,
                                Type elementType, bool tiled) {
  if (layers < 1 || kvHeads < 1 || headDim < 1 || positions < 1)
    return emitError() << "a cache has at least one layer, head, feature and "
                          "token";
  if (!elementType.isF32() && !elementType.isF16())
    return emitError() << "cache elements must be f32 or f16, not "
                       << elementType;
  if (tiled && !elementType.isF16())
    return emitError() << "a tiled cache has f16 elements, not " << elementType;
  return success();
}

int64_t CacheType::getPaddedPositions() const {
  return llvm::alignTo(getPositions(), kBlock);
}
int64_t CacheType::getPaddedHeadDim() const {
  return llvm::alignTo(getHeadDim(), kLanes);
}
int64_t CacheType::getElementBytes() const {
  return getElementType().getIntOrFloatBitWidth() / 8;
}
int64_t CacheType::getTileBytes() const {
  return kBlock * kLanes * getElementBytes();
}
int64_t CacheType::getKeyHeadBytes() const {
  if (getTiled())
    return getValueHeadBytes();
  return getPaddedPositions() / kBlock * getHeadDim() * getKeyRowBytes();
}
int64_t CacheType::getValueHeadBytes() const {
  return getPaddedPositions() * getValueRowBytes();
}
int64_t CacheType::getKeyRowBytes() const { return kBlock * getElementBytes(); }
int64_t CacheType::getValueRowBytes() const {
  return getPaddedHeadDim() * getElementBytes();
}
int64_t CacheType::getLayerBytes() const {
  return getKvHeads() * (getKeyHeadBytes() + getValueHeadBytes());
}
int64_t CacheType::getValuesOffset() const {
  return getKvHeads() * getKeyHeadBytes();
}
int64_t CacheType::getBytes() const { return getLayers() * getLayerBytes(); }
