// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// tbq-narrow-loops: loops over indices that fit into 32 bits count in as many,
// as arith-int-range-narrowing has other arithmetic do. A body still has its
// number as an index, whose range is now known to be that of 32 bits.

#include "tbq/Passes.h"

#include "mlir/Analysis/DataFlow/IntegerRangeAnalysis.h"
#include "mlir/Analysis/DataFlow/Utils.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

namespace mlir::tbq {
#define GEN_PASS_DEF_NARROWLOOPSPASS
#include "tbq/Passes.h.inc"
} // namespace mlir::tbq

using namespace mlir;
using namespace mlir::tbq;

/// The most that an index is, as a signed number, or nothing where it may be
/// less than 0.
static std::optional<int64_t> getMost(DataFlowSolver &solver, Value index) {
  auto *found = solver.lookupState<dataflow::IntegerValueRangeLattice>(index);
  if (!found || found->getValue().isUninitialized())
    return std::nullopt;
  const ConstantIntRanges &range = found->getValue().getValue();
  if (range.smin().isNegative())
    return std::nullopt;
  return range.smax().getSExtValue();
}

/// Whether all that the loop's number may become fits, one step past its end
/// too.
static bool fits(DataFlowSolver &solver, scf::ForOp loop) {
  if (!loop.getInductionVar().getType().isIndex())
    return false;
  int64_t end = 0;
  for (Value each : {loop.getUpperBound(), loop.getStep()}) {
    std::optional<int64_t> most = getMost(solver, each);
    if (!most || *most > INT32_MAX)
      return false;
    end += *most;
  }
  std::optional<int64_t> first = getMost(solver, loop.getLowerBound());
  return first && *first <= INT32_MAX && end <= INT32_MAX;
}

static void narrow(scf::ForOp loop) {
  OpBuilder b(loop);
  Location loc = loop.getLoc();
  auto cast = [&](Value index) -> Value {
    return arith::IndexCastUIOp::create(b, loc, b.getI32Type(), index);
  };
  auto narrow = scf::ForOp::create(b, loc, cast(loop.getLowerBound()),
                                   cast(loop.getUpperBound()),
                                   cast(loop.getStep()), loop.getInitArgs());
  narrow.getRegion().takeBody(loop.getRegion());
  BlockArgument number = narrow.getBody()->getArgument(0);
  number.setType(b.getI32Type());
  b.setInsertionPointToStart(narrow.getBody());
  auto index = arith::IndexCastUIOp::create(b, loc, b.getIndexType(), number);
  number.replaceAllUsesExcept(index, index);
  loop.replaceAllUsesWith(narrow.getResults());
  loop.erase();
}

namespace {
struct NarrowLoopsPass : tbq::impl::NarrowLoopsPassBase<NarrowLoopsPass> {
  void runOnOperation() override {
    DataFlowSolver solver;
    dataflow::loadBaselineAnalyses(solver);
    solver.load<dataflow::IntegerRangeAnalysis>();
    if (failed(solver.initializeAndRun(getOperation())))
      return signalPassFailure();
    SmallVector<scf::ForOp> loops;
    getOperation()->walk([&](scf::ForOp loop) {
      if (fits(solver, loop))
        loops.push_back(loop);
    });
    for (scf::ForOp loop : loops)
      narrow(loop);
  }
};
} // namespace
