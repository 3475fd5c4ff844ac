// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Modules built from small checkpoints: what they say, in every combination
// of float and quantised linears, biases and tied heads; and what is refused.

#include "../Import/TemporaryModel.h"
#include "tbq/Import.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Parser/Parser.h"
#include "llvm/Support/raw_ostream.h"

#include <cstdlib>
#include <filesystem>

using namespace mlir;
using namespace mlir::tbq;
using ::tbq::byteTensor;
using ::tbq::Checkpoint;
using ::tbq::floatTensor;
using ::tbq::halfTensor;
using ::tbq::isErrorAbout;
using ::tbq::TemporaryModel;

namespace {

class ImportLlama : public testing::Test {
protected:
  /// The module's text, or "error: MESSAGE". What is built must verify.
  std::string import(const std::string &path,
                     const ImportOptions &options = {}) {
    auto checkpoint = Checkpoint::open(path);
    if (!checkpoint)
      return "error: " + checkpoint.error().message;
    auto module = importModel(&context, *checkpoint, options);
    if (!module)
      return "error: " + module.error().message;
    EXPECT_TRUE(succeeded(verify(**module)));
    std::string text;
    llvm::raw_string_ostream(text) << **module;
    EXPECT_TRUE(parseSourceString<ModuleOp>(text, &context));
    // An enumeration's attribute may print a space of its own.
    const std::string spaced = "activations  ";
    for (size_t at; (at = text.find(spaced)) != std::string::npos;)
      text.erase(at + spaced.size() - 1, 1);
    return text;
  }

  std::string import(const ImportOptions &options = {}) {
    model.writeAll();
    return import(model.path(), options);
  }

  /// down_proj [8, 12], quantised; all else stays float.
  void quantizeDown() {
    model.config["quantization_config"] = {
        {"quant_method", "tbq"},
        {"scheme", "ternary"},
        {"group_size", "row"},
        {"shift", true},
        {"modules_to_not_convert",
         {"lm_head", "self_attn", "gate_proj", "up_proj"}}};
    const std::string name = "model.layers.0.mlp.down_proj";
    model.tensors.erase(name + ".weight");
    model.tensors[name + ".codes"] = byteTensor({8, 3}, 0x91);
    model.tensors[name + ".scale"] = halfTensor({8, 1}, 0x3800);
    model.tensors[name + ".shift"] = halfTensor({8, 1}, 0xb400);
  }

  TemporaryModel model;
  MLIRContext context;
};

bool contains(const std::string &text, const std::string &part) {
  return text.find(part) != std::string::npos;
}

size_t count(const std::string &text, const std::string &part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos;
       at = text.find(part, at + 1))
    ++found;
  return found;
}

