# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small random llama checkpoints, one for each thing that a checkpoint may be.

Input:  the shape and form asked for; the seed is fixed.
Output: a directory as transformers writes it, with a byte-level BPE tokenizer of its own.
Holds:  norms and biases are random too, so that leaving one out shows in the logits.
"""

import json
import pathlib

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import binary
import integer
import ternary
from tbq import checkpoint

LICENSE = pathlib.Path(__file__).resolve().parents[2] / "LICENSE"

# "odd": no size divides the group of 128, the rows of a tile, or a vector of 16 floats.
FLOAT = {
    "tied-f32": {},
    "untied-bf16-sharded": {
        "tie_word_embeddings": False,
        "dtype": torch.bfloat16,
        "shardSize": 120_000,
    },
    "f16-llama3-rope": {
        "dtype": torch.float16,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 500000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64,
        },
    },
    "odd-biased-linear-rope": {
        "hidden_size": 72,
        "intermediate_size": 200,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 20,
        "vocab_size": 331,
        "attention_bias": True,
        "mlp_bias": True,
        "rope_parameters": {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0},
        "olderConfig": True,
    },
}
# Our quantised checkpoint; a row of 192 columns is one group and a half.
STORED = {
    "stored-ternary-g128": {"stored": {"scheme": "ternary", "group_size": 128, "shift": True}},
    "stored-ternary-row": {"stored": {"scheme": "ternary", "group_size": "row", "shift": False}},
    "stored-binary-g128": {"stored": {"scheme": "binary", "group_size": 128, "shift": True}},
    "stored-binary-row": {"stored": {"scheme": "binary", "group_size": "row", "shift": False}},
    "stored-dual-binary-g64": {
        "stored": {"scheme": "dual-binary", "group_size": 64, "shift": False}
    },
}
# The embedding in 8 or 4 bits too, or alone. A row of 69 columns is an odd number of nibbles.
EMBEDDED = {
    "stored-int8-g32": {
        "stored": {"scheme": "ternary", "group_size": 64, "shift": True},
        "embedding": {"bits": 8, "group_size": 32},
    },
    "stored-int8-g20-untied": {
        "hidden_size": 72,
        "tie_word_embeddings": False,
        "embedding": {"bits": 8, "group_size": 20},
    },
    "stored-int4-row-odd": {
        "hidden_size": 69,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "head_dim": 20,
        "vocab_size": 331,
        "tie_word_embeddings": False,
        "embedding": {"bits": 4, "group_size": "row"},
    },
    "stored-int4-g8-tied": {"embedding": {"bits": 4, "group_size": 8}},
}
VARIANTS = {**FLOAT, **STORED, **EMBEDDED}


def makeTokenizer(vocabulary):
    """Byte-level BPE with GPT-2's pattern, trained on the licence; <|end|> is token 0."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<|end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train([str(LICENSE)], trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if "norm" in name:
            parameter.data = 1 + 0.2 * noise
        elif name.endswith("bias"):
            parameter.data = 0.1 * noise
        else:
            parameter.data = noise * 1.3 / parameter.shape[-1] ** 0.5


def toOlderConfig(path):
    """The spelling of rope before transformers 5: rope_theta and rope_scaling."""
    config = json.loads(path.read_text())
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    config["rope_scaling"] = {"type": rope.pop("rope_type"), **rope}
    config["torch_dtype"] = config.pop("dtype")
    path.write_text(json.dumps(config, indent=2))


def quantise(weights, scheme, group_size, shift):
    """A linear of tbq.checkpoint, by the tests' own quantisers."""
    columns = weights.shape[1] if group_size == "row" else group_size
    if scheme == "ternary":
        codes, *pair = map(torch.from_numpy, ternary.fit(weights, group_size))
        return checkpoint.TernaryLinear(codes, pair[0], pair[1] if shift else None, columns)
    bits, pair = map(torch.from_numpy, binary.fit(weights, scheme, group_size))
    if scheme == "dual-binary":
        return checkpoint.DualBinaryLinear(bits, pair, columns)
    return checkpoint.BinaryLinear(bits[0], pair[0], pair[1] if shift else None, columns)


def store(directory, scheme, group_size, shift):
    """Replaces the float linears by digits, scales and, where asked, shifts."""
    config = json.loads((directory / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "tbq",
        "scheme": scheme,
        "group_size": group_size,
        "shift": shift,
    }
    linears, floats = {}, {}
    for name, tensor in load_file(directory / checkpoint.WEIGHTS).items():
        if not name.endswith("_proj.weight"):
            floats[name] = tensor
            continue
        linear = quantise(tensor.numpy(), scheme, group_size, shift)
        linears[name.removesuffix(".weight")] = linear
    written = checkpoint.QuantizedCheckpoint(config, linears, floats)
    checkpoint.write_checkpoint(directory, written)


def storeEmbedding(directory, bits, group_size):
    """Replaces the embedding and, where it is stored, the head by codes and scales."""
    config = json.loads((directory / "config.json").read_text())
    linears = {
        "quant_method": "tbq",
        "scheme": "ternary",
        "group_size": "row",
        "shift": True,
        "modules_to_not_convert": ["layers"],
    }
    quantization = config.setdefault("quantization_config", linears)
    quantization["embedding"] = {"bits": bits, "group_size": group_size}
    (directory / "config.json").write_text(json.dumps(config))
    tensors = load_file(directory / checkpoint.WEIGHTS)
    for name in ("model.embed_tokens", "lm_head"):
        if f"{name}.weight" in tensors:
            table = tensors.pop(f"{name}.weight").numpy()
            codes, scale = integer.fit(table, bits, group_size)
            stored = integer.store(codes, bits)
            tensors[f"{name}.q"] = torch.from_numpy(stored)
            tensors[f"{name}.scale"] = torch.from_numpy(scale)
    save_file(tensors, directory / checkpoint.WEIGHTS)


def makeCheckpoint(
    directory,
    dtype=torch.float32,
    shardSize="1GB",
    olderConfig=False,
    stored=None,
    embedding=None,
    **changes,
):
    shape = {
        "hidden_size": 64,
        "intermediate_size": 192,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 320,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        **changes,
    }
    model = LlamaForCausalLM(LlamaConfig(**shape))
    randomise(model, seed=len(str(changes)))
    model.tie_weights()
    model.to(dtype).save_pretrained(directory, max_shard_size=shardSize)
    makeTokenizer(shape["vocab_size"]).save_pretrained(directory)
    if olderConfig:
        toOlderConfig(directory / "config.json")
    if stored:
        store(directory, **stored)
    if embedding:
        storeEmbedding(directory, **embedding)
