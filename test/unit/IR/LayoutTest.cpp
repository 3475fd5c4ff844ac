// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// What a layout refuses that its assembly cannot say.

#include "tbq/IR/Tbq.h"

#include "mlir/IR/Diagnostics.h"
#include "mlir/IR/MLIRContext.h"
#include "gtest/gtest.h"

using namespace mlir;
using namespace mlir::tbq;

namespace {

TEST(Layout, FloatElementsHaveNoDigits) {
  MLIRContext context;
  context.loadDialect<TbqDialect>();
  std::string message;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    message = diagnostic.str();
    return success();
  });
  Location loc = UnknownLoc::get(&context);
  Type element = Float32Type::get(&context);
  int64_t size = 16, digits[] = {2}, terms[] = {1, -1};
  auto layout = LayoutAttr::getChecked(
      [&] { return emitError(loc); }, &context, size, size, element,
      ArrayRef<int64_t>(digits), ArrayRef<int64_t>(terms), size, size, false,
      false);
  EXPECT_FALSE(layout);
  EXPECT_EQ(message, "a float layout has no digits and no terms");
}

} // namespace
