# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""One decoding step of a llama for many sequences in lockstep.

Input:  a transformers LlamaForCausalLM; each call the token of every sequence
        at one common position, a tensor on the device.
Output: hidden states [B, d] after the final norm.
Invariants: in float32 they are transformers' own. A compiled step asks the
device for nothing, so that one CUDA graph is every position's step.

Made for speed at a small width, where a step's time is the reading of keys and
values (tbq.data.cache_attention): query, key and value are one matrix, gate and
up are one, and what lies between two matrix products is one compiled function
for all layers.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tbq.data.cache_attention import (BlockAttention, PlainAttention,
                                      room_for)


@dataclass(frozen=True)
class _Layer:
    """Weights of a block, matrices [out, in]; biases None where there are
    none. query_key_value: rows of query heads, key heads, value heads."""

    input_norm: Tensor
    query_key_value: Tensor
    query_key_value_bias: Tensor | None
    output: Tensor
    output_bias: Tensor | None
    mlp_norm: Tensor
    gate_up: Tensor
    gate_up_bias: Tensor | None
    down: Tensor
    down_bias: Tensor | None


def _norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root mean square norm in float32, rounded once."""
    f = x.float()
    f = f * torch.rsqrt(f.square().mean(-1, keepdim=True) + epsilon)
    return (f * weight.float()).to(x.dtype)


def _before(hidden: Tensor, cos: Tensor, sin: Tensor, norm: Tensor,
            weight: Tensor, bias: Tensor | None, epsilon: float,
            key_heads: int) -> tuple[Tensor, Tensor]:
    """hidden [B, d], cos and sin [1, D] -> queries [B, KV, group, D] and
    [keys, values] of this position, [2, B, KV, 1, D]."""
    batch, size = hidden.shape[0], cos.shape[-1]
    heads = F.linear(_norm(hidden, norm, epsilon), weight, bias).view(
        batch, -1, size)
    turned, values = heads[:, :-key_heads].float(), heads[:, -key_heads:]
    first, second = turned.chunk(2, -1)
    turned = turned * cos + torch.cat((-second, first), -1) * sin
    turned = turned.to(hidden.dtype)
    queries = turned[:, :-key_heads].reshape(batch, key_heads, -1, size)
    return queries, torch.stack(
        (turned[:, -key_heads:], values)).unsqueeze(3)


def _after(hidden: Tensor, attention: Tensor, output: Tensor,
           output_bias: Tensor | None, norm: Tensor, gate_up: Tensor,
           gate_up_bias: Tensor | None, down: Tensor, down_bias: Tensor | None,
           epsilon: float) -> Tensor:
    """attention [B, KV, group, D] -> the block's output [B, d]."""
    hidden = hidden + F.linear(attention.flatten(1), output, output_bias)
    gate, up = F.linear(_norm(hidden, norm, epsilon), gate_up,
                        gate_up_bias).chunk(2, -1)
    return hidden + F.linear(F.silu(gate) * up, down, down_bias)


@functools.cache
def compiled(function):
    """One compiled form for all layers and every position."""
    return torch.compile(function, dynamic=False, fullgraph=True)


def _joined(dtype: torch.dtype, *linears: nn.Linear
            ) -> tuple[Tensor, Tensor | None]:
    bias = None
    if linears[0].bias is not None:
        bias = torch.cat([linear.bias for linear in linears]).to(dtype)
    return torch.cat([linear.weight for linear in linears]).to(dtype), bias


def _layer(block: nn.Module, dtype: torch.dtype) -> _Layer:
    attention, mlp = block.self_attn, block.mlp
    return _Layer(
        block.input_layernorm.weight.to(dtype),
        *_joined(dtype, attention.q_proj, attention.k_proj, attention.v_proj),
        *_joined(dtype, attention.o_proj),
        block.post_attention_layernorm.weight.to(dtype),
        *_joined(dtype, mlp.gate_proj, mlp.up_proj),
        *_joined(dtype, mlp.down_proj))


class DecoderStep:
    """batch sequences of at most `length` tokens; dtype of weights, cache and
    compute; compile: for a GPU. `position` [1] is where the next token stands; the caller raises
    it."""

    @torch.no_grad()
    def __init__(self, model: nn.Module, batch: int, length: int,
                 dtype: torch.dtype, compile: bool = False):
        config = model.config
        activation = getattr(config, "hidden_act", None)
        if config.model_type != "llama" or activation != "silu":
            raise ValueError(f"model_type {config.model_type!r} with "
                             f"{activation!r} is not supported "
                             "(supported: llama with silu)")
        inner = model.model
        attention = inner.layers[0].self_attn
        self.epsilon = config.rms_norm_eps
        self.key_heads = config.num_key_value_heads
        self.layers = [_layer(block, dtype) for block in inner.layers]
        self.table = inner.embed_tokens.weight.to(dtype)
        self.head = (self.table if config.tie_word_embeddings
                     else model.lm_head.weight.to(dtype))
        self.norm = inner.norm.weight.to(dtype)
        device = self.table.device
        cos, sin = inner.rotary_emb(torch.empty(0, device=device),
                                    torch.arange(length, device=device)[None])
        self.cos, self.sin = cos[0].float(), sin[0].float()
        room = room_for(length)
        self.cache = torch.zeros(
            len(self.layers), 2, batch, self.key_heads, room,
            self.cos.shape[-1], dtype=dtype, device=device)
        self.position = torch.zeros(1, dtype=torch.int64, device=device)
        self._before, self._after = (
            map(compiled, (_before, _after)) if compile else (_before, _after))
        self.attend = (
            BlockAttention(self.position, attention.scaling,
                           config.num_attention_heads // self.key_heads, room)
            if compile else PlainAttention(self.position, attention.scaling))

    def reset(self) -> None:
        """Back to position 0. What the cache holds past the position is not
        looked at until it is overwritten."""
        self.position.zero_()

    def cache_bytes(self) -> int:
        """Of one position of all sequences."""
        return self.cache.nbytes // self.cache.shape[-2]

    @torch.no_grad()
    def __call__(self, tokens: Tensor) -> Tensor:
        """tokens [B] at `position`: hidden states [B, d]; keys and values are
        added to the cache."""
        self.attend.advance()
        cos = self.cos.index_select(0, self.position)
        sin = self.sin.index_select(0, self.position)
        hidden = F.embedding(tokens, self.table)
        for layer, cache in zip(self.layers, self.cache):
            queries, new = self._before(
                hidden, cos, sin, layer.input_norm, layer.query_key_value,
                layer.query_key_value_bias, self.epsilon, self.key_heads)
            cache.index_copy_(3, self.position, new)
            hidden = self._after(
                hidden, self.attend(queries, *cache), layer.output,
                layer.output_bias, layer.mlp_norm, layer.gate_up,
                layer.gate_up_bias, layer.down, layer.down_bias, self.epsilon)
        return _norm(hidden, self.norm, self.epsilon)