TEST_F(ImportLlama, FloatModel) {
  model.config["_name_or_path"] = "somebody/small";
  const char *expected =
      R"mlir(module attributes {tbq.model = {activations = "f32", architecture = "llama", context = 32 : i64, ffn = 12 : i64, head_dim = 4 : i64, heads = 2 : i64, hidden = 8 : i64, kv_cache = "f32", kv_heads = 1 : i64, layers = 1 : i64, name = "somebody/small", vocab = 16 : i64}} {
  func.func @forward(%arg0: tensor<?xi32>, %arg1: !tbq.cache<1 layers, 1 by 4, 32 tokens, f32>, %arg2: index, %arg3: index, %arg4: index) -> tensor<?x16xf32> {
    %0 = tbq.rope_table [1.00000000e+00, 9.99999978e-03] : tensor<32x4xf32>
    %1 = tbq.weight "model.embed_tokens.weight" : tensor<16x8xf32>
    %2 = tbq.embedding %arg0, %1 : (tensor<?xi32>, tensor<16x8xf32>) -> tensor<?x8xf32>
    %3 = tbq.layer "model.layers.0" number 0(%2) : tensor<?x8xf32> {
    ^bb0(%arg5: tensor<?x8xf32>, %arg6: index):
      %9 = tbq.weight "model.layers.0.input_layernorm.weight" : tensor<8xf32>
      %10 = tbq.rms_norm %arg5, %9 epsilon 9.99999974E-6 features 8 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      %11 = tbq.weight "model.layers.0.self_attn.q_proj.weight" : tensor<8x8xf32>
      %12 = tbq.linear %10, %11 : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
      %13 = tbq.weight "model.layers.0.self_attn.k_proj.weight" : tensor<4x8xf32>
      %14 = tbq.linear %10, %13 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
      %15 = tbq.weight "model.layers.0.self_attn.v_proj.weight" : tensor<4x8xf32>
      %16 = tbq.linear %10, %15 : (tensor<?x8xf32>, tensor<4x8xf32>) -> tensor<?x4xf32>
      %17 = tbq.rope %12, %0 at %arg2 heads 2 x 4 : (tensor<?x8xf32>, tensor<32x4xf32>, index) -> tensor<?x8xf32>
      %18 = tbq.rope %14, %0 at %arg2 heads 1 x 4 : (tensor<?x4xf32>, tensor<32x4xf32>, index) -> tensor<?x4xf32>
      tbq.append_cache %18, %16, %arg1[%arg6] at %arg2 tokens %arg3 !tbq.cache<1 layers, 1 by 4, 32 tokens, f32> : (tensor<?x4xf32>, tensor<?x4xf32>, !tbq.cache<1 layers, 1 by 4, 32 tokens, f32>, index, index, index) -> ()
      %19 = tbq.attention %17, %arg1[%arg6] at %arg2 heads 2 scale 5.000000e-01 !tbq.cache<1 layers, 1 by 4, 32 tokens, f32> : (tensor<?x8xf32>, !tbq.cache<1 layers, 1 by 4, 32 tokens, f32>, index, index) -> tensor<?x8xf32>
      %20 = tbq.weight "model.layers.0.self_attn.o_proj.weight" : tensor<8x8xf32>
      %21 = tbq.linear %19, %20 : (tensor<?x8xf32>, tensor<8x8xf32>) -> tensor<?x8xf32>
      %22 = tbq.add %arg5, %21 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
      %23 = tbq.weight "model.layers.0.post_attention_layernorm.weight" : tensor<8xf32>
      %24 = tbq.rms_norm %22, %23 epsilon 9.99999974E-6 features 8 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
      %25 = tbq.weight "model.layers.0.mlp.gate_proj.weight" : tensor<12x8xf32>
      %26 = tbq.linear %24, %25 : (tensor<?x8xf32>, tensor<12x8xf32>) -> tensor<?x12xf32>
      %27 = tbq.weight "model.layers.0.mlp.up_proj.weight" : tensor<12x8xf32>
      %28 = tbq.linear %24, %27 : (tensor<?x8xf32>, tensor<12x8xf32>) -> tensor<?x12xf32>
      %29 = tbq.gated_activation %26, %28 : (tensor<?x12xf32>, tensor<?x12xf32>) -> tensor<?x12xf32>
      %30 = tbq.weight "model.layers.0.mlp.down_proj.weight" : tensor<8x12xf32>
      %31 = tbq.linear %29, %30 : (tensor<?x12xf32>, tensor<8x12xf32>) -> tensor<?x8xf32>
      %32 = tbq.add %22, %31 : (tensor<?x8xf32>, tensor<?x8xf32>) -> tensor<?x8xf32>
      tbq.yield %32 : tensor<?x8xf32>
    }
    %4 = tbq.select_rows %3 from %arg4 : (tensor<?x8xf32>, index) -> tensor<?x8xf32>
    %5 = tbq.weight "model.norm.weight" : tensor<8xf32>
    %6 = tbq.rms_norm %4, %5 epsilon 9.99999974E-6 features 8 : (tensor<?x8xf32>, tensor<8xf32>) -> tensor<?x8xf32>
    %7 = tbq.weight "lm_head.weight" : tensor<16x8xf32>
    %8 = tbq.linear %6, %7 : (tensor<?x8xf32>, tensor<16x8xf32>) -> tensor<?x16xf32>
    return %8 : tensor<?x16xf32>
  }
})mlir";
  EXPECT_EQ(import(), expected);
}

