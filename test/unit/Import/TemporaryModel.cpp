// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//
// Builds model directories for the readers' tests.
#include "TemporaryModel.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

using namespace tbq;

std::string tbq::safetensorsBytes(const std::string &header,
                                  const std::string &data) {
  std::string bytes;
  for (int i = 0; i < 8; ++i)
    bytes += static_cast<char>(uint64_t(header.size()) >> (8 * i));
  return bytes + header + data;
}

std::string tbq::safetensorsBytes(const TestTensors &tensors) {
  nlohmann::json header = nlohmann::json::object();
  std::string data;
  for (const auto &[name, tensor] : tensors) {
    header[name] = {
        {"dtype", tensor.dtype},
        {"shape", tensor.shape},
        {"data_offsets", {data.size(), data.size() + tensor.bytes.size()}}};
    data += tensor.bytes;
  }
  return safetensorsBytes(header.dump(), data);
}

static size_t count(const std::vector<int64_t> &shape) {
  size_t elements = 1;
  for (int64_t dimension : shape)
    elements *= static_cast<size_t>(dimension);
  return elements;
}

TestTensor tbq::floatTensor(std::vector<int64_t> shape, float step) {
  std::string bytes;
  for (size_t i = 0; i < count(shape); ++i) {
    float value = static_cast<float>(i) * step;
    bytes.append(reinterpret_cast<const char *>(&value), sizeof(value));
  }
  return {"F32", std::move(shape), std::move(bytes)};
}

TestTensor tbq::halfTensor(std::vector<int64_t> shape, uint16_t pattern) {
  std::string bytes;
  for (size_t i = 0; i < count(shape); ++i)
    bytes.append(reinterpret_cast<const char *>(&pattern), sizeof(pattern));
  return {"F16", std::move(shape), std::move(bytes)};
}

TestTensor tbq::byteTensor(std::vector<int64_t> shape, uint8_t value) {
  std::string bytes(count(shape), static_cast<char>(value));
  return {"U8", std::move(shape), std::move(bytes)};
}

TemporaryModel::TemporaryModel() {
  std::string pattern =
      (std::filesystem::temp_directory_path() / "tbq-model-XXXXXX").string();
  if (!mkdtemp(pattern.data()))
    std::abort();
  directory = pattern;
  config = {{"architectures", {"LlamaForCausalLM"}},
            {"model_type", "llama"},
            {"hidden_act", "silu"},
            {"hidden_size", 8},
            {"num_hidden_layers", 1},
            {"num_attention_heads", 2},
            {"num_key_value_heads", 1},
            {"intermediate_size", 12},
            {"vocab_size", 16},
            {"max_position_embeddings", 32},
            {"rms_norm_eps", 1e-5},
            {"rope_theta", 10000.0},
            {"tie_word_embeddings", false}};
  tensors["model.embed_tokens.weight"] = floatTensor({16, 8});
  tensors["lm_head.weight"] = floatTensor({16, 8}, 0.5f);
  tensors["model.norm.weight"] = floatTensor({8});
  const std::string layer = "model.layers.0.";
  tensors[layer + "input_layernorm.weight"] = floatTensor({8});
  tensors[layer + "post_attention_layernorm.weight"] = floatTensor({8});
  tensors[layer + "self_attn.q_proj.weight"] = floatTensor({8, 8});
  tensors[layer + "self_attn.k_proj.weight"] = floatTensor({4, 8});
  tensors[layer + "self_attn.v_proj.weight"] = floatTensor({4, 8});
  tensors[layer + "self_attn.o_proj.weight"] = floatTensor({8, 8});
  tensors[layer + "mlp.gate_proj.weight"] = floatTensor({12, 8});
  tensors[layer + "mlp.up_proj.weight"] = floatTensor({12, 8});
  tensors[layer + "mlp.down_proj.weight"] = floatTensor({8, 12});
}

TemporaryModel::~TemporaryModel() { std::filesystem::remove_all(directory); }

void TemporaryModel::write(const std::string &name,
                           const std::string &content) const {
  std::ofstream(directory + "/" + name, std::ios::binary) << content;
}

void TemporaryModel::remove(const std::string &name) const {
  std::filesystem::remove(directory + "/" + name);
}

void TemporaryModel::writeConfig() const {
  write("config.json", config.dump());
}

void TemporaryModel::writeAll() const {
  writeConfig();
  write("model.safetensors", safetensorsBytes(tensors));
}

std::string TemporaryModel::failure() const {
  auto checkpoint = Checkpoint::open(directory);
  return checkpoint ? "" : checkpoint.error().message;
}

testing::AssertionResult tbq::isErrorAbout(const std::string &message,
                                           const std::string &file,
                                           const std::string &part) {
  if (message.find('\n') == std::string::npos &&
      message.compare(0, file.size(), file) == 0 &&
      message.find(part, file.size()) != std::string::npos)
    return testing::AssertionSuccess();
  return testing::AssertionFailure()
         << "\"" << message << "\" is not one line \"" << file << "... " << part
         << "...\"";
}
