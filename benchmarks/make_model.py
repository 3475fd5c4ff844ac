# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes a model of a named size with random weights, to measure compiling and stepping with.

Input:  a size (see SIZES) and the directory to make; a seed.
Output: config.json, tokenizer.json (bytes, no merges, padded to the vocabulary), bfloat16 weights
        from normal(0, 0.02) in shards with their index. With --holes, zeros that take no room on a
        disk: enough for `tbqc --shape-only`, whatever the size.
Holds:  a tensor's values follow from the seed and its place among the tensors, not from the
        shards; memory stays small, whatever the model.
"""

import argparse
import json
import pathlib
import struct

import numpy

# The shapes that the peers were measured with, and the OPT beside the llama of its size.
SIZES = {
    "125M": {"hidden": 768, "layers": 12, "ffn": 2048, "heads": 12, "kv_heads": 12},
    "1.1B": {"hidden": 2048, "layers": 22, "ffn": 5632, "heads": 32, "kv_heads": 4},
    "3B": {"hidden": 3072, "layers": 28, "ffn": 8192, "heads": 24, "kv_heads": 8},
    "7B": {"hidden": 4096, "layers": 32, "ffn": 11008, "heads": 32, "kv_heads": 32},
    "opt-1.3B": {"hidden": 2048, "layers": 24, "ffn": 8192, "heads": 32, "opt": True},
    # Of SmolLM2, BitNet-2B-4T and LLaMA 3: what GPUs are measured with.
    "135M": {"hidden": 576, "layers": 30, "ffn": 1536, "heads": 9, "kv_heads": 3, "vocabulary": 49152, "tied": True},
    "2B": {"hidden": 2560, "layers": 30, "ffn": 6912, "heads": 20, "kv_heads": 5, "vocabulary": 128256, "tied": True},
    "8B": {"hidden": 4096, "layers": 32, "ffn": 14336, "heads": 32, "kv_heads": 8, "vocabulary": 128256},
    "70B": {"hidden": 8192, "layers": 80, "ffn": 28672, "heads": 64, "kv_heads": 8, "vocabulary": 128256},
}
VOCABULARIES = {"llama": 32000, "opt": 50272}  # where a size names none
POSITIONS = 2048
SHARD_BYTES = 2 << 30
PIECE = 1 << 23  # elements made at a time


def architectureOf(size):
    return "opt" if size.get("opt") else "llama"


def vocabularyOf(size):
    return size.get("vocabulary", VOCABULARIES[architectureOf(size)])


def isTied(size):
    """Whether the head is the embedding."""
    return architectureOf(size) == "opt" or size.get("tied", False)


def shapesOfLlama(size):
    hidden, ffn = size["hidden"], size["ffn"]
    keys = hidden // size["heads"] * size["kv_heads"]
    yield "model.embed_tokens.weight", [vocabularyOf(size), hidden]
    for layer in range(size["layers"]):
        prefix = f"model.layers.{layer}."
        yield prefix + "input_layernorm.weight", [hidden]
        yield prefix + "self_attn.q_proj.weight", [hidden, hidden]
        yield prefix + "self_attn.k_proj.weight", [keys, hidden]
        yield prefix + "self_attn.v_proj.weight", [keys, hidden]
        yield prefix + "self_attn.o_proj.weight", [hidden, hidden]
        yield prefix + "post_attention_layernorm.weight", [hidden]
        yield prefix + "mlp.gate_proj.weight", [ffn, hidden]
        yield prefix + "mlp.up_proj.weight", [ffn, hidden]
        yield prefix + "mlp.down_proj.weight", [hidden, ffn]
    yield "model.norm.weight", [hidden]
    if not isTied(size):
        yield "lm_head.weight", [vocabularyOf(size), hidden]


def shapesOfOpt(size):
    """Of the pre-norm form; the head is the embedding."""
    hidden, ffn = size["hidden"], size["ffn"]
    linears = {f"self_attn.{part}_proj": [hidden, hidden] for part in ("q", "k", "v", "out")}
    linears |= {"fc1": [ffn, hidden], "fc2": [hidden, ffn]}
    norms = ["self_attn_layer_norm", "final_layer_norm"]
    yield "model.decoder.embed_tokens.weight", [vocabularyOf(size), hidden]
    yield "model.decoder.embed_positions.weight", [POSITIONS + 2, hidden]
    for layer in range(size["layers"]):
        prefix = f"model.decoder.layers.{layer}."
        for name, shape in [*linears.items(), *((norm, [hidden]) for norm in norms)]:
            yield f"{prefix}{name}.weight", shape
            yield f"{prefix}{name}.bias", shape[:1]
    for part in ("weight", "bias"):
        yield f"model.decoder.final_layer_norm.{part}", [hidden]


def shapesOf(size):
    """(name, shape) of every tensor, in the order of the layers."""
    return (shapesOfOpt if size.get("opt") else shapesOfLlama)(size)


def bytesOf(shape):
    return 2 * int(numpy.prod(shape))


def toBfloat16(values):
    """The 16 high bits of float32: what is cut off does not matter to random numbers."""
    return (values.astype(numpy.float32).view(numpy.uint32) >> 16).astype(numpy.uint16)


def writeTensor(file, shape, normals, generator):
    """What is no matrix is ones; a matrix's values are drawn from the table of normals."""
    count = int(numpy.prod(shape))
    if len(shape) == 1:
        file.write(toBfloat16(numpy.ones(count)).tobytes())
        return
    for first in range(0, count, PIECE):
        picks = generator.integers(0, len(normals), min(PIECE, count - first), numpy.uint16)
        file.write(normals[picks].tobytes())


