// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// MLIR's remark engine with a streamer that knows the layers' names.

#include "Remarks.h"

#include "Diagnostics.h"

#include "mlir/IR/Remarks.h"

#include <mutex>

using namespace mlir;
using namespace mlir::tbq;

namespace {
class RemarkPrinter : public remark::detail::MLIRRemarkStreamerBase {
public:
  explicit RemarkPrinter(std::function<void(StringRef)> print)
      : print(std::move(print)) {}

  void streamOptimizationRemark(const remark::detail::Remark &remark) override {
    std::string line = "remark: ",
                place = describeLocation(remark.getLocation());
    line += (remark.getCategoryName() + ": " + place).str();
    line += place.empty() ? "" : ": ";
    for (const remark::detail::Remark::Arg &part : remark.getArgs())
      line += part.val;
    // Passes over functions run side by side.
    std::lock_guard<std::mutex> lock(printing);
    print(line);
  }

private:
  std::mutex printing;
  std::function<void(StringRef)> print;
};
} // namespace

void mlir::tbq::enableRemarks(MLIRContext &context, StringRef filter,
                              std::function<void(StringRef)> print) {
  remark::RemarkCategories categories; // `all` alone enables none (22.1.8)
  categories.passed = categories.missed = categories.analysis =
      categories.failed = filter.str();
  // In the order of the module, whichever function would be done first.
  context.disableMultithreading();
  // It fails where an engine is set already: the context is a fresh one.
  LogicalResult enabled = remark::enableOptimizationRemarks(
      context, std::make_unique<RemarkPrinter>(std::move(print)),
      std::make_unique<remark::RemarkEmittingPolicyAll>(), categories);
  assert(succeeded(enabled) && "remarks are enabled once");
  (void)enabled;
}
