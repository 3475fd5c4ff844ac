# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Writes a trained model as TBQ's quantised checkpoint.

Input: a Model with ternary linears and its tokenizer files. Output: a Hugging Face
directory (tbq.checkpoint). Invariant: the weights that are written are
those of the model's forward pass: the same codes, f16 scales and shifts, and f16
embedding; norms stay float32.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from tbq.checkpoint import (QuantizedCheckpoint, TernaryLinear,
                            write_checkpoint, write_json)
from tbq.quant.dlt import ternary_codes
from tbq.small.data import BOS, EOS
from tbq.small.model import Model, ModelConfig

GENERATION = {"do_sample": True, "temperature": 0.7, "top_k": 40, "top_p": 0.95,
              "repetition_penalty": 1.1}


def hf_config(config: ModelConfig) -> dict:
    """config.json of `config` as LlamaForCausalLM."""
    result = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "attention_bias": False, "attention_dropout": 0.0,
        "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": EOS,
        "head_dim": config.head_dim, "hidden_act": "silu",
        "hidden_size": config.hidden, "initializer_range": 0.02,
        "intermediate_size": config.ffn,
        "max_position_embeddings": config.context, "mlp_bias": False,
        "num_attention_heads": config.heads,
        "num_hidden_layers": config.layers,
        "num_key_value_heads": config.kv_heads, "rms_norm_eps": config.eps,
        "rope_scaling": None, "rope_theta": config.theta,
        "tie_word_embeddings": True, "torch_dtype": "float16",
        "use_cache": True, "vocab_size": config.vocab}
    if config.group:
        result["quantization_config"] = {
            "quant_method": "tbq", "scheme": "ternary",
            "group_size": config.group, "shift": True,
            "activations": config.activations,
            "modules_to_not_convert": ["model.embed_tokens", "lm_head"]}
    return result


@torch.no_grad()
def quantized_checkpoint(model: Model) -> QuantizedCheckpoint:
    """The checkpoint of `model`, tensors on the CPU."""
    config = model.config
    if not config.group:
        raise ValueError("model: its linears are not ternary")
    names = model.hf_names()
    parameters = {k: v.detach().cpu() for k, v in model.named_parameters()}
    linears, floats = {}, {}
    for name, value in parameters.items():
        if name.endswith((".scale", ".shift")):
            continue
        if not name.endswith(".weight"):
            floats[names[name]] = value
            continue
        prefix = name[:-len(".weight")]
        group = config.group
        codes = ternary_codes(value.view(-1, group), group).view_as(value)
        linears[names[name][:-len(".weight")]] = TernaryLinear(
            codes.to(torch.int8), parameters[f"{prefix}.scale"].half(),
            parameters[f"{prefix}.shift"].half(), group)
    embedding = "model.embed_tokens.weight"
    floats[embedding] = floats[embedding].half()
    return QuantizedCheckpoint(hf_config(config), linears, floats)


def export(model: Model, tokenizer: Path, destination: Path) -> None:
    """Checkpoint, tokenizer and generation settings into `destination`."""
    write_checkpoint(destination, quantized_checkpoint(model))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(tokenizer / file, destination / file)
    write_json(destination / "generation_config.json", {
        "bos_token_id": BOS, "eos_token_id": EOS, "pad_token_id": EOS,
        **GENERATION})
