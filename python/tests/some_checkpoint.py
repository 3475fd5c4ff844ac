# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A random quantised llama of one layer, for the tests of tbq.checkpoint.

No size divides a byte's digits or the groups of 4: 6 and 8 columns, and 10 or,
odd, 11 in down_proj.
"""

import torch

from tbq import checkpoint as ck

UP = "model.layers.0.mlp.up_proj"
DOWN = "model.layers.0.mlp.down_proj"


def config(scheme="ternary", group_size=4, shift=None, tied=True, ffn=10,
           **quantization):
    shift = scheme != "dual-binary" if shift is None else shift
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama",
            "hidden_size": 6, "intermediate_size": ffn, "vocab_size": 5,
            "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
            "num_hidden_layers": 1, "tie_word_embeddings": tied,
            "quantization_config": {
                "quant_method": "tbq", "scheme": scheme,
                "group_size": group_size, "shift": shift, **quantization}}


def shapes(config):
    ffn = config["intermediate_size"]
    attention = {"q": (8, 6), "k": (4, 6), "v": (4, 6), "o": (6, 8)}
    ffns = {"gate": (ffn, 6), "up": (ffn, 6), "down": (6, ffn)}
    return {**{f"model.layers.0.self_attn.{k}_proj": v
               for k, v in attention.items()},
            **{f"model.layers.0.mlp.{k}_proj": v for k, v in ffns.items()}}


def salient(rows, columns, with_zero, generator):
    """Row 0 has none, row 1 nothing else."""
    mask = torch.rand(rows, columns, generator=generator) < 0.3
    mask[0], mask[1] = False, True
    values = torch.randint(-128, 128, (int(mask.sum()),), generator=generator,
                           dtype=torch.int8)
    scale = torch.rand(rows, generator=generator).half()
    zero = torch.randint(-128, 128, (rows,), generator=generator,
                         dtype=torch.int16)
    return ck.Salient(mask, values, scale, zero if with_zero else None)


def linear(rows, columns, scheme, group_size, shift, with_zero=None, seed=0):
    """with_zero: None for no salient part, else whether it has zeros."""
    generator = torch.Generator().manual_seed(rows * columns + seed)
    group = columns if group_size == "row" else group_size
    shape = (rows, -(-columns // group))
    scale, first, second = torch.rand(3, *shape, generator=generator).half()
    offset = second - first if shift else None
    bits = torch.randint(0, 2, (2, rows, columns), generator=generator,
                         dtype=torch.uint8)
    if scheme == "ternary":
        codes = bits[0].to(torch.int8) - bits[1].to(torch.int8)
        return ck.TernaryLinear(codes, scale, offset, group)
    if scheme == "dual-binary":
        return ck.DualBinaryLinear(bits, torch.stack([scale, -first]), group)
    if with_zero is None:
        return ck.BinaryLinear(bits[0], scale, offset, group)
    part = salient(rows, columns, with_zero, generator)
    return ck.BinaryLinear(bits[0] * ~part.mask, scale, offset, group, part)


def embedding(bits, group_size, seed=0):
    generator = torch.Generator().manual_seed(bits + seed)
    group = 6 if group_size == "row" else group_size
    limit = 1 << bits - 1
    codes = torch.randint(-limit, limit, (5, 6), generator=generator,
                          dtype=torch.int8)
    scale = torch.rand(5, -(-6 // group), generator=generator).half()
    return ck.QuantizedEmbedding(codes, scale, group, bits)


def checkpoint(settings, with_zero=None):
    """A model as `settings` (of config()) say, with norms and, where they are
    float, tables."""
    quantization = settings["quantization_config"]
    linears = {name: linear(*shape, quantization["scheme"],
                            quantization["group_size"], quantization["shift"],
                            with_zero, seed)
               for seed, (name, shape) in enumerate(shapes(settings).items())}
    tables = ["model.embed_tokens"]
    if not settings["tie_word_embeddings"]:
        tables.append("lm_head")
    norms = ("model.norm", "model.layers.0.input_layernorm",
             "model.layers.0.post_attention_layernorm")
    floats = {f"{name}.weight": torch.rand(6) for name in norms}
    embeddings = {}
    for seed, name in enumerate(tables):
        if "embedding" in quantization:
            embeddings[name] = embedding(**quantization["embedding"], seed=seed)
        else:
            floats[f"{name}.weight"] = torch.rand(5, 6).half()
    return ck.QuantizedCheckpoint(settings, linears, floats, embeddings)
