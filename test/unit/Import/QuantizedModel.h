// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// A small checkpoint of ours, to be made wrong in its config or its tensors.
#ifndef TBQ_TEST_UNIT_IMPORT_QUANTIZEDMODEL_H
#define TBQ_TEST_UNIT_IMPORT_QUANTIZEDMODEL_H

#include "TemporaryModel.h"

namespace tbq {

inline const std::string downName = "model.layers.0.mlp.down_proj";

/// down_proj [8, 12] in groups of 5: 3 groups a row, 3 bytes of codes a row.
class Quantized : public testing::Test {
protected:
  void SetUp() override {
    quantization() = {{"quant_method", "tbq"},
                      {"scheme", "ternary"},
                      {"group_size", 5},
                      {"shift", true},
                      {"activations", "i8"},
                      {"modules_to_not_convert", {"lm_head", "self_attn"}}};
    model.tensors.erase(downName + ".weight");
    model.tensors[downName + ".codes"] = byteTensor({8, 3}, 0x91); // 1 0 1 2
    model.tensors[downName + ".scale"] = halfTensor({8, 3}, 0x3800);
    model.tensors[downName + ".shift"] = halfTensor({8, 3}, 0xb400);
  }

  nlohmann::json &quantization() { return model.config["quantization_config"]; }

  std::string linearFailure(bool hasBias = false) {
    model.writeAll();
    auto checkpoint = Checkpoint::open(model.path());
    if (!checkpoint)
      return checkpoint.error().message;
    auto linear = checkpoint->linear(downName, 8, 12, hasBias);
    return linear ? "" : linear.error().message;
  }

  testing::AssertionResult refuses(const std::string &field,
                                   const nlohmann::json &value,
                                   const std::string &detail) {
    nlohmann::json saved = quantization();
    quantization()[field] = value;
    model.writeAll();
    quantization() = saved;
    return isErrorAbout(model.failure(), model.path() + "/config.json: ",
                        "quantization_config" + detail);
  }

  Checkpoint open() {
    model.writeAll();
    auto checkpoint = Checkpoint::open(model.path());
    EXPECT_TRUE(checkpoint) << checkpoint.error().message;
    return *std::move(checkpoint);
  }

  TemporaryModel model;
};

} // namespace tbq

#endif // TBQ_TEST_UNIT_IMPORT_QUANTIZEDMODEL_H
