# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A transformers model made a quantised student, and its checkpoint.

Input: a model of tbq.architectures with float weights. Output: the same module, whose
decoder linears are QuantLinear and whose embedding and head read a
QuantEmbedding; then tbq.checkpoint's QuantizedCheckpoint of it. Invariant: the
weights that are written are those of the forward pass; all that is trained is
float32; a tied head reads the embedding's very table.
"""

from __future__ import annotations

from typing import Mapping

import torch
from torch import Tensor, nn

from tbq.checkpoint import QuantizedCheckpoint
from tbq.architectures import architecture_of
from tbq.quant.configuration import quantization_config
from tbq.quant.embedding import (QuantEmbedding, QuantHead, TiedHead,
                                 parse_embedding)
from tbq.quant.errors import SpecError
from tbq.quant.linear import QuantLinear
from tbq.quant.policy import Policy


def decoder_linears(model: nn.Module) -> dict[str, nn.Module]:
    """The linears of the decoder layers by name, float and quantised."""
    layers = architecture_of(model.config.model_type).LAYERS + "."
    return {name: module for name, module in model.named_modules()
            if isinstance(module, (nn.Linear, QuantLinear))
            and name.startswith(layers)}


def replace_module(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts `module` where `model` has the submodule `name`."""
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def _quantize_tables(model: nn.Module, embedding: str | None) -> None:
    scheme = None if embedding is None else parse_embedding(embedding)
    names = architecture_of(model.config.model_type).TABLES
    weight, head = (model.get_submodule(name).weight.detach().float().clone()
                    for name in names)
    table = QuantEmbedding(weight, scheme)
    tied = bool(model.config.tie_word_embeddings)
    for name, module in zip(names, (
            table, TiedHead(table) if tied else QuantHead(head, scheme))):
        replace_module(model, name, module)


def quantize_model(model: nn.Module, policy: Policy, embedding: str | None,
                   importance: Mapping[str, Tensor] | None = None) -> None:
    """Quantises `model` in place. embedding: "int8:gN", "int4:gN", or None for
    16 bits. importance: how salient each weight of a linear is, [N, K] by
    name, for methods that ask for it. What stays float becomes float32."""
    linears = decoder_linears(model)
    for name, spec in policy.specs(linears).items():
        if spec is None:
            continue
        try:
            module = QuantLinear.of(linears[name], spec,
                                    (importance or {}).get(name))
        except SpecError as error:
            raise SpecError(f"{name}: {error}") from error
        replace_module(model, name, module)
    _quantize_tables(model, embedding)
    model.float()


def checkpoint_config(config: dict, quantization: dict) -> dict:
    """config.json of the float model with `quantization_config`."""
    kept = {key: value for key, value in config.items()
            if key not in ("quantization_config", "torch_dtype", "dtype")}
    return {**kept, "quantization_config": quantization}


@torch.no_grad()
def export_checkpoint(model: nn.Module, config: dict,
                      activations: str) -> QuantizedCheckpoint:
    """The checkpoint of a student, tensors on the CPU. config: the float
    model's config.json; activations: "i16", "i8" or "f32"."""
    linears, floats, embeddings, settings, scheme = {}, {}, {}, {}, None
    for name, module in model.named_modules():
        if isinstance(module, QuantLinear):
            linears[name] = module.quantizer.export(module.weight)
            settings[name] = module.quantizer.settings()
            if module.bias is not None:
                floats[f"{name}.bias"] = module.bias
        elif isinstance(module, QuantEmbedding):
            scheme = module.scheme
            if scheme:
                embeddings[name] = module.export()
            else:
                floats[f"{name}.weight"] = module.table().half()
        elif ".quantizer" not in name:
            floats |= {f"{name}.{part}": tensor for part, tensor
                       in module.named_parameters(recurse=False)}
            if isinstance(module, nn.Linear):
                settings[name] = None
    quantization = quantization_config(
        settings, scheme, activations,
        architecture_of(model.config.model_type).TABLES)
    floats = {name: x.detach().cpu().clone() for name, x in floats.items()}
    return QuantizedCheckpoint(checkpoint_config(config, quantization), linears,
                               floats, embeddings)
