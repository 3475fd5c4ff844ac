# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""DLT, dual learnable ternarization (TernaryLLM, arXiv 2406.07177).

Input: float weights [N, K] with a scale and a shift per output row and group
of `group` weights along K, [N, G], G = ceil(K / group); the last group may be
shorter and its statistics are over real weights only. Output: ternary codes
and D = scale * T + shift. Invariant: scale and shift enter D rounded to f16,
as the checkpoint stores them.

The codes, by `grid`:
    "threshold"  T = +1 if W > Delta, -1 if W < -Delta, else 0, with
                 Delta = 0.7 * mean |W| per group (TWN's); a constant in the
                 backward pass                              (default)
    "learned"    T = clamp(round(u), -1, 1), u = (W - shift) / scale: the
                 nearest level; scale at least 1e-5

Gradients, with Q = dL/dD: dshift = sum Q over the group; dscale = sum Q T or,
on the learned grid, LSQ's (arXiv 1902.08153): sum Q (T - u), T alone where
|u| > 1, without LSQ's constant factor, which Adam cancels. For W one of
    "identity"  Q                                   (default)
    "clipped"   Q where |W / scale| <= 1 (learned: |u| <= 1), else 0
    "ttq"       scale * Q where T != 0, else Q
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from tbq.checkpoint import TernaryLinear
from tbq.checkpoint.settings import group_of
from tbq.quant.groups import (by_parts, group_lengths, join_groups,
                              round_f16, split_groups)
from tbq.quant.quantizer import TRUE_FIRST, Option, Quantizer
from tbq.quant.ternary_fit import (SCALE_FLOOR, alternate, fit, least_squares,
                                   positions, ternary_codes, threshold_codes,
                                   twn_scale)

if TYPE_CHECKING:
    from tbq.quant.spec import Spec

__all__ = ["Dlt", "GRADIENTS", "GRIDS", "dlt", "least_squares", "round_f16",
           "ternary_codes", "twn_scale"]

GRADIENTS = ("identity", "clipped", "ttq")
GRIDS = ("threshold", "learned")


def _stored(scale: Tensor, shift: Tensor | None,
            grid: str) -> tuple[Tensor, Tensor | None]:
    """Scale and shift as a checkpoint stores them, float32."""
    if grid == "learned":
        scale = scale.clamp(min=SCALE_FLOOR)
    return round_f16(scale), None if shift is None else round_f16(shift)


def _group_codes(weight: Tensor, scale: Tensor, shift: Tensor | None,
                 group: int, grid: str) -> Tensor:
    """T by groups, [N, G, group], float32; scale and shift as stored."""
    if grid == "learned":
        return positions(weight, scale, shift, group).round().clamp(-1, 1)
    return threshold_codes(split_groups(weight, group),
                           group_lengths(weight.shape[1], group, weight))


class _Dlt(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, scale: Tensor, shift: Tensor | None,
                group: int, gradient: str, grid: str) -> Tensor:
        ctx.save_for_backward(weight, scale, shift)
        ctx.group, ctx.gradient, ctx.grid = group, gradient, grid
        a, c = _stored(scale, shift, grid)
        d = a[..., None] * _group_codes(weight, a, c, group, grid)
        if c is not None:
            d = d + c[..., None]
        return join_groups(d, weight.shape[1])

    @staticmethod
    def backward(ctx, grad: Tensor):
        weight, scale, shift = ctx.saved_tensors
        group, grid, columns = ctx.group, ctx.grid, weight.shape[1]
        a, c = _stored(scale, shift, grid)
        q = split_groups(grad, group)
        t = _group_codes(weight, a, c, group, grid)
        if grid == "learned":
            u = positions(weight, a, c, group)
            inside = u.abs() <= 1
            d_scale = (q * torch.where(inside, t - u, t)).sum(-1)
        else:
            inside = split_groups(weight, group).abs() <= scale.abs()[..., None]
            d_scale = (q * t).sum(-1)
        d_shift = None if shift is None else q.sum(-1)
        if ctx.gradient == "identity":
            d_weight = grad
        elif ctx.gradient == "clipped":
            d_weight = join_groups(q * inside, columns)
        else:
            d_weight = join_groups(
                torch.where(t != 0, scale[..., None] * q, q), columns)
        return d_weight, d_scale, d_shift, None, None, None


def dlt(weight: Tensor, scale: Tensor, shift: Tensor | None, group: int,
        gradient: str = "identity", grid: str = "threshold") -> Tensor:
    """D [N, K] of `weight` [N, K], `scale` and `shift` [N, G], in float32."""
    for name, value, known in (("gradient", gradient, GRADIENTS),
                               ("grid", grid, GRIDS)):
        if value not in known:
            raise ValueError(f"{name}: {value!r} is not one of {known}")
    if weight.dtype != torch.float32:
        raise TypeError(f"weight: quantised in float32, not {weight.dtype}")
    return by_parts(
        lambda length, w, a, c: _Dlt.apply(w, a, c, length, gradient, grid),
        group, (weight,), (scale, shift))


class Dlt(Quantizer):
    """scale, shift: parameters [N, G] (shift: None with shift=false).

    init: "alternate", six alternations; "least-squares", for TWN's codes;
    "twn", mean |W| beyond the threshold and shift 0; by default the first for
    the learned grid and the second for the threshold, whose codes it fits."""

    SCHEME = "ternary"
    OPTIONS = {"shift": TRUE_FIRST, "grid": Option(GRIDS),
               "gradient": Option(GRADIENTS),
               "init": Option(("auto", "alternate", "least-squares", "twn"))}

    def __init__(self, weight: Tensor, spec: Spec, scale: Tensor,
                 shift: Tensor | None):
        super().__init__(weight, spec)
        self.grid = spec.options["grid"]
        self.gradient = spec.options["gradient"]
        self.scale = nn.Parameter(scale)
        self.shift = None if shift is None else nn.Parameter(shift)

    @classmethod
    @torch.no_grad()
    def create(cls, weight: Tensor, spec: Spec,
               importance: Tensor | None = None) -> Dlt:
        init, shifted = spec.options["init"], spec.options["shift"]
        if init == "auto":
            init = ("alternate" if spec.options["grid"] == "learned"
                    else "least-squares")
        group = group_of(spec.group, weight.shape[1])
        if init == "alternate":
            scale, shift = alternate(weight, group, shifted)
        else:
            codes = ternary_codes(weight, group)
            scale, shift = fit(weight, codes, group,
                               shifted and init == "least-squares")
            if shifted and shift is None:
                shift = torch.zeros_like(scale)
        return cls(weight, spec, scale, shift)

    def forward(self, weight: Tensor) -> Tensor:
        return dlt(weight, self.scale, self.shift, self.group, self.gradient,
                   self.grid)

    @torch.no_grad()
    def export(self, weight: Tensor) -> TernaryLinear:
        a, c = _stored(self.scale, self.shift, self.grid)
        codes = by_parts(
            lambda length, w, scale, shift: join_groups(
                _group_codes(w, scale, shift, length, self.grid), w.shape[1]),
            self.group, (weight,), (a, c))
        return TernaryLinear(codes.to(torch.int8).cpu(), a.half().cpu(),
                             None if c is None else c.half().cpu(), self.group)

    def shifts(self) -> bool:
        return self.shift is not None
