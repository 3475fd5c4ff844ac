// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Remarks of category cpu, one for each linear of decode and of prefill.

#include "RemarkKernel.h"

#include "mlir/IR/Remarks.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace mlir::tbq;

static int64_t getTokens(PackedLinearOp op) {
  return cast<MemRefType>(op.getInput().getType()).getDimSize(0);
}

/// Products of 8 bits that the kernel makes, two operations each.
static double countOperations(PackedLinearOp op, const Kernel &kernel,
                              const Tuning &tuning) {
  LayoutAttr layout = op.getWeight().getType().getLayout();
  int64_t tiles = kernel.inBlocks && !layout.hasTriples() ? tuning.rowTiles : 1;
  int64_t rows = layout.getBandRows() * tiles;
  int64_t tokens = getTokens(op);
  if (tokens >= kTokenTile)
    tokens = llvm::alignTo(tokens, kernel.amx ? 16 : tuning.tokenTile);
  return 2.0 * llvm::alignTo(layout.getRows(), rows) *
         llvm::alignTo(layout.getColumns(), 4) * tokens *
         layout.getNumPlanes() * (op.getLow() ? 2 : 1);
}

std::optional<Prediction> mlir::tbq::predict(PackedLinearOp op,
                                             const Kernel &kernel,
                                             const Tuning &tuning,
                                             const Roofline &roofline) {
  LayoutAttr layout = op.getWeight().getType().getLayout();
  auto rows = cast<MemRefType>(op.getInput().getType());
  if (!roofline.isKnown() || layout.getSalient() || layout.isFloat() ||
      rows.getElementType().isF32())
    return std::nullopt;
  double weights = double(layout.getRows()) * layout.getColumns();
  double bytes = weights * layout.getBitsPerWeight(layout.getGroup(), 0) / 8;
  double reading = bytes / roofline.read;
  double multiplying = 2 * weights * getTokens(op) / roofline.peak;
  double stored = layout.getNumTiles() * layout.getTileBytes();
  double took =
      std::max(stored / roofline.decode,
               countOperations(op, kernel, tuning) / roofline.prefill);
  return Prediction{std::min(std::max(reading, multiplying) / took, 1.0),
                    reading > multiplying};
}

static StringRef getInstructions(const Kernel &kernel, bool isFloat,
                                 bool byThrees) {
  if (byThrees && !kernel.inBlocks)
    return "vpermw";
  if (isFloat)
    return "float multiplications and additions";
  if (kernel.terms)
    return "tdpbssd";
  if (kernel.amx)
    return "tdpbsud where it fills tiles, else vpdpbusd";
  switch (kernel.dot) {
  case DotProduct::plain:
    return "multiplications and additions";
  case DotProduct::vnni:
    return "vpdpbusd";
  case DotProduct::avx2:
    return "vpmaddubsw and vpmaddwd";
  case DotProduct::dotprod:
    return "sdot";
  }
  llvm_unreachable("a dot product without a name");
}

/// "digits of 2 bits in groups of 128", "bf16".
static std::string describeLayout(LayoutAttr layout) {
  std::string text;
  llvm::raw_string_ostream out(text);
  if (layout.isFloat()) {
    out << layout.getElementType();
    return text;
  }
  out << "digits of ";
  llvm::interleave(layout.getDigits(), out, " and ");
  out << (layout.getSalient() ? " (salient) bits" : " bits")
      << (layout.hasTriples() ? " by threes" : "");
  out << " in groups of " << layout.getGroup();
  return text;
}

void mlir::tbq::remarkKernel(PackedLinearOp op, const Kernel &kernel,
                             const Tuning &tuning, const Roofline &roofline) {
  auto rows = cast<MemRefType>(op.getInput().getType());
  int64_t tokens = getTokens(op);
  LayoutAttr layout = op.getWeight().getType().getLayout();
  std::string what;
  llvm::raw_string_ostream out(what);
  out << tokens << (tokens == 1 ? " token: " : " tokens: ")
      << describeLayout(layout) << ", tiles of " << layout.getTile() << " rows";
  if (kernel.inBlocks && layout.hasTriples())
    out << ", 64 at a time, their digits spread once a block of "
        << std::min(tokens, tuning.blockTokens) << " tokens";
  else if (kernel.inBlocks)
    out << ", " << tuning.rowTiles << " at a time, their digits spread once a "
        << "block of " << std::min(tokens, tuning.blockTokens) << " tokens";
  else if (tokens >= kTokenTile)
    out << ", " << tuning.tokenTile << " tokens at a time";
  out << ", "
      << getInstructions(kernel, rows.getElementType().isF32(),
                         layout.hasTriples());
  if (auto prediction = predict(op, kernel, tuning, roofline))
    out << llvm::formatv("; predicted {0:F0} % of the limit by {1}",
                         100 * prediction->share,
                         prediction->byMemory ? "memory" : "arithmetic");
  remark::analysis(op.getLoc(),
                   remark::RemarkOpts::name("kernel").category("cpu"))
      << what;
}
