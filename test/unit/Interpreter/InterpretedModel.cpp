// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// See InterpretedModel.h.

#include "InterpretedModel.h"

#include "format/Float16.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace mlir::tbq;

::tbq::TestTensor mlir::tbq::floats(std::vector<int64_t> shape,
                                    std::vector<float> values) {
  return integers("F32", std::move(shape), std::move(values));
}

::tbq::TestTensor mlir::tbq::halves(std::vector<int64_t> shape,
                                    std::vector<float> values) {
  std::vector<uint16_t> patterns;
  for (float value : values)
    patterns.push_back(::tbq::floatToF16(value));
  return integers("F16", std::move(shape), std::move(patterns));
}

InterpretedModel::InterpretedModel() {
  context.loadDialect<TbqDialect, func::FuncDialect, arith::ArithDialect>();
}

::tbq::Result<Matrix>
InterpretedModel::interpret(std::vector<std::vector<float>> rows,
                            int64_t columns, const std::string &body,
                            Arithmetic arithmetic) {
  const int64_t count = rows.size(), width = rows.front().size();
  std::vector<float> elements;
  std::vector<int32_t> tokens;
  for (const std::vector<float> &row : rows) {
    tokens.push_back(tokens.size());
    elements.insert(elements.end(), row.begin(), row.end());
  }
  model.tensors["lm_head.x"] = floats({count, width}, elements);
  model.writeAll();
  const std::string text = llvm::formatv(
      "func.func @forward(%tokens: tensor<?xi32>, %cache: {0}, %position: "
      "index, %count: index, %first: index) -> tensor<?x{1}xf32> {{\n"
      "%table = tbq.weight \"lm_head.x\" : tensor<{2}x{3}xf32>\n"
      "%x = tbq.embedding %tokens, %table : (tensor<?xi32>, "
      "tensor<{2}x{3}xf32>) -> tensor<?x{3}xf32>\n{4}\n}\n",
      cacheType, columns, count, width, body);
  module = parseSourceString<ModuleOp>(text, &context);
  EXPECT_TRUE(module) << text;
  if (!module)
    return ::tbq::makeError("", "", "the module does not parse");
  auto checkpoint = ::tbq::Checkpoint::open(model.path());
  if (!checkpoint)
    return checkpoint.error();
  if (!cache)
    cache.emplace(getCacheType(*module));
  Interpreter interpreter(*checkpoint, arithmetic);
  interpreter.observe(observer);
  return interpreter.forward(*module, tokens, position, first, *cache);
}

std::vector<double> InterpretedModel::run(std::vector<std::vector<float>> rows,
                                          int64_t columns,
                                          const std::string &body,
                                          Arithmetic arithmetic) {
  auto result = interpret(std::move(rows), columns, body, arithmetic);
  EXPECT_TRUE(result) << result.error().message;
  return result ? result->values : std::vector<double>();
}

std::string InterpretedModel::fail(const std::string &body) {
  auto result = interpret({{1, 2}}, 2, body, Arithmetic());
  return result ? "" : result.error().message;
}
