// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A module written by a test as the body of @forward, interpreted with tensors
// that the test made.
#ifndef TBQ_TEST_UNIT_INTERPRETER_INTERPRETEDMODEL_H
#define TBQ_TEST_UNIT_INTERPRETER_INTERPRETEDMODEL_H

#include "../Import/TemporaryModel.h"
#include "tbq/Interpreter.h"

#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/OwningOpRef.h"

namespace mlir::tbq {

::tbq::TestTensor floats(std::vector<int64_t> shape, std::vector<float> values);
::tbq::TestTensor halves(std::vector<int64_t> shape, std::vector<float> values);
template <class Element>
::tbq::TestTensor integers(const char *dtype, std::vector<int64_t> shape,
                           std::vector<Element> values) {
  return {dtype, std::move(shape),
          std::string(reinterpret_cast<const char *>(values.data()),
                      values.size() * sizeof(Element))};
}

class InterpretedModel : public testing::Test {
protected:
  InterpretedModel();

  /// Interprets
  ///   func.func @forward(%tokens, %cache, %position, %count, %first)
  ///       -> tensor<?xCOLUMNSxf32> { body }
  /// on the tokens 0, 1, ... of a table of the checkpoint, whose rows are
  /// `rows`; the body finds them in %x. Its last line returns.
  std::vector<double> run(std::vector<std::vector<float>> rows, int64_t columns,
                          const std::string &body, Arithmetic arithmetic = {});
  /// The error of the same.
  std::string fail(const std::string &body);

  int64_t position = 0, first = 0;
  std::string cacheType = "!tbq.cache<2 layers, 1 by 2, 32 tokens, f32>";
  std::optional<KeyValues> cache; // made by run() if there is none
  Interpreter::Observer observer;
  ::tbq::TemporaryModel model;

private:
  ::tbq::Result<Matrix> interpret(std::vector<std::vector<float>> rows,
                                  int64_t columns, const std::string &body,
                                  Arithmetic arithmetic);
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
};

} // namespace mlir::tbq

#endif // TBQ_TEST_UNIT_INTERPRETER_INTERPRETEDMODEL_H
