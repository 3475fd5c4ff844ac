# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes a tiny llama directory: make-checkpoint.py DIRECTORY. Needs no package.

Input:  the directory to make; the weights follow from a fixed seed.
Output: config.json, generation_config.json, tokenizer.json (bytes, no merges), model.safetensors.
Holds:  one layer, untied; every size is small and no two are equal by chance.
"""

import json
import pathlib
import random
import struct
import sys

HIDDEN, HEADS, KV_HEADS, HEAD_DIM, FFN, VOCABULARY = 48, 3, 1, 16, 80, 257


def shapes():
    layer = "model.layers.0."
    yield "model.embed_tokens.weight", [VOCABULARY, HIDDEN]
    yield layer + "input_layernorm.weight", [HIDDEN]
    yield layer + "self_attn.q_proj.weight", [HEADS * HEAD_DIM, HIDDEN]
    yield layer + "self_attn.k_proj.weight", [KV_HEADS * HEAD_DIM, HIDDEN]
    yield layer + "self_attn.v_proj.weight", [KV_HEADS * HEAD_DIM, HIDDEN]
    yield layer + "self_attn.o_proj.weight", [HIDDEN, HEADS * HEAD_DIM]
    yield layer + "post_attention_layernorm.weight", [HIDDEN]
    yield layer + "mlp.gate_proj.weight", [FFN, HIDDEN]
    yield layer + "mlp.up_proj.weight", [FFN, HIDDEN]
    yield layer + "mlp.down_proj.weight", [HIDDEN, FFN]
    yield "model.norm.weight", [HIDDEN]
    yield "lm_head.weight", [VOCABULARY, HIDDEN]


def writeTensors(path):
    generator = random.Random(1)
    header, data = {}, b""
    for name, shape in shapes():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = struct.pack(f"<{count}f", *(generator.uniform(-1, 1) for _ in range(count)))
        offsets = [len(data), len(data) + len(values)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": offsets}
        data += values
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def byteAlphabet():
    """The characters that byte-level BPE writes for the 256 bytes."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in kept]
    return {byte: chr(byte) for byte in kept} | {b: chr(256 + i) for i, b in enumerate(moved)}


def main(directory):
    directory.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
        "hidden_size": HIDDEN, "intermediate_size": FFN, "num_hidden_layers": 1,
        "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
        "vocab_size": VOCABULARY, "max_position_embeddings": 128, "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0, "tie_word_embeddings": False, "eos_token_id": 0,
    }  # fmt: skip
    (directory / "config.json").write_text(json.dumps(config))
    generation = {"eos_token_id": [0], "temperature": 0.5, "top_k": 7}
    (directory / "generation_config.json").write_text(json.dumps(generation))
    alphabet = byteAlphabet()
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    end = {
        "id": 0, "content": "<|end|>", "special": True, "single_word": False, "lstrip": False,
        "rstrip": False, "normalized": False,
    }  # fmt: skip
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [end],
        "normalizer": None, "pre_tokenizer": level, "post_processor": None, "decoder": level,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
            "ignore_merges": False, "merges": [],
            "vocab": {"<|end|>": 0} | {alphabet[byte]: byte + 1 for byte in range(256)},
        },
    }  # fmt: skip
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    writeTensors(directory / "model.safetensors")


main(pathlib.Path(sys.argv[1]))
