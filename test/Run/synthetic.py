# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Small random checkpoints, llamas and OPTs, one for each thing that a checkpoint may be.

Input:  the shape and form asked for; the seed is fixed.
Output: a directory as transformers writes it, with a byte-level BPE tokenizer of its own.
Holds:  norms and biases are random too, so that leaving one out shows in the logits.
"""

import json
import pathlib
import re

import numpy
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

import binary
import integer
import opt
import salient
import ternary
from tbq import checkpoint

TABLES = ("model.embed_tokens", "model.decoder.embed_tokens", "lm_head")
LINEAR = re.compile(r"layers\.\d+\.(\w+\.\w+_proj|fc[12])$")
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
OPT = {
    "opt": {"opt": True},
    "opt-post-f16": {"opt": True, "dtype": torch.float16, **opt.POST},
    "opt-gelu-bf16": {"opt": True, "dtype": torch.bfloat16, "shardSize": 120_000, **opt.GELU},
}
TERNARY = {"scheme": "ternary", "group_size": 128, "shift": True}
BINARY = {"scheme": "binary", "group_size": 64, "shift": True}
ROW = {"scheme": "binary", "group_size": "row", "shift": True}
DUAL = {"scheme": "dual-binary", "group_size": 64, "shift": False}
MIXED = {
    "scheme": "ternary",
    "group_size": 64,
    "shift": True,
    "layers": {
        r".*\.(q|k)_proj": {"scheme": "dual-binary", "group_size": 32},
        r".*\.[qk]_proj": {"scheme": "dual-binary", "group_size": 32, "shift": False},
        r"model\.layers\.[02]\.mlp\..*": {"scheme": "binary", "group_size": "row"},
        r"model\.layers\.1\.mlp\.up_proj": {"shift": False},
    },
    "modules_to_not_convert": ["layers.1.self_attn.v_proj", "layers.2.self_attn.o_proj"],
}
# Columns that end within a byte, within a word and within every group.
ODD = {
    "hidden_size": 75,
    "intermediate_size": 203,
    "num_attention_heads": 3,
    "num_key_value_heads": 1,
    "head_dim": 20,
    "vocab_size": 331,
}
# Our quantised checkpoint; a row of 192 columns is one group of 128 and a half.
STORED = {
    "stored-ternary-g128": {"stored": TERNARY},
    "stored-ternary-row": {"stored": {**TERNARY, "group_size": "row", "shift": False}},
    "stored-binary-g128": {"stored": {**BINARY, "group_size": 128}},
    "stored-binary-row": {"stored": {**ROW, "shift": False}},
    "stored-dual-binary-g64": {"stored": DUAL},
    "stored-mixed": {"stored": MIXED},
    "stored-odd-binary-row": {"stored": ROW, **ODD},
}
SALIENT = {
    "stored-salient-g64": {"stored": {**BINARY, "fraction": 0.1}},
    "stored-salient-row-no-zero": {"stored": {**ROW, "fraction": 0.3, "symmetric": True}},
    "stored-salient-no-shift": {"stored": {**BINARY, "shift": False, "fraction": 0.1}},
    "stored-salient-edges": {"stored": {**BINARY, "fraction": 0.1, "edges": True}},
    "stored-odd-salient-g64": {"stored": {**BINARY, "fraction": 0.2}, **ODD},
    "stored-mixed-salient": {"stored": {**MIXED, "fraction": 0.2}},
}
# The embedding in 8 or 4 bits too, or alone. A row of 69 columns is an odd number of nibbles.
FLOAT_LINEARS = {**TERNARY, "group_size": "row", "modules_to_not_convert": ["layers"]}
EMBEDDED = {
    "stored-int8-g32": {
        "stored": {**TERNARY, "group_size": 64, "embedding": {"bits": 8, "group_size": 32}},
    },
    "stored-int8-g20-untied": {
        "hidden_size": 72,
        "tie_word_embeddings": False,
        "stored": {**FLOAT_LINEARS, "embedding": {"bits": 8, "group_size": 20}},
    },
    "stored-int4-row-odd": {
        **ODD,
        "hidden_size": 69,
        "tie_word_embeddings": False,
        "stored": {**FLOAT_LINEARS, "embedding": {"bits": 4, "group_size": "row"}},
    },
    "stored-int4-g8-tied": {
        "stored": {**FLOAT_LINEARS, "embedding": {"bits": 4, "group_size": 8}},
    },
}
OPT_STORED = {
    "opt-stored-ternary-g128": {"opt": True, "stored": TERNARY},
    "opt-stored-post-salient-int8": {
        "opt": True, **opt.POST,
        "stored": {**BINARY, "fraction": 0.1, "embedding": {"bits": 8, "group_size": 20}},
    },
    "opt-stored-gelu-dual": {"opt": True, "stored": DUAL, **opt.GELU},
}  # fmt: skip
# Rows of more than 258 columns, whose 8-bit digits int32 cannot sum with 16-bit activations.
WIDE = {
    "wide-tied": {"hidden_size": 272, "intermediate_size": 520, "num_hidden_layers": 2},
    "wide-untied": {"hidden_size": 272, "num_hidden_layers": 1, "tie_word_embeddings": False},
}
# Linears whose tiles a GPU's warps share by eight alone and by two together, these in four shares each,
# of heads whose pairs of features a lane has both of.
MANY_TILES = {
    "stored-many-tiles": {
        "hidden_size": 512, "intermediate_size": 4256, "num_hidden_layers": 1,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "stored": {**TERNARY, "group_size": 64},
    },
    # Rows that are whole stages of a warp group's, of several schemes: with two groups a stage or one, which
    # those that read the same have alike.
    "stored-whole-stages": {
        "hidden_size": 384, "intermediate_size": 640, "num_hidden_layers": 2,
        "num_attention_heads": 6, "num_key_value_heads": 2, "head_dim": 64,
        "stored": {**TERNARY, "layers": {
            r".*\.v_proj": {"group_size": 64},
            r".*\.[qk]_proj": {"scheme": "dual-binary", "group_size": 64, "shift": False},
            r".*\.0\.self_attn\.o_proj": {"scheme": "binary", "group_size": 128},
            r".*\.1\.self_attn\.o_proj": {"shift": False},
        }},
    },
    # Rows of more stages than a warp group's ring has, which so goes round.
    "stored-many-stages": {
        "hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 1,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 128, "stored": TERNARY,
    },
    # Rows of several eights of groups, by which shifts are added up.
    "stored-many-groups": {
        "hidden_size": 512, "intermediate_size": 1280, "num_hidden_layers": 1,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64, "stored": {**TERNARY, "group_size": 32},
    },
    # Rows of ten groups, of which a warp has three, and a last one: an eight ends among those of a round.
    "stored-parted-eights": {
        "hidden_size": 320, "intermediate_size": 320, "num_hidden_layers": 1,
        "num_attention_heads": 5, "num_key_value_heads": 1, "head_dim": 64, "stored": {**TERNARY, "group_size": 32},
    },
    # Rows of two tiles of four bands of 64 rows, and of eight of five.
    "many-rows": {
        "hidden_size": 512, "intermediate_size": 2560, "num_hidden_layers": 1,
        "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64,
    },
    # Rows that all warps have columns of, two or three fours a thread, before linears of many tiles.
    "stored-wide-rows": {
        "hidden_size": 2048, "intermediate_size": 4224, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 64, "stored": TERNARY,
    },
    # Rows that are two stages of a warp group's, and one, which is too few.
    "stored-few-stages": {
        "hidden_size": 256, "intermediate_size": 128, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 64, "stored": {**TERNARY, "group_size": 64},
    },
}  # fmt: skip
FLOAT |= OPT
STORED |= SALIENT | OPT_STORED
VARIANTS = {**FLOAT, **STORED, **EMBEDDED, **WIDE, **MANY_TILES}


def makeTokenizer(vocabulary, leading=False):
    """Byte-level BPE with GPT-2's pattern, trained on the licence; <|end|> is token 0, which
    texts begin with where it is leading, as in OPT."""
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
    if leading:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|end|> $A", special_tokens=[("<|end|>", 0)]
        )
    bos = {"bos_token": "<|end|>"} if leading else {}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", **bos)


def randomise(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        if name.endswith("bias"):
            parameter.data = 0.1 * noise
        elif "norm" in name:
            parameter.data = 1 + 0.2 * noise
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


def isStored(name, stored):
    """Whether the linear is quantised."""
    return LINEAR.search(name) and not any(
        f".{module}." in f".{name}." for module in stored.get("modules_to_not_convert", ())
    )


def schemeOf(name, stored):
    """The settings of one linear: the model's, and what the patterns say otherwise."""
    settings = {key: stored[key] for key in ("scheme", "group_size", "shift")}
    for pattern, changes in stored.get("layers", {}).items():
        if re.fullmatch(pattern, name):
            settings.update(changes)
    return settings