def divide(tensors, most):
    """Runs of tensors of at most `most` bytes, or of one tensor."""
    shards = [[]]
    for tensor in tensors:
        if shards[-1] and sum(bytesOf(shape) for _, _, shape in shards[-1] + [tensor]) > most:
            shards.append([])
        shards[-1].append(tensor)
    return shards


def writeShard(path, tensors, normals, seed):
    """normals: None leaves a hole where the values would be."""
    header, end = {}, 0
    for _, name, shape in tensors:
        offsets = [end, end := end + bytesOf(shape)]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        if normals is None:
            file.truncate(file.tell() + end)
            return
        for number, _, shape in tensors:
            writeTensor(file, shape, normals, numpy.random.default_rng([seed, number]))


def writeWeights(directory, size, seed, shardBytes, holes):
    normals = None if holes else toBfloat16(numpy.random.default_rng(seed).normal(0, 0.02, 1 << 16))
    tensors = [(number, *tensor) for number, tensor in enumerate(shapesOf(size))]
    shards = divide(tensors, shardBytes)
    weightMap = {}
    for i, shard in enumerate(shards, 1):
        name = f"model-{i:05}-of-{len(shards):05}.safetensors"
        print(f"writing {directory / name}")
        writeShard(directory / name, shard, normals, seed)
        weightMap |= {tensor: name for _, tensor, _ in shard}
    total = sum(bytesOf(shape) for _, _, shape in tensors)
    index = {"metadata": {"total_size": total}, "weight_map": weightMap}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))


def configOf(size):
    if size.get("opt"):
        return {
            "architectures": ["OPTForCausalLM"],
            "activation_function": "relu",
            "ffn_dim": size["ffn"],
        }
    return {
        "architectures": ["LlamaForCausalLM"],
        "hidden_act": "silu",
        "intermediate_size": size["ffn"],
        "num_key_value_heads": size["kv_heads"],
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
    }


def writeConfig(directory, name, size):
    config = {
        **configOf(size),
        "model_type": architectureOf(size),
        "_name_or_path": f"random-{architectureOf(size)}-{name.removeprefix('opt-')}",
        "torch_dtype": "bfloat16",
        "hidden_size": size["hidden"],
        "num_hidden_layers": size["layers"],
        "num_attention_heads": size["heads"],
        "vocab_size": vocabularyOf(size),
        "max_position_embeddings": POSITIONS,
        "tie_word_embeddings": isTied(size),
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    (directory / "config.json").write_text(json.dumps(config, indent=2))


def writeTokenizer(directory, vocabulary):
    """Byte-level BPE without merges; the tokens past the bytes never come out of a text."""
    kept = [*range(33, 127), *range(161, 173), *range(174, 256)]
    moved = [byte for byte in range(256) if byte not in kept]
    alphabet = {byte: chr(byte) for byte in kept} | {b: chr(256 + i) for i, b in enumerate(moved)}
    tokens = ["<|end|>", *(alphabet[byte] for byte in range(256))]
    tokens += [f"<|{number}|>" for number in range(len(tokens), vocabulary)]
    level = {
        "type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True,
    }  # fmt: skip
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
            "vocab": {token: number for number, token in enumerate(tokens)},
        },
    }  # fmt: skip
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer))


def makeModel(name, directory, seed=1, shardBytes=SHARD_BYTES, holes=False, vocabulary=None):
    size = SIZES[name] if vocabulary is None else {**SIZES[name], "vocabulary": vocabulary}
    directory.mkdir(parents=True, exist_ok=True)
    writeConfig(directory, name, size)
    writeTokenizer(directory, vocabularyOf(size))
    writeWeights(directory, size, seed, shardBytes, holes)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shard-bytes", type=int, default=SHARD_BYTES, help="most of one shard")
    parser.add_argument("--holes", action="store_true", help="zeros that take no room, for tbqc --shape-only")
    parser.add_argument("--vocabulary", type=int, help="another one: few tokens leave out the head's time")
    arguments = parser.parse_args()
    makeModel(arguments.size, arguments.directory, arguments.seed, arguments.shard_bytes, arguments.holes,
              arguments.vocabulary)


if __name__ == "__main__":
    main()
