// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// config.json, a tokenizer of bytes, and a safetensors file that ends in a
// hole.

#include "MadeUpModel.h"

#include "tbq/Emit.h"

#include <nlohmann/json.hpp>

#include <cerrno>
#include <cstring>
#include <unistd.h>
#include <vector>

using namespace mlir::tbq;
using nlohmann::json;
using ::tbq::makeError;
using ::tbq::Status;

static constexpr int64_t kHidden = 2048, kLayers = 8, kFfn = 5632, kHeads = 32,
                         kKvHeads = 4, kVocabulary = 4096, kContext = 2048;

static std::string makeConfig() {
  return json{{"architectures", {"LlamaForCausalLM"}},
              {"model_type", "llama"},
              {"hidden_act", "silu"},
              {"hidden_size", kHidden},
              {"intermediate_size", kFfn},
              {"num_hidden_layers", kLayers},
              {"num_attention_heads", kHeads},
              {"num_key_value_heads", kKvHeads},
              {"vocab_size", kVocabulary},
              {"max_position_embeddings", kContext},
              {"rms_norm_eps", 1e-5},
              {"rope_theta", 10000.0},
              {"tie_word_embeddings", true},
              {"torch_dtype", "bfloat16"}}
      .dump();
}

/// Byte-level BPE without merges; a byte that is no printable character has the
/// letter behind U+0100 that byte-level tokenizers give it.
static std::string makeTokenizer() {
  json vocabulary = json::object();
  int64_t next = 0;
  char32_t moved = 0x100;
  for (char32_t byte = 0; byte < 256; ++byte) {
    bool kept = (byte > 32 && byte < 127) || (byte > 160 && byte != 173);
    char32_t letter = kept ? byte : moved++;
    std::string text;
    if (letter < 0x80) {
      text = {static_cast<char>(letter)};
    } else {
      text = {static_cast<char>(0xc0 | letter >> 6),
              static_cast<char>(0x80 | (letter & 0x3f))};
    }
    vocabulary[text] = next++;
  }
  for (; next < kVocabulary; ++next)
    vocabulary["<" + std::to_string(next) + ">"] = next;
  json level = {{"type", "ByteLevel"},
                {"add_prefix_space", false},
                {"trim_offsets", true},
                {"use_regex", true}};
  return json{{"version", "1.0"},
              {"truncation", nullptr},
              {"padding", nullptr},
              {"added_tokens", json::array()},
              {"normalizer", nullptr},
              {"pre_tokenizer", level},
              {"post_processor", nullptr},
              {"decoder", level},
              {"model",
               {{"type", "BPE"},
                {"dropout", nullptr},
                {"unk_token", nullptr},
                {"continuing_subword_prefix", nullptr},
                {"end_of_word_suffix", nullptr},
                {"fuse_unk", false},
                {"byte_fallback", false},
                {"ignore_merges", false},
                {"merges", json::array()},
                {"vocab", vocabulary}}}}
      .dump();
}

/// The header of a safetensors file; `bytes` receives the size of its data.
static std::string makeHeader(uint64_t &bytes) {
  json tensors = json::object();
  bytes = 0;
  auto add = [&](const std::string &name, std::vector<int64_t> shape) {
    uint64_t size = 2;
    for (int64_t extent : shape)
      size *= extent;
    tensors[name + ".weight"] = {{"dtype", "BF16"},
                                 {"shape", shape},
                                 {"data_offsets", {bytes, bytes + size}}};
    bytes += size;
  };
  add("model.embed_tokens", {kVocabulary, kHidden});
  constexpr int64_t keys = kHidden / kHeads * kKvHeads;
  for (int64_t number = 0; number < kLayers; ++number) {
    std::string layer = "model.layers." + std::to_string(number) + ".";
    add(layer + "input_layernorm", {kHidden});
    add(layer + "self_attn.q_proj", {kHidden, kHidden});
    add(layer + "self_attn.k_proj", {keys, kHidden});
    add(layer + "self_attn.v_proj", {keys, kHidden});
    add(layer + "self_attn.o_proj", {kHidden, kHidden});
    add(layer + "post_attention_layernorm", {kHidden});
    add(layer + "mlp.gate_proj", {kFfn, kHidden});
    add(layer + "mlp.up_proj", {kFfn, kHidden});
    add(layer + "mlp.down_proj", {kHidden, kFfn});
  }
  add("model.norm", {kHidden});
  std::string text = tensors.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  uint64_t size = text.size();
  std::string head;
  for (int byte = 0; byte < 8; ++byte)
    head += static_cast<char>(size >> (8 * byte));
  return head + text;
}

/// A file of a text and a hole behind it.
static Status writeFile(const std::string &folder, const char *name,
                        const std::string &text, uint64_t hole = 0) {
  const std::string path = folder + "/" + name;
  if (Status written = writeOutput(path, text); !written)
    return written;
  if (hole && ::truncate(path.c_str(), text.size() + hole) != 0)
    return makeError(path, "", std::strerror(errno));
  return Status::ok();
}

Status mlir::tbq::writeMadeUpModel(const std::string &folder) {
  uint64_t bytes = 0;
  std::string header = makeHeader(bytes);
  if (Status status = writeFile(folder, "config.json", makeConfig()); !status)
    return status;
  if (Status status = writeFile(folder, "tokenizer.json", makeTokenizer());
      !status)
    return status;
  return writeFile(folder, "model.safetensors", header, bytes);
}
