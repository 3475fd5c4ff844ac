# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decoder: a transformers language model run block by block.

Input: a LlamaForCausalLM, float or with quantised linears and embedding; its
modules are used in place, never copied. Output: the hidden states that training
needs, [B, T, d], of whole sequences from position 0 under a causal mask.
Invariant: in float32 the logits are transformers' own. In a lower type norms
and rotations are computed in float32 and rounded once.

This is the one file that knows transformers' module names.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Rope = tuple[Tensor, Tensor]


def _matrix(module: nn.Module) -> Tensor:
    """[V, d] of an embedding or a head: quantised, or the float weight."""
    return module.table() if hasattr(module, "table") else module.weight


def _linear(module: nn.Module, x: Tensor) -> Tensor:
    """A plain linear's float32 master is cast to the type of `x`; a quantised
    one casts its own result."""
    if type(module) is not nn.Linear:
        return module(x)
    bias = None if module.bias is None else module.bias.to(x.dtype)
    return F.linear(x, module.weight.to(x.dtype), bias)


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
    batch, length, _ = x.shape
    split = (batch, length, -1, module.head_dim)
    q, k, v = (_linear(projection, x).view(split).transpose(1, 2)
               for projection in (module.q_proj, module.k_proj, module.v_proj))
    out = F.scaled_dot_product_attention(
        _rotate(q, cos, sin), _rotate(k, cos, sin), v, is_causal=True,
        scale=module.scaling, enable_gqa=q.shape[1] != k.shape[1])
    return _linear(module.o_proj, out.transpose(1, 2).flatten(2))


def run_block(layer: nn.Module, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """One decoder layer: x [B, T, d] -> [B, T, d]."""
    y = _norm(layer.input_layernorm, x)
    x = x + _attention(layer.self_attn, y, cos, sin)
    y, mlp = _norm(layer.post_attention_layernorm, x), layer.mlp
    y = mlp.act_fn(_linear(mlp.gate_proj, y)) * _linear(mlp.up_proj, y)
    return x + _linear(mlp.down_proj, y)


class Decoder:
    """blocks: the decoder layers. run: what computes a block from (layer, x,
    cos, sin); compiled once for all layers of one structure if `compile`.
    stack: what computes every block's output from (x, cos, sin).

    The type of compute is that of the embedding's rows: the float embedding's
    own, or `dtype` where `hidden` is given one. Other float32 weights are cast
    where they are used."""

    def __init__(self, model: nn.Module, compile: bool = False):
        kind = model.config.model_type
        if kind != "llama":
            raise ValueError(f"model_type: {kind!r} is not supported "
                             "(supported: llama)")
        self.model, self.config = model, model.config
        self.blocks: nn.ModuleList = model.model.layers
        self.run: Callable[..., Tensor] = (
            torch.compile(run_block, dynamic=False) if compile else run_block)
        self.stack: Callable[..., list[Tensor]] = self._run_all
        self.tied = bool(model.config.tie_word_embeddings)
        self._ropes: dict[tuple[int, torch.device], Rope] = {}

    def table(self) -> Tensor:
        """The embedding as it is looked up, [V, d]; float32 if quantised, else
        the weight itself."""
        return _matrix(self.model.model.embed_tokens)

    def head(self) -> Tensor:
        """[V, d], such that logits = hidden @ head.T; a tied model's table."""
        return self.table() if self.tied else _matrix(self.model.lm_head)

    def tables(self) -> list[nn.Module]:
        """The modules behind table() and head(): two, or a tied model's one."""
        embedding = self.model.model.embed_tokens
        return [embedding] if self.tied else [embedding, self.model.lm_head]

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """By full name, each once; a tied head is the embedding's parameter,
        whatever else transformers keeps under its name."""
        return {name: parameter for name, parameter
                in self.model.named_parameters()
                if not (self.tied and name.startswith("lm_head."))}

    def named_tensors(self) -> dict[str, Tensor]:
        """Parameters and what else the modules keep from session to session,
        by full name, each once."""
        kept = self.model.state_dict()
        return {**self.named_parameters(),
                **{name: buffer for name, buffer in self.model.named_buffers()
                   if name in kept}}

    def embed(self, ids: Tensor, table: Tensor | None = None) -> Tensor:
        """ids [B, T] -> rows [B, T, d] of `table`, by default table()."""
        return F.embedding(ids, self.table() if table is None else table)

    @torch.no_grad()
    def rope(self, ids: Tensor) -> Rope:
        """(cos, sin), each float32 [T, D], of positions 0 to T - 1; computed
        once for each T."""
        length, device = ids.shape[-1], ids.device
        if (length, device) not in self._ropes:
            positions = torch.arange(length, device=device)[None]
            like = torch.empty(0, device=device)
            cos, sin = self.model.model.rotary_emb(like, positions)
            self._ropes[length, device] = cos[0], sin[0]
        return self._ropes[length, device]

    def block(self, index: int, hidden: Tensor, rope: Rope) -> Tensor:
        return self.run(self.blocks[index], hidden, *rope)

    def _run_all(self, hidden: Tensor, cos: Tensor,
                 sin: Tensor) -> list[Tensor]:
        outputs = []
        for layer in self.blocks:
            hidden = self.run(layer, hidden, cos, sin)
            outputs.append(hidden)
        return outputs

    def final_norm(self, hidden: Tensor) -> Tensor:
        return _norm(self.model.model.norm, hidden)

    def hidden(self, ids: Tensor, table: Tensor | None = None,
               dtype: torch.dtype | None = None) -> tuple[Tensor, list[Tensor]]:
        """ids [B, T] -> (after the final norm, the output of every block), all
        [B, T, d]. The rows are looked up in `table` as it is, then cast."""
        rows = self.embed(ids, table)
        rows = rows if dtype is None else rows.to(dtype)
        outputs = self.stack(rows, *self.rope(ids))
        return self.final_norm(outputs[-1]), outputs

    def logits(self, ids: Tensor) -> Tensor:
        """[B, T, V] in the type of compute: of few tokens, for checks."""
        hidden, _ = self.hidden(ids)
        return F.linear(hidden, self.head().to(hidden.dtype))