def exaggerate(weights, columns):
    """Row 0 gets no salient weight, and all of row 1's first group is salient."""
    weights[0] *= 0.01
    weights[1, :columns] += numpy.sign(weights[1, :columns]) * 3 * weights.std()


def quantiseSalient(weights, group_size, shift, fraction, symmetric):
    """A binary linear of tbq.checkpoint with a salient part; codes less 128, as stored."""
    fitted = salient.fit(weights, group_size, fraction, symmetric)
    columns = weights.shape[1] if group_size == "row" else group_size
    scale, mean = map(torch.from_numpy, fitted.coefficients)
    part = checkpoint.Salient(
        torch.from_numpy(fitted.mask),
        torch.from_numpy((fitted.codes.astype(numpy.int16) - 128).astype(numpy.int8)),
        torch.from_numpy(fitted.scale),
        None if symmetric else torch.from_numpy(fitted.zero - 128),
    )
    bits = torch.from_numpy(fitted.bits[0])
    return checkpoint.BinaryLinear(bits, scale, mean if shift else None, columns, part)


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


def quantiseTable(weights, bits, group_size):
    columns = weights.shape[1] if group_size == "row" else group_size
    codes, scale = map(torch.from_numpy, integer.fit(weights, bits, group_size))
    return checkpoint.QuantizedEmbedding(codes, scale, columns, bits)


