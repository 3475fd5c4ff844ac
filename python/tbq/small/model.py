# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A LLaMA decoder in plain PyTorch whose block linears may be ternary (DLT).

Input: token ids [B, T]. Output: logits [B, T, V]. The computation is
LlamaForCausalLM's (RMSNorm, half-split rope, grouped-query attention, SwiGLU,
tied embedding) and parameters carry its names. Invariants: quantisers run in
float32 whatever the autocast type; the embedding and all scales enter as the f16
values that a checkpoint stores.

Ternary weights of the whole model are quantised in one call on a matrix of
groups [groups, group], which needs K of every linear to be a multiple of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tbq.quant.dlt import dlt, least_squares, ternary_codes
from tbq.quant.groups import round_f16_straight


@dataclass(frozen=True)
class ModelConfig:
    """Sizes; `group` > 0 makes block linears ternary; `activations`: "f32", or
    "i8" for dynamic per-token absmax int8 inputs of ternary linears."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    ffn: int
    vocab: int
    context: int = 1024
    eps: float = 1e-5
    theta: float = 10000.0
    group: int = 0
    activations: str = "f32"
    dropout: float = 0.0

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads

    def linear_shapes(self) -> dict[str, tuple[int, int]]:
        """Name inside a block -> (N, K)."""
        h, kv = self.hidden, self.kv_heads * self.head_dim
        return {"self_attn.q_proj": (h, h), "self_attn.k_proj": (kv, h),
                "self_attn.v_proj": (kv, h), "self_attn.o_proj": (h, h),
                "mlp.gate_proj": (self.ffn, h), "mlp.up_proj": (self.ffn, h),
                "mlp.down_proj": (h, self.ffn)}


def quantize_i8(x: Tensor) -> tuple[Tensor, Tensor]:
    """x [..., K] -> (q, s): q integer values in [-127, 127] as float, s
    [..., 1] with x ~ q * s; s = absmax / 127 per token, 1 for a token of zeros.
    The gradient of q * s is that of x (straight through), s being a constant."""
    x = x.float()
    top = x.detach().abs().amax(-1, keepdim=True)
    s = torch.where(top > 0, top / 127, torch.ones_like(top))
    u = x / s
    return u + (torch.round(u) - u).detach(), s


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    x = x.float()
    return weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + eps))


def rope_table(config: ModelConfig, device) -> tuple[Tensor, Tensor]:
    """cos and sin, [context, head_dim], halves repeated."""
    half = torch.arange(0, config.head_dim, 2, dtype=torch.float32,
                        device=device)
    frequency = 1.0 / config.theta ** (half / config.head_dim)
    angle = torch.outer(torch.arange(config.context, device=device).float(),
                        frequency)
    angle = torch.cat([angle, angle], -1)
    return angle.cos(), angle.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Half-split rope of x [B, H, T, D]; cos, sin [T, D]."""
    a, b = x.chunk(2, -1)
    return (x * cos + torch.cat([-b, a], -1) * sin).to(x.dtype)


class Cache:
    """Keys and values of one block, [B, KV, most, D] each, filled from the
    left."""

    def __init__(self, most: int):
        self.most, self.length = most, 0
        self.buffers: tuple[Tensor, Tensor] | None = None

    def append(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Adds [B, KV, T, D] each; returns all that was added so far."""
        if self.buffers is None:
            batch, heads, _, dim = keys.shape
            self.buffers = tuple(keys.new_empty(batch, heads, self.most, dim)
                                 for _ in range(2))
        end = self.length + keys.shape[2]
        for buffer, new in zip(self.buffers, (keys, values)):
            buffer[:, :, self.length:end] = new
        self.length = end
        return self.buffers[0][:, :, :end], self.buffers[1][:, :, :end]


class Linear(nn.Module):
    """Master weight [N, K] and, if ternary, scale and shift [N, K / group]."""

    def __init__(self, rows: int, columns: int, group: int, std: float):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(rows, columns) * std)
        if group:
            if columns % group:
                raise ValueError(f"group: {group} does not divide {columns}")
            with torch.no_grad():
                scale, shift = least_squares(
                    self.weight, ternary_codes(self.weight, group), group)
            self.scale, self.shift = nn.Parameter(scale), nn.Parameter(shift)


class Block(nn.Module):
    """One decoder layer; the weights it multiplies by are handed in."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.input_layernorm = nn.Parameter(torch.ones(config.hidden))
        self.post_attention_layernorm = nn.Parameter(torch.ones(config.hidden))
        deep = 1 / math.sqrt(2 * config.layers)
        self.linears = nn.ModuleDict({
            name.replace(".", "/"): Linear(
                *shape, config.group,
                0.02 * (deep if name.endswith(("o_proj", "down_proj")) else 1))
            for name, shape in config.linear_shapes().items()})

    def multiply(self, x: Tensor, *weights: Tensor) -> list[Tensor]:
        """x [B, T, K] times each weight [N, K], transposed."""
        if self.config.activations == "i8":
            q, s = quantize_i8(x)
            return [F.linear(q, w) * s.to(w.dtype) for w in weights]
        return [F.linear(x, w) for w in weights]

    def forward(self, x: Tensor, weights: list[Tensor], cos: Tensor,
                sin: Tensor, cache: Cache | None = None) -> Tensor:
        """x [B, T, hidden]. With a cache, only T = 1 after the first call."""
        c, (batch, length, _) = self.config, x.shape
        q, k, v, o, gate, up, down = weights
        h = rms_norm(x, self.input_layernorm, c.eps)
        queries, keys, values = (
            y.view(batch, length, -1, c.head_dim).transpose(1, 2)
            for y in self.multiply(h, q, k, v))
        queries, keys = rotate(queries, cos, sin), rotate(keys, cos, sin)
        if cache is not None:
            keys, values = cache.append(keys, values)
        y = F.scaled_dot_product_attention(
            queries, keys, values.to(keys.dtype), is_causal=length > 1,
            enable_gqa=c.kv_heads != c.heads)
        y = y.transpose(1, 2).reshape(batch, length, -1)
        x = x + self.drop(self.multiply(y, o)[0])
        h = rms_norm(x, self.post_attention_layernorm, c.eps)
        a, b = self.multiply(h, gate, up)
        return x + self.drop(self.multiply(F.silu(a) * b, down)[0])

    def drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.config.dropout, self.training)


