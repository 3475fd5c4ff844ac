# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which weights PB-LLM keeps in 8 bits, and their codes (arXiv 2310.00034).

Input: a float weight [N, K] and how salient each weight is. Output: a mask
[N, K], and codes, scales and zero points of the rows. Invariant: scales are
f16 values; code, zero and f16 scale are what a checkpoint stores.

In each block of `group` columns, over all rows at once, weights are salient
whose saliency lies above the one of rank int(count (1 - fraction)), as in the
released code; what ties with it is not. 8 bits span a whole row of weights:

    scale = (max(W, 0) - min(W, 0)) / 255, zero = round(-min(W, 0) / scale)
    code  = clamp(round(W / scale) + zero, 0, 255), W ~ scale (code - zero)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tbq.checkpoint import Salient
from tbq.quant.groups import round_f16

SMALLEST_F16 = 2.0 ** -24


def salient_mask(saliency: Tensor, group: int, fraction: float) -> Tensor:
    """bool [N, K] of `saliency` [N, K]; fraction of each block's, in (0, 1)."""
    mask = torch.zeros_like(saliency, dtype=torch.bool)
    for start in range(0, saliency.shape[1], group):
        block = saliency[:, start:start + group]
        rank = min(block.numel() - 1, int(block.numel() * (1 - fraction)))
        least = block.flatten().sort().values[rank]
        mask[:, start:start + group] = block > least
    return mask


@dataclass(frozen=True)
class RowCodes:
    """codes int8 [N, K], less 128; scale float32 [N]; zero int16 [N], less
    128."""

    codes: Tensor
    scale: Tensor
    zero: Tensor

    def value(self) -> Tensor:
        """The float32 weights [N, K] that the codes stand for."""
        digits = self.codes.float() - self.zero.float()[:, None]
        return self.scale[:, None] * digits


def row_codes(weight: Tensor) -> RowCodes:
    """8-bit codes of every weight of each row."""
    least = weight.amin(1).clamp(max=0)
    most = weight.amax(1).clamp(min=0)
    empty = (least == 0) & (most == 0)
    least = torch.where(empty, -1, least)
    most = torch.where(empty, 1, most)
    scale = round_f16((most - least) / 255).clamp(min=SMALLEST_F16)
    return codes_on(weight, scale, (-least / scale).round().clamp(0, 255))


def codes_on(weight: Tensor, scale: Tensor, zero: Tensor) -> RowCodes:
    """Codes of `weight` [N, n] on a row's grid: scale [N], zero [N] 0..255."""
    codes = ((weight / scale[:, None]).round() + zero[:, None]).clamp(0, 255)
    return RowCodes((codes - 128).to(torch.int8), scale,
                    (zero - 128).to(torch.int16))


def stored_salient(mask: Tensor, rows: RowCodes) -> Salient:
    """What a checkpoint stores of the weights under `mask`, on the CPU."""
    mask = mask.cpu()
    return Salient(mask, rows.codes.cpu()[mask], rows.scale.half().cpu(),
                   rows.zero.cpu())