def store(directory, fraction=None, symmetric=False, edges=False, **stored):
    """Replaces the float linears, and where asked the tables, by quantised ones.

    stored: quantization_config's fields. fraction: of the weights of binary linears, the salient ones.
    """
    config = json.loads((directory / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "tbq", **stored}
    linears, floats, embeddings = {}, {}, {}
    for full, tensor in load_file(directory / checkpoint.WEIGHTS).items():
        name, weights = full.removesuffix(".weight"), tensor.numpy()
        if isStored(name, stored):
            settings = schemeOf(name, stored)
            if edges:
                exaggerate(weights, settings["group_size"])
            if fraction and settings["scheme"] == "binary":
                settings.pop("scheme")
                linear = quantiseSalient(weights, **settings, fraction=fraction, symmetric=symmetric)
            else:
                linear = quantise(weights, **settings)
            linears[name] = linear
        elif "embedding" in stored and name in TABLES:
            embeddings[name] = quantiseTable(weights, **stored["embedding"])
        else:
            floats[full] = tensor
    written = checkpoint.QuantizedCheckpoint(config, linears, floats, embeddings)
    checkpoint.write_checkpoint(directory, written)


def makeLlama(changes):
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
    return LlamaForCausalLM(LlamaConfig(**shape))


def makeCheckpoint(
    directory, dtype=torch.float32, shardSize="1GB", olderConfig=False, stored=None, **changes
):
    isOpt = changes.pop("opt", False)
    model = opt.makeModel(changes) if isOpt else makeLlama(changes)
    randomise(model, seed=len(str(changes)))
    model.tie_weights()
    model.to(dtype).save_pretrained(directory, max_shard_size=shardSize)
    makeTokenizer(model.config.vocab_size, leading=isOpt).save_pretrained(directory)
    if olderConfig:
        toOlderConfig(directory / "config.json")
    if stored:
        store(directory, **stored)