class Model(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.embed_tokens = nn.Parameter(
            torch.randn(config.vocab, config.hidden) * 0.02)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.Parameter(torch.ones(config.hidden))

    def hf_names(self) -> dict[str, str]:
        """Parameter name here -> name in LlamaForCausalLM (scale and shift of a
        linear: as in a quantised checkpoint)."""
        names = {}
        for name, _ in self.named_parameters():
            full = "model." + name.replace("blocks.", "layers.").replace(
                "linears.", "").replace("/", ".")
            if name == "embed_tokens" or "norm" in name.split(".")[-1]:
                full += ".weight"
            names[name] = full
        return names

    def block_weights(self) -> list[list[Tensor]]:
        """The weights to multiply by, per block in `linear_shapes` order:
        dequantised by DLT in float32, or the float parameters."""
        linears = [m for b in self.blocks for m in b.linears.values()]
        group = self.config.group
        if group:
            flat = dlt(torch.cat([m.weight.view(-1, group) for m in linears]),
                       torch.cat([m.scale.view(-1, 1) for m in linears]),
                       torch.cat([m.shift.view(-1, 1) for m in linears]), group)
            parts = flat.split([m.scale.numel() for m in linears])
            weights = [p.view_as(m.weight) for p, m in zip(parts, linears)]
        else:
            weights = [m.weight for m in linears]
        per = len(self.config.linear_shapes())
        return [weights[i:i + per] for i in range(0, len(weights), per)]

    def embedding(self) -> Tensor:
        """[V, hidden], at the f16 values a checkpoint holds."""
        return round_f16_straight(self.embed_tokens)

    def run(self, ids: Tensor, embedding: Tensor, weights: list[list[Tensor]],
            cos: Tensor, sin: Tensor,
            caches: list[Cache] | None = None) -> Tensor:
        """ids [B, T] -> logits [B, T, V]; cos, sin [T, head_dim]."""
        x = F.embedding(ids, embedding)
        x = F.dropout(x, self.config.dropout, self.training)
        for index, block in enumerate(self.blocks):
            x = block(x, weights[index], cos, sin,
                      None if caches is None else caches[index])
        return F.linear(rms_norm(x, self.norm, self.config.eps), embedding)

    def forward(self, ids: Tensor) -> Tensor:
        cos, sin = rope_table(self.config, ids.device)
        return self.run(ids, self.embedding(), self.block_weights(),
                        cos[:ids.shape[1]], sin[:ids.shape[1]])


@torch.no_grad()
def generate(model: Model, prompt: Tensor, tokens: int, temperature: float,
             eos: int, top_p: float = 1.0,
             generator: torch.Generator | None = None) -> Tensor:
    """Continues prompt [B, P] by up to `tokens` ids; after eos a row repeats
    eos. temperature 0 is greedy. Returns [B, P + tokens at most]."""
    model.eval()
    embedding, weights = model.embedding(), model.block_weights()
    cos, sin = rope_table(model.config, prompt.device)
    caches = [Cache(prompt.shape[1] + tokens) for _ in model.blocks]
    ids, step, start = prompt, prompt, 0
    done = torch.zeros(len(prompt), dtype=torch.bool, device=prompt.device)
    for index in range(tokens):
        end = start + step.shape[1]
        logits = model.run(step, embedding, weights, cos[start:end],
                           sin[start:end], caches)[:, -1].float()
        if temperature == 0:
            chosen = logits.argmax(-1, keepdim=True)
        else:
            p = F.softmax(logits / temperature, -1)
            if top_p < 1:
                ordered, order = p.sort(-1, descending=True)
                ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
                p = torch.zeros_like(p).scatter(1, order, ordered)
            chosen = torch.multinomial(p, 1, generator=generator)
        step = chosen.masked_fill(done[:, None], eos)
        done |= step[:, 0] == eos
        ids, start = torch.cat([ids, step], 1), end
        if index % 16 == 15 and bool(done.all()):
            break
    return ids
