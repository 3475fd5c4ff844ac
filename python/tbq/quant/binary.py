# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""PB-LLM: binary weights of which a salient few keep 8 bits (arXiv 2310.00034).

Input: float weights [N, K] and, from the first weights on, a fixed mask of
salient ones with their 8-bit codes (salient.py). Output: scale * sign(W - mean)
+ mean per row and group of `group` weights along K, or the frozen 8-bit weight
where salient. Invariant: mean and scale are computed anew in each forward pass,
are constants in the backward pass, and enter rounded to f16; sign(0) = 1.

    mean   of the group's weights that are not salient (equations 6 to 9);
           mean=false: none, as where the method is trained
    scale  mean |W - mean| of the same
    compat=true, the released code: salient weights count as 0 in both sums and
           in what they are divided by

Gradients, with Q = dL/dW_hat, 0 for salient weights, by `gradient`:
    "paper"     scale * Q where |W| <= 1, else 0 (equation 2; the default)
    "code"      scale * Q, as released
    "identity"  Q
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from tbq.checkpoint import BinaryLinear
from tbq.checkpoint.settings import group_of
from tbq.quant.errors import SpecError
from tbq.quant.groups import (by_parts, group_mask, join_groups, round_f16,
                              split_groups)
from tbq.quant.quantizer import FALSE_FIRST, TRUE_FIRST, Option, Quantizer
from tbq.quant.salient import (RowCodes, row_codes, salient_mask,
                               stored_salient)

if TYPE_CHECKING:
    from tbq.quant.spec import Spec

GRADIENTS = ("paper", "code", "identity")


def binary_fit(w: Tensor, real: Tensor, salient: Tensor | None, mean: bool,
               compat: bool = False) -> tuple[Tensor, Tensor]:
    """(scale, mean), each [N, G], of groups w [N, G, group]. real [G, group]:
    1, or 0 for padding; salient: bool [N, G, group] or None."""
    keep = (real if salient is None else real * ~salient).expand_as(w)
    if compat:
        w, keep = w * keep, real.expand_as(w)
    count = keep.sum(-1).clamp(min=1)
    center = ((w * keep).sum(-1) / count if mean
              else torch.zeros_like(w[..., 0]))
    scale = ((w - center[..., None]).abs() * keep).sum(-1) / count
    return scale, center


def _fit(group: int, weight: Tensor, mask: Tensor | None, mean: bool,
         compat: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Positive bits, [N, G, group] bool, scale and mean [N, G], float32."""
    w = split_groups(weight, group)
    salient = None if mask is None else split_groups(mask, group)
    scale, center = binary_fit(w, group_mask(weight.shape[1], group, weight),
                               salient, mean, compat)
    return w - center[..., None] >= 0, scale, center


class _Binary(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight: Tensor, mask: Tensor | None,
                kept: Tensor | None, group: int, mean: bool, compat: bool,
                gradient: str) -> Tensor:
        """kept [N, K]: the values of salient weights, under the mask."""
        ctx.save_for_backward(weight, mask)
        ctx.settings = group, mean, compat, gradient
        columns = weight.shape[1]
        positive, scale, center = _fit(group, weight, mask, mean, compat)
        signs = torch.where(positive, 1.0, -1.0)
        value = round_f16(scale)[..., None] * signs
        if mean:
            value = value + round_f16(center)[..., None]
        value = join_groups(value, columns)
        return value if mask is None else torch.where(mask, kept, value)

    @staticmethod
    def backward(ctx, grad: Tensor):
        weight, mask = ctx.saved_tensors
        group, mean, compat, gradient = ctx.settings
        if gradient != "identity":
            _, scale, _ = _fit(group, weight, mask, mean, compat)
            grad = join_groups(scale[..., None] * split_groups(grad, group),
                               weight.shape[1])
        if gradient == "paper":
            grad = grad * (weight.abs() <= 1)
        if mask is not None:
            grad = grad * ~mask
        return grad, None, None, None, None, None, None


class Binary(Quantizer):
    """Nothing learned beside the latent. Buffers, with salient weights: mask
    bool [N, K], codes int8 [N, K], code_scale float32 [N], code_zero int16
    [N] (RowCodes), from the first weights on."""

    SCHEME = "binary"
    OPTIONS = {"salient": Option(most=0.5),
               "saliency": Option(("magnitude", "hessian")),
               "mean": TRUE_FIRST, "compat": FALSE_FIRST,
               "gradient": Option(GRADIENTS)}

    def __init__(self, weight: Tensor, spec: Spec, mask: Tensor | None):
        super().__init__(weight, spec)
        self.mean = spec.options["mean"]
        self.compat = spec.options["compat"]
        self.gradient = spec.options["gradient"]
        codes = None if mask is None else row_codes(weight)
        for name, tensor in (
                ("mask", mask), ("codes", codes and codes.codes),
                ("code_scale", codes and codes.scale),
                ("code_zero", codes and codes.zero)):
            self.register_buffer(name, tensor)

    @classmethod
    @torch.no_grad()
    def create(cls, weight: Tensor, spec: Spec,
               importance: Tensor | None = None) -> Binary:
        fraction, mask = spec.options["salient"], None
        if fraction:
            if spec.options["saliency"] == "magnitude":
                importance = weight.abs()
            if importance is None:
                raise SpecError(f"{spec}: saliency=hessian asks for how "
                                "important each weight is, from calibration")
            group = group_of(spec.group, weight.shape[1])
            mask = salient_mask(importance, group, fraction)
        return cls(weight, spec, mask)

    def row_codes(self) -> RowCodes:
        return RowCodes(self.codes, self.code_scale, self.code_zero)

    def forward(self, weight: Tensor) -> Tensor:
        kept = None if self.mask is None else self.row_codes().value()
        return by_parts(
            lambda group, w, mask, kept: _Binary.apply(
                w, mask, kept, group, self.mean, self.compat, self.gradient),
            self.group, (weight, self.mask, kept))

    @torch.no_grad()
    def export(self, weight: Tensor) -> BinaryLinear:
        def part(group: int, w: Tensor, mask: Tensor | None):
            positive, scale, center = _fit(group, w, mask, self.mean,
                                           self.compat)
            return join_groups(positive, w.shape[1]), scale, center

        bits, scale, center = by_parts(part, self.group, (weight, self.mask))
        salient = None
        if self.mask is not None:
            bits = bits & ~self.mask
            salient = stored_salient(self.mask, self.row_codes())
        return BinaryLinear(bits.to(torch.uint8).cpu(), scale.half().cpu(),
                            center.half().cpu() if self.shifts() else None,
                            self.group, salient)

    def shifts(self) -> bool:
        return self.mean
