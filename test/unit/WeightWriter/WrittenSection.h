// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A section written from a recipe in text, and its weights read back with the
// slow unpack.
#ifndef TBQ_TEST_UNIT_WEIGHTWRITER_WRITTENSECTION_H
#define TBQ_TEST_UNIT_WEIGHTWRITER_WRITTENSECTION_H

#include "../Import/TemporaryModel.h"
#include "tbq/IR/PackBytes.h"
#include "tbq/WeightWriter.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/Parser/Parser.h"

namespace mlir::tbq {

inline ::tbq::TestTensor floats(std::vector<int64_t> shape,
                                std::vector<float> values) {
  return {"F32", std::move(shape),
          std::string(reinterpret_cast<const char *>(values.data()),
                      values.size() * sizeof(float))};
}

inline std::vector<float> ramp(size_t count, float first, float step) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i)
    values[i] = first + step * static_cast<float>(i);
  return values;
}

class WeightWriter : public testing::Test {
protected:
  WeightWriter() { context.loadDialect<TbqDialect>(); }

  /// Runs `bytes N { body }`; the error message, or "".
  std::string write(int64_t bytes, const std::string &body,
                    int64_t sinkLimit = INT64_MAX) {
    section.clear();
    largest = 0;
    module = parseSourceString<ModuleOp>("tbq.weights @weights bytes " +
                                             std::to_string(bytes) + " {\n" +
                                             body + "}\n",
                                         &context);
    EXPECT_TRUE(module) << body;
    model.writeAll();
    auto checkpoint = ::tbq::Checkpoint::open(model.path());
    if (!checkpoint)
      return checkpoint.error().message;
    auto sink = [&](ArrayRef<uint8_t> part) -> ::tbq::Status {
      if (int64_t(section.size() + part.size()) > sinkLimit)
        return ::tbq::Error{"disk is full"};
      largest = std::max(largest, part.size());
      section.insert(section.end(), part.begin(), part.end());
      return ::tbq::Status::ok();
    };
    auto weights = *module->getOps<WeightsOp>().begin();
    memory = getWritingMemory(weights, *checkpoint);
    ::tbq::Status status = writeWeights(weights, *checkpoint, sink);
    return status ? "" : status.error().message;
  }

  /// The weight placed as `name`, read back from the section.
  UnpackedWeight placed(StringRef name) {
    UnpackedWeight weight;
    module->walk([&](PlaceOp op) {
      if (op.getName() == name)
        weight = unpack(op.getWeight().getType().getLayout(),
                        section.data() + op.getOffset());
    });
    return weight;
  }

  std::vector<float> norm = ramp(8, 1.0f, 0.25f);
  ::tbq::TemporaryModel model;
  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  std::vector<uint8_t> section;
  size_t largest = 0;
  int64_t memory = 0;
};

} // namespace mlir::tbq

#endif // TBQ_TEST_UNIT_WEIGHTWRITER_WRITTENSECTION_H