TEST_F(ImportLlama, TernaryLinear) {
  quantizeDown();
  std::string text = import();
  EXPECT_TRUE(contains(text, "tbq.weight \"model.layers.0.mlp.down_proj.codes\""
                             " : !tbq.digits<8x12, ternary>"))
      << text;
  EXPECT_TRUE(contains(text, "group 12 activations i16 : (tensor<?x12xf32>, "
                             "!tbq.digits<8x12, ternary>, tensor<8x1xf16>, "
                             "tensor<8x1xf16>) -> tensor<?x8xf32>"));
  EXPECT_EQ(count(text, "tbq.linear"), 8u);
  EXPECT_EQ(count(text, "scale("), 1u);
}

TEST_F(ImportLlama, TernaryWithoutShift) {
  quantizeDown();
  model.config["quantization_config"]["shift"] = false;
  model.config["quantization_config"]["activations"] = "i8";
  model.tensors.erase("model.layers.0.mlp.down_proj.shift");
  std::string text = import();
  EXPECT_EQ(count(text, "scale("), 1u);
  EXPECT_EQ(count(text, "shift("), 0u);
  EXPECT_TRUE(contains(text, "group 12 activations i8 :"));
  // i8 activations bring an f16 cache unless asked otherwise.
  EXPECT_TRUE(contains(text, "32 tokens, f16>"));
  EXPECT_TRUE(contains(text, "kv_cache = \"f16\""));
  ImportOptions options;
  options.cache = CacheElement::F32;
  EXPECT_TRUE(contains(import(options), "32 tokens, f32>"));
  options.activations = Activations::F32;
  EXPECT_TRUE(contains(import(options), "group 12 activations f32 :"));
}

// Asked for, else stated, else i16 where linears are quantised or will be.
TEST_F(ImportLlama, Activations) {
  auto activations = [&](const ImportOptions &options = {}) {
    std::string text = import(options);
    const std::string key = "activations = \"";
    const size_t from = text.find(key) + key.size();
    return text.substr(from, text.find('"', from) - from);
  };
  ImportOptions quantizes;
  quantizes.quantizes = true;
  EXPECT_EQ(activations(), "f32");
  EXPECT_EQ(activations(quantizes), "i16");
  quantizes.activations = Activations::F32;
  EXPECT_EQ(activations(quantizes), "f32");
  quantizeDown();
  EXPECT_EQ(activations(), "i16");
  EXPECT_TRUE(contains(import(), "kv_cache = \"f16\""));
  for (const char *mode : {"f32", "i16", "i8"}) {
    model.config["quantization_config"]["activations"] = mode;
    EXPECT_EQ(activations(), mode);
  }
  ImportOptions options;
  options.activations = Activations::I16;
  EXPECT_TRUE(contains(import(options), "group 12 activations i16 :"));
}

TEST_F(ImportLlama, RefusesGroupsThatEndWithinAStep) {
  quantizeDown();
  model.config["quantization_config"]["group_size"] = 5;
  const std::string name = "model.layers.0.mlp.down_proj";
  model.tensors[name + ".scale"] = halfTensor({8, 3}, 0x3800);
  model.tensors[name + ".shift"] = halfTensor({8, 3}, 0xb400);
  EXPECT_TRUE(isErrorAbout(import(), "error: " + model.path() + "/config.json",
                           "group_size: " + name + " has groups of 5"));
}

