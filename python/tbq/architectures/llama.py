# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""LlamaForCausalLM: rotated positions, gated activation, root mean square
norms before attention and feed-forward."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tbq.architectures.base import (Architecture, Positions, Sizes,
                                    apply_linear, attend)


def _norm(module: nn.Module, x: Tensor) -> Tensor:
    """Root mean square norm over the last axis, in float32."""
    f = x.float()
    f = f * torch.rsqrt(f.square().mean(-1, keepdim=True)
                        + module.variance_epsilon)
    return (f * module.weight.float()).to(x.dtype)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [B, H, T, D], cos and sin [T, D] in float32; the halves of D pair up,
    as Hugging Face stores them."""
    first, second = x.chunk(2, -1)
    turned = torch.cat((-second, first), -1)
    return (x * cos + turned * sin).to(x.dtype)


def _attention(module: nn.Module, x: Tensor, cos: Tensor,
               sin: Tensor) -> Tensor:
    split = (*x.shape[:2], -1, module.head_dim)
    q, k, v = (apply_linear(projection, x).view(split).transpose(1, 2)
               for projection in (module.q_proj, module.k_proj, module.v_proj))
    out = attend(_rotate(q, cos, sin), _rotate(k, cos, sin), v, module.scaling)
    return apply_linear(module.o_proj, out)


class Llama(Architecture):
    TABLES = ("model.embed_tokens", "lm_head")
    LAYERS = "model.layers"

    @staticmethod
    def linears(size: Sizes) -> dict[str, tuple[int, int]]:
        hidden, ffn = size("hidden_size"), size("intermediate_size")
        heads = size("num_attention_heads")
        keys = size("num_key_value_heads", heads)
        width = size("head_dim", hidden // heads)
        return {
            "self_attn.q_proj": (heads * width, hidden),
            "self_attn.k_proj": (keys * width, hidden),
            "self_attn.v_proj": (keys * width, hidden),
            "self_attn.o_proj": (hidden, heads * width),
            "mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden),
            "mlp.down_proj": (hidden, ffn)}

    @staticmethod
    def table_columns(size: Sizes) -> int:
        return size("hidden_size")

    @staticmethod
    def positions(model: nn.Module, length: int,
                  device: torch.device) -> Positions:
        """cos and sin, each float32 [T, D]."""
        cos, sin = model.model.rotary_emb(
            torch.empty(0, device=device),
            torch.arange(length, device=device)[None])
        return cos[0], sin[0]

    @staticmethod
    def enter(model: nn.Module, rows: Tensor) -> Tensor:
        return rows

    @staticmethod
    def run_block(layer: nn.Module, x: Tensor, *positions: Tensor) -> Tensor:
        y = _norm(layer.input_layernorm, x)
        x = x + _attention(layer.self_attn, y, *positions)
        y, mlp = _norm(layer.post_attention_layernorm, x), layer.mlp
        y = (mlp.act_fn(apply_linear(mlp.gate_proj, y))
             * apply_linear(mlp.up_proj, y))
        return x + apply_linear(mlp.down_proj, y)

    @staticmethod
    def leave(model: nn.Module, hidden: Tensor) -> Tensor:
        return _norm(model.model.norm, hidden)

    @staticmethod
    def after(model: nn.Module) -> list[nn.Module]:
        return [model.model.norm]
