# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""OPTForCausalLM: learned positions, layer norms with bias before or after
attention and feed-forward, an embedding that may be narrower than the blocks.

Its dropout is left out, here as in every other student: a student learns from
the teacher's distributions, of which there is no end.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tbq.architectures.base import (Architecture, Positions, Sizes,
                                    apply_linear, attend)


def _norm(module: nn.LayerNorm, x: Tensor) -> Tensor:
    """Layer norm over the last axis, in float32."""
    weight, bias = (None if p is None else p.float()
                    for p in (module.weight, module.bias))
    return F.layer_norm(x.float(), module.normalized_shape, weight, bias,
                        module.eps).to(x.dtype)


def _attention(module: nn.Module, x: Tensor) -> Tensor:
    split = (*x.shape[:2], -1, module.head_dim)
    q, k, v = (apply_linear(projection, x).view(split).transpose(1, 2)
               for projection in (module.q_proj, module.k_proj, module.v_proj))
    return apply_linear(module.out_proj, attend(q, k, v, module.scaling))


class Opt(Architecture):
    TABLES = ("model.decoder.embed_tokens", "lm_head")
    LAYERS = "model.decoder.layers"

    @staticmethod
    def linears(size: Sizes) -> dict[str, tuple[int, int]]:
        hidden, ffn = size("hidden_size"), size("ffn_dim")
        return {**{f"self_attn.{name}": (hidden, hidden) for name in
                   ("k_proj", "v_proj", "q_proj", "out_proj")},
                "fc1": (ffn, hidden), "fc2": (hidden, ffn)}

    @staticmethod
    def table_columns(size: Sizes) -> int:
        return size("word_embed_proj_dim", size("hidden_size"))

    @staticmethod
    def positions(model: nn.Module, length: int,
                  device: torch.device) -> Positions:
        """None that a block needs: they are added to the embedding's rows."""
        return ()

    @staticmethod
    def enter(model: nn.Module, rows: Tensor) -> Tensor:
        decoder = model.model.decoder
        if decoder.project_in is not None:
            rows = apply_linear(decoder.project_in, rows)
        learned, length = decoder.embed_positions, rows.shape[1]
        table = learned.weight[learned.offset:learned.offset + length]
        return rows + table.to(rows.dtype)

    @staticmethod
    def run_block(layer: nn.Module, x: Tensor, *positions: Tensor) -> Tensor:
        before = layer.do_layer_norm_before
        y = _norm(layer.self_attn_layer_norm, x) if before else x
        x = x + _attention(layer.self_attn, y)
        x = x if before else _norm(layer.self_attn_layer_norm, x)
        y = _norm(layer.final_layer_norm, x) if before else x
        y = layer.activation_fn(apply_linear(layer.fc1, y))
        x = x + apply_linear(layer.fc2, y)
        return x if before else _norm(layer.final_layer_norm, x)

    @staticmethod
    def leave(model: nn.Module, hidden: Tensor) -> Tensor:
        decoder = model.model.decoder
        if decoder.final_layer_norm is not None:
            hidden = _norm(decoder.final_layer_norm, hidden)
        if decoder.project_out is not None:
            hidden = apply_linear(decoder.project_out, hidden)
        return hidden

    @staticmethod
    def after(model: nn.Module) -> list[nn.Module]:
        decoder = model.model.decoder
        return [module for module in (decoder.final_layer_norm,
                                      decoder.project_out)
                if module is not None]
