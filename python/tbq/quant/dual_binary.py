# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""FDB, flexible dual binarization (DB-LLM, arXiv 2402.11960).

Input: float weights [N, K] with two scales a1, a2 per row and group of `group`
weights along K, [2, N, G]. Output: a1 b1 + a2 b2 with bits

    b1 = H(W - (a1 + a2) / 2), b2 = H(-(W - a1 b1 - a2 / 2)), H(u) = u >= 0

which is the nearest of the levels a2 <= 0 <= a1 + a2 <= a1; a tie between two
goes to the one with more bits. Invariant: scales enter rounded to f16, and in
that order: a1 is at least 0 and a2 in -a1..0, whatever the parameters are.

Gradients, with Q = dL/dW_hat: the bits are constants, da1 = sum Q b1 and da2 =
sum Q b2 over the group, past the clamps too; W, if it is trained, gets Q.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tbq.checkpoint import DualBinaryLinear
from tbq.checkpoint.settings import group_of
from tbq.quant.groups import (by_parts, group_mask, join_groups, round_f16,
                              split_groups)
from tbq.quant.quantizer import Option, Quantizer

if TYPE_CHECKING:
    from tbq.quant.spec import Spec

ALTERNATIONS = 6


def ordered(scale: Tensor) -> tuple[Tensor, Tensor]:
    """(a1, a2), each [N, G], in order and as f16 values, of scale [2, N, G]."""
    a1 = scale[0].clamp(min=0)
    a2 = torch.minimum((-scale[1]).clamp(min=0), a1)
    return round_f16(a1), -round_f16(a2)


def nearest_bits(w: Tensor, a1: Tensor, a2: Tensor) -> tuple[Tensor, Tensor]:
    """b1, b2, each float [N, G, group] in {0, 1}, of groups w [N, G, group]."""
    a1, a2 = a1[..., None], a2[..., None]
    b1 = (w - (a1 + a2) / 2 >= 0).to(w.dtype)
    b2 = (-(w - a1 * b1 - a2 / 2) >= 0).to(w.dtype)
    return b1, b2


def first_scales(w: Tensor) -> Tensor:
    """[2, N, G] of groups w [N, G, group]: 2 s and -s, s = max |W| / 2."""
    s = w.abs().amax(-1) / 2
    return torch.stack([2 * s, -s])


def alternate(w: Tensor, real: Tensor, times: int = ALTERNATIONS) -> Tensor:
    """[2, N, G] after `times` rounds of nearest bits and least squares, from
    s = root mean square of W on. real [G, group]: 1, or 0 for padding."""
    s = (w.square().sum(-1) / real.sum(-1)).sqrt()
    scale = torch.stack([2 * s, -s])
    for _ in range(times):
        b1, b2 = nearest_bits(w, *ordered(scale))
        b1, b2 = b1 * real, b2 * real
        n1, n2, both = b1.sum(-1), b2.sum(-1), (b1 * b2).sum(-1)
        w1, w2 = (w * b1).sum(-1), (w * b2).sum(-1)
        determinant = n1 * n2 - both * both
        fitted = torch.stack([n2 * w1 - both * w2, n1 * w2 - both * w1])
        scale = torch.where(determinant > 0, fitted / determinant.clamp(min=1),
                            scale)
    return scale


class _DualBinary(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, scale: Tensor, group: int) -> Tensor:
        ctx.save_for_backward(weight, scale)
        ctx.group = group
        a1, a2 = ordered(scale)
        b1, b2 = nearest_bits(split_groups(weight, group), a1, a2)
        return join_groups(a1[..., None] * b1 + a2[..., None] * b2,
                           weight.shape[1])

    @staticmethod
    def backward(ctx, grad: Tensor):
        weight, scale = ctx.saved_tensors
        q = split_groups(grad, ctx.group)
        b1, b2 = nearest_bits(split_groups(weight, ctx.group), *ordered(scale))
        return grad, torch.stack([(q * b1).sum(-1), (q * b2).sum(-1)]), None


class DualBinary(Quantizer):
    """scale: parameter [2, N, G]. weights: "frozen", as published, or
    "trained". init: "maximum" (first_scales, the default) or "alternate"."""

    SCHEME = "dual-binary"
    OPTIONS = {"weights": Option(("frozen", "trained")),
               "init": Option(("maximum", "alternate"))}

    def __init__(self, weight: Tensor, spec: Spec, scale: Tensor):
        super().__init__(weight, spec)
        self.trains_weight = spec.options["weights"] == "trained"
        self.scale = nn.Parameter(scale)

    @classmethod
    @torch.no_grad()
    def create(cls, weight: Tensor, spec: Spec,
               importance: Tensor | None = None) -> DualBinary:
        columns = weight.shape[1]
        group = group_of(spec.group, columns)
        w = split_groups(weight, group)
        scale = (first_scales(w) if spec.options["init"] == "maximum"
                 else alternate(w, group_mask(columns, group, weight)))
        return cls(weight, spec, scale)

    def forward(self, weight: Tensor) -> Tensor:
        return by_parts(lambda group, w, a: _DualBinary.apply(w, a, group),
                        self.group, (weight,), (self.scale,))

    @torch.no_grad()
    def export(self, weight: Tensor) -> DualBinaryLinear:
        def part(group: int, w: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
            bits = nearest_bits(split_groups(w, group), *ordered(scale))
            return tuple(join_groups(b, w.shape[1]) for b in bits)

        bits = by_parts(part, self.group, (weight,), (self.scale,))
        return DualBinaryLinear(
            torch.stack(bits).to(torch.uint8).cpu(),
            torch.stack(ordered(self.scale)).half().cpu(), self.group)