TEST_F(ImportLlama, BinaryLinear) {
  quantizeDown();
  const std::string name = "model.layers.0.mlp.down_proj";
  model.config["quantization_config"]["scheme"] = "binary";
  model.tensors.erase(name + ".codes");
  model.tensors[name + ".planes"] = byteTensor({1, 8, 2}, 0x0d);
  std::string text = import();
  EXPECT_TRUE(contains(text, "tbq.weight \"" + name +
                                 ".planes\" : !tbq.digits<8x12, binary>"))
      << text;
  EXPECT_EQ(count(text, "tbq.weight \"" + name + ".scale\" : tensor<8x1xf16>"),
            1u);
  EXPECT_TRUE(contains(text, "group 12 activations i16 : (tensor<?x12xf32>, "
                             "!tbq.digits<8x12, binary>, tensor<8x1xf16>, "
                             "tensor<8x1xf16>) -> tensor<?x8xf32>"));
  EXPECT_EQ(count(text, " shift("), 1u);
}

TEST_F(ImportLlama, DualBinaryLinear) {
  quantizeDown();
  const std::string name = "model.layers.0.mlp.down_proj";
  model.config["quantization_config"]["scheme"] = "dual-binary";
  model.config["quantization_config"]["shift"] = false;
  for (const char *kind : {".codes", ".shift"})
    model.tensors.erase(name + kind);
  model.tensors[name + ".planes"] = byteTensor({2, 8, 2}, 0x0d);
  model.tensors[name + ".scale"] = halfTensor({2, 8, 1}, 0x3800);
  std::string text = import();
  EXPECT_TRUE(contains(text, "tbq.weight \"" + name +
                                 ".planes\" : !tbq.digits<8x12, dual_binary>"))
      << text;
  for (const char *plane : {"0", "1"})
    EXPECT_EQ(count(text, "tbq.weight \"" + name + ".scale\" plane " + plane +
                              " : tensor<8x1xf16>"),
              1u);
  EXPECT_TRUE(contains(text, "group 12 activations i16 : (tensor<?x12xf32>, "
                             "!tbq.digits<8x12, dual_binary>, tensor<8x1xf16>, "
                             "tensor<8x1xf16>) -> tensor<?x8xf32>"));
  EXPECT_EQ(count(text, " shift("), 0u);
}

TEST_F(ImportLlama, RefusesGroupsThatEndWithinAStepOfBits) {
  model.config["intermediate_size"] = 80;
  for (const char *part : {"gate_proj", "up_proj"})
    model.tensors[std::string("model.layers.0.mlp.") + part + ".weight"] =
        floatTensor({80, 8});
  quantizeDown();
  const std::string name = "model.layers.0.mlp.down_proj";
  auto &quantization = model.config["quantization_config"];
  quantization["scheme"] = "binary";
  quantization["group_size"] = 48; // three steps of 2 bits
  model.tensors.erase(name + ".codes");
  model.tensors[name + ".planes"] = byteTensor({1, 8, 10}, 0x0d);
  for (const char *kind : {".scale", ".shift"})
    model.tensors[name + kind] = halfTensor({8, 2}, 0x3800);
  EXPECT_TRUE(isErrorAbout(import(), "error: " + model.path() + "/config.json",
                           "group_size: " + name +
                               " has groups of 48 weights (supported: "
                               "multiples of 32"));
  quantization["group_size"] = 64;
  EXPECT_TRUE(contains(import(), "group 64 activations i16"));
}

TEST_F(ImportLlama, TiedHeadIsTheEmbedding) {
  model.config["tie_word_embeddings"] = true;
  model.tensors.erase("lm_head.weight");
  std::string text = import();
  EXPECT_EQ(count(text, "tbq.weight \"model.embed_tokens.weight\""), 1u);
  EXPECT_EQ(count(text, "lm_head.weight"), 0u);
  EXPECT_EQ(count(text, "tensor<16x8xf32>) -> tensor<?x16xf32>"), 1u);
}

