# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The token embedding and the head in 8, 4 or 16 bits.

Input: a float table [V, K]. Output: the table of the values that a checkpoint
stores, float32 [V, K]. Invariant: `export().dequantize()` is `table()` bit for
bit, in eager float32 on one device; scales are f16 values.

    8 bits   q = round(W / scale) in -127..127, scale = max |W| / 127 of each
             group, taken anew in each forward pass
    4 bits   q = clamp(round(W / scale), -8, 7); scale is learned. It starts as
             -1/8 of the weight of largest magnitude with its sign, times the
             factor in 0.5..1 that has the least squared error
    16 bits  f16 rounding

The gradient of W is that of the table (straight through); the learned scale's
is LSQ's (arXiv 1902.08153) without its constant factor.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tbq.checkpoint import QuantizedEmbedding
from tbq.checkpoint.settings import EmbeddingScheme, group_of
from tbq.quant.groups import (by_parts, join_groups, round_f16,
                              round_f16_straight, split_groups)
from tbq.quant.errors import SpecError
from tbq.quant.spec import parse_group

LIMITS = {8: (-127, 127), 4: (-8, 7)}
FACTORS = tuple(1 - 0.05 * i for i in range(11))


def parse_embedding(text: str) -> EmbeddingScheme:
    """"int8:gN", "int4:gN", "int8:row" or "int4:row"."""
    name, _, group = text.partition(":")
    if name not in ("int8", "int4"):
        raise SpecError(f"{text!r}: unknown scheme {name!r} of an embedding "
                        "(known: int8, int4)")
    return EmbeddingScheme(int(name[3:]), parse_group(text, group))


def table_codes(w: Tensor, scale: Tensor, bits: int) -> Tensor:
    """Codes by groups, [V, G, group] in the type of `w`; scale [V, G], of
    either sign; where it is 0, so are the codes."""
    s = scale[..., None]
    u = torch.where(s != 0, w / torch.where(s != 0, s, 1), 0)
    return u.round().clamp(*LIMITS[bits])


def largest_scale(w: Tensor) -> Tensor:
    """max |W| / 127 of groups w [V, G, group], [V, G], rounded to f16."""
    return round_f16(w.abs().amax(-1) / 127)


@torch.no_grad()
def fitted_scale(w: Tensor) -> Tensor:
    """The first scale of 4 bits for groups w [V, G, group], [V, G]."""
    extreme = w.gather(-1, w.abs().argmax(-1, keepdim=True))[..., 0] / -8
    best, least = extreme, torch.full_like(extreme, torch.inf)
    for factor in FACTORS:
        scale = round_f16(extreme * factor)
        value = scale[..., None] * table_codes(w, scale, 4)
        error = (value - w).square().sum(-1)
        best = torch.where(error < least, scale, best)
        least = torch.minimum(error, least)
    return best


class _Table(torch.autograd.Function):
    """Learned scales None: 8 bits, each group's own."""

    @staticmethod
    def forward(ctx, weight: Tensor, scale: Tensor | None, group: int,
                bits: int) -> Tensor:
        ctx.save_for_backward(*(() if scale is None else (weight, scale)))
        ctx.group, ctx.bits, ctx.learned = group, bits, scale is not None
        w = split_groups(weight, group)
        s = largest_scale(w) if scale is None else round_f16(scale)
        return join_groups(s[..., None] * table_codes(w, s, bits),
                           weight.shape[1])

    @staticmethod
    def backward(ctx, grad: Tensor):
        if not ctx.learned:
            return grad, None, None, None
        weight, scale = ctx.saved_tensors
        w, s = split_groups(weight, ctx.group), round_f16(scale)[..., None]
        q = table_codes(w, s[..., 0], ctx.bits)
        u = torch.where(s != 0, w / torch.where(s != 0, s, 1), 0)
        low, high = LIMITS[ctx.bits]
        slope = torch.where((u < low) | (u > high), q, q - u)
        return grad, (split_groups(grad, ctx.group) * slope).sum(-1), None, None


class QuantEmbedding(nn.Module):
    """weight: the float32 latent [V, K]. scheme: None for 16 bits. scale:
    parameter [V, G] in 4 bits, else None. `padding_idx` has no part in it."""

    def __init__(self, weight: Tensor, scheme: EmbeddingScheme | None):
        super().__init__()
        self.scheme = scheme
        self.bits = scheme.bits if scheme else 16
        self.group = (group_of(scheme.group_size, weight.shape[1]) if scheme
                      else weight.shape[1])
        self.weight = nn.Parameter(weight)
        self.scale = None
        if self.bits == 4:
            groups = split_groups(weight, self.group)
            self.scale = nn.Parameter(fitted_scale(groups))

    def table(self) -> Tensor:
        """The float32 table [V, K] as stored; differentiable."""
        if self.bits == 16:
            return round_f16_straight(self.weight)
        return by_parts(
            lambda group, w, s: _Table.apply(w, s, group, self.bits),
            self.group, (self.weight,), (self.scale,))

    def forward(self, ids: Tensor) -> Tensor:
        """ids [...] -> float32 rows [..., K]."""
        return F.embedding(ids, self.table())

    @torch.no_grad()
    def export(self) -> QuantizedEmbedding:
        """What a checkpoint stores of 8 or 4 bits, on the CPU."""
        w = split_groups(self.weight, self.group)
        s = largest_scale(w) if self.scale is None else round_f16(self.scale)
        codes = join_groups(table_codes(w, s, self.bits), self.weight.shape[1])
        return QuantizedEmbedding(codes.to(torch.int8).cpu(), s.half().cpu(),
                                  self.group, self.bits)


class QuantHead(QuantEmbedding):
    """The head with a table of its own: [..., K] -> logits [..., V]."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.table().to(x.dtype))


class TiedHead(nn.Module):
    """The head whose table is the embedding's. It holds no parameter and lists
    none, so that the one table is trained and saved once."""

    def __init__(self, embedding: QuantEmbedding):
        super().__init__()
        self._embedding = (embedding,)  # a tuple hides it from nn.Module

    def table(self) -> Tensor:
        return self._embedding[0].table()

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.table().to(x.dtype))
