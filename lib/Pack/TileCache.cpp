// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-tile-cache: every f16 cache, of arguments and of what ops say of them, in
// tiles.

#include "tbq/Passes.h"

#include "mlir/IR/AttrTypeSubElements.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_TILECACHEPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

namespace {
struct TileCachePass : tbq::impl::TileCachePassBase<TileCachePass> {
  using TileCachePassBase::TileCachePassBase;

  void runOnOperation() override {
    AttrTypeReplacer replacer;
    replacer.addReplacement([](CacheType type) -> std::optional<Type> {
      if (!type.getElementType().isF16())
        return std::nullopt;
      return CacheType::get(type.getContext(), type.getLayers(),
                            type.getKvHeads(), type.getHeadDim(),
                            type.getPositions(), type.getElementType(),
                            /*tiled=*/true);
    });
    replacer.recursivelyReplaceElementsIn(getOperation(), /*replaceAttrs=*/true,
                                          /*replaceLocs=*/false,
                                          /*replaceTypes=*/true);
  }
};
} // namespace
