// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Modules built from small OPT checkpoints, with norms before and after the
// parts, projected embeddings, without biases.

#include "../Import/OptModel.h"
#include "tbq/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "llvm/Support/raw_ostream.h"

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::Checkpoint;
using ::tbq::isErrorAbout;
using ::tbq::TemporaryModel;

namespace {

class ImportOpt : public testing::Test {
protected:
  void SetUp() override { makeOpt(model); }

  /// The module's text, or "error: MESSAGE". What is built must verify.
  std::string import(const TemporaryModel &model) {
    model.writeAll();
    auto checkpoint = Checkpoint::open(model.path());
    if (!checkpoint)
      return "error: " + checkpoint.error().message;
    auto module = importModel(&context, *checkpoint, {});
    if (!module)
      return "error: " + module.error().message;
    EXPECT_TRUE(succeeded(verify(**module)));
    std::string text;
    llvm::raw_string_ostream(text) << **module;
    return text;
  }

  /// The ops of the step in order, by name and location.
  std::vector<std::string> listOps() {
    model.writeAll();
    auto checkpoint = Checkpoint::open(model.path());
    auto module = importModel(&context, *checkpoint, {});
    std::vector<std::string> ops;
    (**module).walk([&](StepOp op) {
      ops.push_back(op->getName().stripDialect().str() + " " +
                    cast<NameLoc>(op->getLoc()).getName().str());
    });
    return ops;
  }

