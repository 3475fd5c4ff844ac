# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes a model of make_model.py as a GGUF file in float16, for a peer to quantise and step.

Input:  a llama's directory out of make_model.py.
Output: the GGUF file: the same weights, no vocabulary but its size.
Holds:  memory stays that of one tensor. A peer pairs the columns of rope differently; the rows of
        keys and queries are not moved for it, since random ones mean nothing either way.
"""

import argparse
import json
import pathlib
import struct

import gguf
import numpy

# What make_model.py calls the parts of a layer, and GGUF.
PARTS = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}  # fmt: skip
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def nameOf(name):
    """model.layers.3.mlp.up_proj.weight is blk.3.ffn_up.weight."""
    stem = name.removesuffix(".weight")
    if stem in OUTER:
        return OUTER[stem] + ".weight"
    _, _, layer, part = stem.split(".", 3)
    return f"blk.{layer}.{PARTS[part]}.weight"


def readTensors(directory):
    """(name, shape, bfloat16 bits) of every tensor, mapped."""
    for path in sorted(directory.glob("*.safetensors")):
        with path.open("rb") as file:
            (size,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(size))
        for name, tensor in header.items():
            shape = tensor["shape"]
            at = 8 + size + tensor["data_offsets"][0]
            yield name, shape, numpy.memmap(path, numpy.uint16, "r", at, tuple(shape))


def typeOf(shape):
    """Norms stay float32: peers take no other."""
    return numpy.float32 if len(shape) == 1 else numpy.float16


def writeFields(writer, config):
    heads = config["num_attention_heads"]
    writer.add_name(config["_name_or_path"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_rope_dimension_count(config["hidden_size"] // heads)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    writer.add_tokenizer_model("no_vocab")


def makeGguf(directory, path):
    writer = gguf.GGUFWriter(path, "llama")
    writeFields(writer, json.loads((directory / "config.json").read_text()))
    tensors = list(readTensors(directory))
    for name, shape, _ in tensors:
        kind = numpy.dtype(typeOf(shape))
        size = int(numpy.prod(shape)) * kind.itemsize
        writer.add_tensor_info(nameOf(name), shape, kind, size)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, shape, bits in tensors:
        values = (bits.astype(numpy.uint32) << 16).view(numpy.float32)
        writer.write_tensor_data(values.astype(typeOf(shape)))
    writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("file", type=pathlib.Path)
    arguments = parser.parse_args()
    makeGguf(arguments.directory, arguments.file)


if __name__ == "__main__":
    main()