/// All linears float, embedding and head in `bits` bits.
void quantizeTables(TemporaryModel &model, int bits,
                    const nlohmann::json &group, int64_t groups) {
  model.config["quantization_config"] = {
      {"quant_method", "tbq"},
      {"scheme", "ternary"},
      {"group_size", "row"},
      {"shift", true},
      {"activations", "i8"},
      {"modules_to_not_convert", {"self_attn", "mlp"}},
      {"embedding", {{"bits", bits}, {"group_size", group}}}};
  for (const std::string name : {"model.embed_tokens", "lm_head"}) {
    model.tensors.erase(name + ".weight");
    auto &codes = model.tensors[name + ".q"] =
        byteTensor({16, bits == 8 ? 8 : 4}, 0x91);
    codes.dtype = bits == 8 ? "I8" : "U8";
    model.tensors[name + ".scale"] = halfTensor({16, groups}, 0x3800);
  }
}

TEST_F(ImportLlama, EmbeddingAndHeadInEightBits) {
  quantizeTables(model, 8, 4, 2);
  std::string text = import();
  for (const char *name : {"model.embed_tokens", "lm_head"})
    EXPECT_EQ(count(text, "tbq.weight \"" + std::string(name) +
                              ".q\" : !tbq.digits<16x8, int8>"),
              1u)
        << text;
  EXPECT_TRUE(contains(text, "group 4 : (tensor<?xi32>, !tbq.digits<16x8, "
                             "int8>, tensor<16x2xf16>) -> tensor<?x8xf32>"));
  // The head multiplies with what the model's quantised linears do.
  EXPECT_TRUE(contains(text, "group 4 activations i8 : (tensor<?x8xf32>, "
                             "!tbq.digits<16x8, int8>, tensor<16x2xf16>) -> "
                             "tensor<?x16xf32>"));
  EXPECT_EQ(count(text, "activations i8"), 1u);
}

TEST_F(ImportLlama, TiedHeadInFourBitsIsTheEmbedding) {
  quantizeTables(model, 4, "row", 1);
  model.config["tie_word_embeddings"] = true;
  for (const char *kind : {".q", ".scale"})
    model.tensors.erase(std::string("lm_head") + kind);
  std::string text = import();
  for (const char *kind : {".q\" : !tbq.digits<16x8, int4>", ".scale\""})
    EXPECT_EQ(
        count(text, "tbq.weight \"model.embed_tokens" + std::string(kind)), 1u)
        << text;
  EXPECT_EQ(count(text, "lm_head"), 0u);
  EXPECT_EQ(count(text, "!tbq.digits<16x8, int4>, tensor<16x1xf16>)"), 2u);
}

TEST_F(ImportLlama, RefusesGroupsOfAnEmbeddingThatEndWithinAStep) {
  const std::string field =
      "quantization_config.embedding.group_size: model.embed_tokens has groups "
      "of ";
  quantizeTables(model, 8, 2, 4);
  EXPECT_TRUE(isErrorAbout(import(), "error: " + model.path() + "/config.json",
                           field + "2 weights (supported: multiples of 4, or "
                                   "\"row\")"));
  quantizeTables(model, 4, 4, 2);
  EXPECT_TRUE(isErrorAbout(import(), "error: " + model.path() + "/config.json",
                           field + "4 weights (supported: multiples of 8, or "
                                   "\"row\")"));
  quantizeTables(model, 4, 9, 1); // longer than the row
  EXPECT_TRUE(contains(import(), "group 8 activations i8"));
}

TEST_F(ImportLlama, BiasesAndElementTypes) {
  model.config["attention_bias"] = true;
  model.config["mlp_bias"] = true;
  const std::string layer = "model.layers.0.";
  for (auto [name, size] :
       {std::pair<const char *, int64_t>{"self_attn.q_proj", 8},
        {"self_attn.k_proj", 4},
        {"self_attn.v_proj", 4},
        {"self_attn.o_proj", 8},
        {"mlp.gate_proj", 12},
        {"mlp.up_proj", 12},
        {"mlp.down_proj", 8}})
    model.tensors[layer + name + ".bias"] = halfTensor({size}, 0);
  model.tensors[layer + "mlp.up_proj.weight"] = halfTensor({12, 8}, 0);
  std::string text = import();
  EXPECT_EQ(count(text, " bias("), 7u);
  EXPECT_TRUE(contains(text, "tbq.weight \"model.layers.0.mlp.up_proj.bias\" : "
                             "tensor<12xf16>"));
  EXPECT_TRUE(contains(text, "(tensor<?x8xf32>, tensor<12x8xf16>, "
                             "tensor<12xf16>) -> tensor<?x12xf32>"));
}

