# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Ternary methods without a shift: TWN, BitNet's absmean, ParetoQ's SEQ.

Input: float weights [N, K]. Output: scale * T, T in {-1, 0, 1}, a scale per
row and group of `group` weights along K. Invariant: the scale enters rounded
to f16; codes are chosen before it is rounded.

    twn      T = 0 up to Delta = 0.7 mean |W|, else sign W; scale = mean |W|
             beyond Delta                                  (arXiv 1605.04711)
    absmean  scale = max(mean |W|, 1e-5); T = clamp(round(W / scale), -1, 1)
                                                           (arXiv 2402.17764)
    seq      T = round(1.5 clamp(W / a, -0.99, 0.99)), scale = 2 a / 3, a
             learned, at least 1e-5, at first max |W|      (arXiv 2502.02631)

Gradients, with Q = dL/d(scale T). twn and absmean: W gets Q; the scale is
computed anew in each forward pass and is a constant in the backward pass. seq:
W gets Q where |u| <= 0.99, u = W / a; a gets sum Q (2 T / 3 - u), 2 T / 3 alone
where |u| > 0.99, without LSQ's constant factor, which Adam cancels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Callable

import torch
from torch import Tensor, nn

from tbq.checkpoint import TernaryLinear
from tbq.quant.groups import (by_parts, group_lengths, join_groups,
                              round_f16, split_groups)
from tbq.quant.quantizer import Quantizer
from tbq.quant.ternary_fit import SCALE_FLOOR, threshold_codes

if TYPE_CHECKING:
    from tbq.quant.spec import Spec

SEQ_LEVELS, SEQ_CLIP = 1.5, 0.99


def twn(w: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Groups w [N, G, group] -> codes [N, G, group] and scale [N, G]."""
    codes = threshold_codes(w, lengths)
    return codes, (w * codes).sum(-1) / codes.abs().sum(-1).clamp(min=1)


def absmean(w: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Groups w [N, G, group] -> codes [N, G, group] and scale [N, G]."""
    scale = (w.abs().sum(-1) / lengths).clamp(min=SCALE_FLOOR)
    return (w / scale[..., None]).round().clamp(-1, 1), scale


def seq(w: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
    """Groups w [N, G, group], a [N, G] -> codes [N, G, group], scale [N, G]."""
    a = a.clamp(min=SCALE_FLOOR)
    u = w / a[..., None]
    codes = (u.clamp(-SEQ_CLIP, SEQ_CLIP) * SEQ_LEVELS).round()
    return codes, a / SEQ_LEVELS


def _value(codes: Tensor, scale: Tensor, columns: int) -> Tensor:
    return join_groups(round_f16(scale)[..., None] * codes, columns)


class _Analytic(torch.autograd.Function):
    """`digits`: twn or absmean."""

    @staticmethod
    def forward(ctx, weight: Tensor, group: int, digits) -> Tensor:
        columns = weight.shape[1]
        return _value(*digits(split_groups(weight, group),
                              group_lengths(columns, group, weight)), columns)

    @staticmethod
    def backward(ctx, grad: Tensor):
        return grad, None, None


class _Seq(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, a: Tensor, group: int) -> Tensor:
        ctx.save_for_backward(weight, a)
        ctx.group = group
        return _value(*seq(split_groups(weight, group), a), weight.shape[1])

    @staticmethod
    def backward(ctx, grad: Tensor):
        weight, a = ctx.saved_tensors
        w, q = split_groups(weight, ctx.group), split_groups(grad, ctx.group)
        codes, _ = seq(w, a)
        level = codes / SEQ_LEVELS
        u = w / a.clamp(min=SCALE_FLOOR)[..., None]
        inside = u.abs() <= SEQ_CLIP
        d_a = (q * torch.where(inside, level - u, level)).sum(-1)
        return join_groups(q * inside, weight.shape[1]), d_a, None


class _Ternary(Quantizer):
    SCHEME = "ternary"

    def stored(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Codes [N, K] and the scale [N, G], unrounded, both float32."""
        raise NotImplementedError

    @torch.no_grad()
    def export(self, weight: Tensor) -> TernaryLinear:
        codes, scale = self.stored(weight)
        return TernaryLinear(codes.to(torch.int8).cpu(), scale.half().cpu(),
                             None, self.group)


class _AnalyticTernary(_Ternary):
    """Nothing learned beside the latent."""

    DIGITS: Callable

    @classmethod
    def create(cls, weight: Tensor, spec: Spec,
               importance: Tensor | None = None) -> _AnalyticTernary:
        return cls(weight, spec)

    def stored(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        def part(group: int, w: Tensor) -> tuple[Tensor, Tensor]:
            codes, scale = type(self).DIGITS(
                split_groups(w, group), group_lengths(w.shape[1], group, w))
            return join_groups(codes, w.shape[1]), scale

        return by_parts(part, self.group, (weight,))

    def forward(self, weight: Tensor) -> Tensor:
        digits = type(self).DIGITS
        return by_parts(lambda group, w: _Analytic.apply(w, group, digits),
                        self.group, (weight,))


class Twn(_AnalyticTernary):
    DIGITS = staticmethod(twn)


class Absmean(_AnalyticTernary):
    DIGITS = staticmethod(absmean)


class Seq(_Ternary):
    """a: parameter [N, G]; the scale that is stored is 2 a / 3."""

    def __init__(self, weight: Tensor, spec: Spec):
        super().__init__(weight, spec)
        top = split_groups(weight.detach(), self.group).abs().amax(-1)
        self.a = nn.Parameter(top)

    @classmethod
    def create(cls, weight: Tensor, spec: Spec,
               importance: Tensor | None = None) -> Seq:
        return cls(weight, spec)

    def stored(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        def part(group: int, w: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
            codes, scale = seq(split_groups(w, group), a)
            return join_groups(codes, w.shape[1]), scale

        return by_parts(part, self.group, (weight,), (self.a,))

    def forward(self, weight: Tensor) -> Tensor:
        return by_parts(lambda group, w, a: _Seq.apply(w, a, group),
                        self.group, (weight,), (self.a,))