  TemporaryModel model;
  MLIRContext context;
};

bool contains(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

TEST_F(ImportOpt, FloatModel) {
  model.config["_name_or_path"] = "somebody/opt";
  const char *expected =
      R"mlir(module attributes {tbq.model = {activations = "f32", architecture = "opt", context = 32 : i64, ffn = 12 : i64, head_dim = 4 : i64, heads = 2 : i64, hidden = 8 : i64, kv_cache = "f32", kv_heads = 2 : i64, layers = 1 : i64, name = "somebody/opt", vocab = 16 : i64}} {
  func.func @forward(%arg0: tensor<?xi32>, %arg1: !tbq.cache<1 layers, 2 by 4, 32 tokens, f32>, %arg2: index, %arg3: index, %arg4: index) -> tensor<?x16xf32> {
    %0 = tbq.weight "model.decoder.embed_tokens.weight" : tensor<16x8xf32>
    %1 = tbq.embedding %arg0, %0 : (tensor<?xi32>, tensor<16x8xf32>) -> tensor<?x8xf32>
    %2 = tbq.weight "model.decoder.embed_positions.weight" : tensor<34x8xf32>
    %3 = tbq.add_positions %1, %2 at %arg2 offset 2 : (tensor<?x8xf32>, tensor<34x8xf32>, index) -> tensor<?x8xf32>
    %4 = tbq.layer "model.decoder.layers.0" number 0(%3) : tensor<?x8xf32> {
    ^bb0(%arg5: tensor<?x8xf32>, %arg6: index):
      %10 = tbq.weight "model.decoder.layers.0.self_attn_layer_norm.weight" : tensor<8xf32>
      %11 = tbq.weight "model.decoder.layers.0.self_attn_layer_norm.bias" : tensor<8xf32>
      %12 = tbq.layer_norm %arg5, %10, %11 epsilon 9.99999974E-6 features 8 : (tensor<?x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      %13 = tbq.weight "model.decoder.layers.0.self_attn.q_proj.weight" : tensor<8x8xf32>
      %14 = tbq.weight "model.decoder.layers.0.self_attn.q_proj.bias" : tensor<8xf32>
      %15 = tbq.linear %12, %13 bias(%14) : (tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      %16 = tbq.weight "model.decoder.layers.0.self_attn.k_proj.weight" : tensor<8x8xf32>
      %17 = tbq.weight "model.decoder.layers.0.self_attn.k_proj.bias" : tensor<8xf32>
      %18 = tbq.linear %12, %16 bias(%17) : (tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      %19 = tbq.weight "model.decoder.layers.0.self_attn.v_proj.weight" : tensor<8x8xf32>
      %20 = tbq.weight "model.decoder.layers.0.self_attn.v_proj.bias" : tensor<8xf32>
      %21 = tbq.linear %12, %19 bias(%20) : (tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      tbq.append_cache %18, %21, %arg1[%arg6] at %arg2 tokens %arg3 !tbq.cache<1 layers, 2 by 4, 32 tokens, f32> : (tensor<?x8xf32>, tensor<?x8xf32>, !tbq.cache<1 layers, 2 by 4, 32 tokens, f32>, index, index, index) -> ()
      %22 = tbq.attention %15, %arg1[%arg6] at %arg2 heads 2 scale 5.000000e-01 !tbq.cache<1 layers, 2 by 4, 32 tokens, f32> : (tensor<?x8xf32>, !tbq.cache<1 layers, 2 by 4, 32 tokens, f32>, index, index) -> tensor<?x8xf32>
      %23 = tbq.weight "model.decoder.layers.0.self_attn.out_proj.weight" : tensor<8x8xf32>
      %24 = tbq.weight "model.decoder.layers.0.self_attn.out_proj.bias" : tensor<8xf32>
      %25 = tbq.linear %22, %23 bias(%24) : (tensor<?x8xf32>, tensor<8x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      %26 = tbq.add %arg5, %25 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
      %27 = tbq.weight "model.decoder.layers.0.final_layer_norm.weight" : tensor<8xf32>
      %28 = tbq.weight "model.decoder.layers.0.final_layer_norm.bias" : tensor<8xf32>
      %29 = tbq.layer_norm %26, %27, %28 epsilon 9.99999974E-6 features 8 : (tensor<?x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      %30 = tbq.weight "model.decoder.layers.0.fc1.weight" : tensor<12x8xf32>
      %31 = tbq.weight "model.decoder.layers.0.fc1.bias" : tensor<12xf32>
      %32 = tbq.linear %29, %30 bias(%31) : (tensor<?x8xf32>, tensor<12x8xf32>, tensor<12xf32>) -> tensor<?x12xf32>
      %33 = tbq.activation %32 relu : (tensor<?x12xf32>) -> tensor<?x12xf32>
      %34 = tbq.weight "model.decoder.layers.0.fc2.weight" : tensor<8x12xf32>
      %35 = tbq.weight "model.decoder.layers.0.fc2.bias" : tensor<8xf32>
      %36 = tbq.linear %33, %34 bias(%35) : (tensor<?x12xf32>, tensor<8x12xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      %37 = tbq.add %26, %36 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
      tbq.yield %37 : tensor<?x8xf32>
    }
    %5 = tbq.select_rows %4 from %arg4 : (tensor<?x8xf32>, index) -> tensor<?x8xf32>
    %6 = tbq.weight "model.decoder.final_layer_norm.weight" : tensor<8xf32>
    %7 = tbq.weight "model.decoder.final_layer_norm.bias" : tensor<8xf32>
    %8 = tbq.layer_norm %5, %6, %7 epsilon 9.99999974E-6 features 8 : (tensor<?x8xf32>, tensor<8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
    %9 = tbq.linear %8, %0 : (tensor<?x8xf32>, tensor<16x8xf32>) -> tensor<?x16xf32>
    return %9 : tensor<?x16xf32>
  }
})mlir";
  std::string text = import(model);
  // An enumeration's attribute may print a space of its own.
  if (size_t at = text.find("  relu"); at != std::string::npos)
    text.erase(at, 1);
  EXPECT_EQ(text, expected);
}

TEST_F(ImportOpt, NormsBehindThePartsAndProjections) {
  makePostNormOpt(model);
  model.config["activation_function"] = "gelu";
  const std::string decoder = "model.decoder.", layer = decoder + "layers.0";
  EXPECT_EQ(listOps(), (std::vector<std::string>{
                           "embedding " + decoder + "embed_tokens",
                           "linear " + decoder + "project_in",
                           "add_positions " + decoder + "embed_positions",
                           "linear " + layer + ".self_attn.q_proj",
                           "linear " + layer + ".self_attn.k_proj",
                           "linear " + layer + ".self_attn.v_proj",
                           "append_cache " + layer + ".self_attn",
                           "attention " + layer + ".self_attn",
                           "linear " + layer + ".self_attn.out_proj",
                           "add " + layer,
                           "layer_norm " + layer + ".self_attn_layer_norm",
                           "linear " + layer + ".fc1",
                           "activation " + layer + ".activation_fn",
                           "linear " + layer + ".fc2",
                           "add " + layer,
                           "layer_norm " + layer + ".final_layer_norm",
                           "select_rows model.decoder",
                           "linear " + decoder + "project_out",
                           "linear lm_head",
                       }));
  EXPECT_TRUE(contains(import(model), "tbq.activation %"));
  EXPECT_TRUE(contains(import(model), " gelu"));
}

TEST_F(ImportOpt, EveryTensorIsRequired) {
  for (auto make : {::tbq::makeOpt, ::tbq::makePostNormOpt}) {
    make(model);
    for (const auto &[name, tensor] : model.tensors) {
      TemporaryModel broken;
      make(broken);
      broken.tensors.erase(name);
      EXPECT_TRUE(isErrorAbout(import(broken), "error: " + broken.path(),
                               name + ": tensor is missing"));
      broken.tensors[name] = tensor;
      broken.tensors[name].shape.insert(broken.tensors[name].shape.begin(), 1);
      EXPECT_TRUE(isErrorAbout(import(broken), "error: " + broken.path(),
                               name + ": tensor is F32 [1, "));
    }
  }
}

} // namespace