TEST_F(ImportLlama, Context) {
  ImportOptions options;
  options.context = 20;
  std::string text = import(options);
  EXPECT_TRUE(contains(text, "20 tokens, f32>"));
  EXPECT_TRUE(contains(text, ": tensor<20x4xf32>"));
  EXPECT_TRUE(contains(text, "context = 20 : i64"));
  for (int64_t bad : {33, -1}) {
    options.context = bad;
    EXPECT_TRUE(isErrorAbout(import(options),
                             "error: " + model.path() + "/config.json",
                             "max_position_embeddings: the model has 32"));
  }
  model.config["max_position_embeddings"] = 100000;
  EXPECT_TRUE(contains(import(), "context = 4096 : i64"));
  options.context = 50000;
  EXPECT_TRUE(contains(import(options), "context = 50000 : i64"));
}

TEST_F(ImportLlama, EveryTensorIsRequired) {
  model.writeAll();
  for (const auto &[name, tensor] : model.tensors) {
    TemporaryModel broken;
    broken.tensors.erase(name);
    broken.writeAll();
    EXPECT_TRUE(isErrorAbout(import(broken.path()), "error: " + broken.path(),
                             name + ": tensor is missing"));
    broken.tensors[name] = tensor;
    broken.tensors[name].shape.insert(broken.tensors[name].shape.begin(), 1);
    broken.writeAll();
    EXPECT_TRUE(isErrorAbout(import(broken.path()), "error: " + broken.path(),
                             name + ": tensor is F32 [1, "));
  }
}

TEST_F(ImportLlama, LocationsNameTheModelsParts) {
  model.writeAll();
  auto checkpoint = Checkpoint::open(model.path());
  ASSERT_TRUE(checkpoint);
  auto module = importModel(&context, *checkpoint, {});
  ASSERT_TRUE(module);
  std::vector<std::string> names;
  (**module).walk([&](Operation *op) {
    auto name = dyn_cast<NameLoc>(op->getLoc());
    ASSERT_TRUE(name) << op->getName().getStringRef().str();
    if (isa<LinearOp>(op))
      names.push_back(name.getName().str());
  });
  const std::string layer = "model.layers.0.";
  EXPECT_EQ(names, (std::vector<std::string>{
                       layer + "self_attn.q_proj", layer + "self_attn.k_proj",
                       layer + "self_attn.v_proj", layer + "self_attn.o_proj",
                       layer + "mlp.gate_proj", layer + "mlp.up_proj",
                       layer + "mlp.down_proj", "lm_head"}));
}

TEST_F(ImportLlama, TinyStories) {
  const char *data = std::getenv("TBQ_TEST_DATA");
  const std::string path = std::string(data ? data : TBQ_DEFAULT_TEST_DATA) +
                           "/models/TinyStories-656K";
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << path << " does not exist (set TBQ_TEST_DATA)";
  std::string text = import(path);
  EXPECT_EQ(count(text, "tbq.layer \""), 2u);
  EXPECT_EQ(count(text, "tbq.linear "), 15u);
  EXPECT_EQ(count(text, "tbq.rms_norm "), 5u);
  // The tied matrix is stored under the head's name.
  EXPECT_EQ(count(text, "tbq.weight \"lm_head.weight\" : tensor<2048x128xf32>"),
            1u);
  EXPECT_TRUE(contains(text, "heads 8 scale 2.500000e-01"));
  EXPECT_TRUE(contains(text, "epsilon 9.99999997E-7 features 128"));
  EXPECT_TRUE(contains(text, "!tbq.cache<2 layers, 4 by 16, 512 tokens, f32>"));
}

} // namespace
