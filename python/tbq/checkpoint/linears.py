# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Quantised linears and embeddings: digits, coefficients, and what they mean.

Input: digits a number each, coefficients as stored. Output: the float32
weight (`dequantize`) and the tensors as stored, by the last part of their
names (`tensors`). Invariant: the weight is computed in float32 from the
stored float16 coefficients, whose groups along K may end short.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tbq.checkpoint.bits import pack_bits, pack_codes, pack_nibbles


def _spread(coefficients: Tensor, group: int, columns: int) -> Tensor:
    """[..., G] -> float32 [..., columns]: each group's for its columns."""
    return coefficients.float().repeat_interleave(group, -1)[..., :columns]


def _affine(digits: Tensor, scale: Tensor, shift: Tensor | None,
            group: int) -> Tensor:
    """scale * digits + shift in float32, where groups share a coefficient."""
    columns = digits.shape[-1]
    weight = _spread(scale, group, columns) * digits.float()
    return weight if shift is None else weight + _spread(shift, group, columns)


def _coefficients(scale: Tensor, shift: Tensor | None) -> dict[str, Tensor]:
    return {"scale": scale} if shift is None else {"scale": scale,
                                                   "shift": shift}


@dataclass(frozen=True)
class TernaryLinear:
    """codes int8 [N, K] in {-1, 0, 1}; scale f16 [N, G]; shift f16 [N, G] or
    None; group: weights per group along K (K itself for a row group)."""

    codes: Tensor
    scale: Tensor
    shift: Tensor | None
    group: int

    def dequantize(self) -> Tensor:
        """The float32 weight [N, K]: scale * T + shift."""
        return _affine(self.codes, self.scale, self.shift, self.group)

    def tensors(self) -> dict[str, Tensor]:
        return {"codes": pack_codes(self.codes),
                **_coefficients(self.scale, self.shift)}


@dataclass(frozen=True)
class Salient:
    """Weights of 8 bits in place of binary ones. mask bool [N, K]; values int8
    [nnz], those under the mask row by row; scale f16 [N]; zero int16 [N] in
    -128..127, or None where it is 0 in every row."""

    mask: Tensor
    values: Tensor
    scale: Tensor
    zero: Tensor | None

    def dequantize(self) -> Tensor:
        """The float32 weights [nnz]: scale * (value - zero) of their rows."""
        counts = self.mask.sum(1)
        digits = self.values.float()
        if self.zero is not None:
            digits = digits - self.zero.float().repeat_interleave(counts)
        return self.scale.float().repeat_interleave(counts) * digits

    def tensors(self) -> dict[str, Tensor]:
        ends = self.mask.sum(1).cumsum(0)
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), ends])
        zero = {} if self.zero is None else {"salient_zero": self.zero}
        return {"salient_mask": pack_bits(self.mask),
                "salient_values": self.values,
                "salient_offsets": offsets.to(torch.int32),
                "salient_scale": self.scale, **zero}


@dataclass(frozen=True)
class BinaryLinear:
    """bits uint8 [N, K] in {0, 1}, 0 where a weight is salient; scale f16
    [N, G]; shift f16 [N, G] or None; group: weights per group along K."""

    bits: Tensor
    scale: Tensor
    shift: Tensor | None
    group: int
    salient: Salient | None = None

    def dequantize(self) -> Tensor:
        """The float32 weight [N, K]: scale * (2 B - 1) + shift, but the
        salient ones where they are."""
        weight = _affine(2 * self.bits.float() - 1, self.scale, self.shift,
                         self.group)
        if self.salient:
            weight[self.salient.mask] = self.salient.dequantize()
        return weight

    def tensors(self) -> dict[str, Tensor]:
        return {"planes": pack_bits(self.bits[None]),
                **_coefficients(self.scale, self.shift),
                **(self.salient.tensors() if self.salient else {})}


@dataclass(frozen=True)
class DualBinaryLinear:
    """bits uint8 [2, N, K] in {0, 1}; scale f16 [2, N, G]; group: weights per
    group along K."""

    bits: Tensor
    scale: Tensor
    group: int

    def dequantize(self) -> Tensor:
        """The float32 weight [N, K]: scale[0] * b1 + scale[1] * b2."""
        first, second = (_affine(bits, scale, None, self.group)
                         for bits, scale in zip(self.bits, self.scale))
        return first + second

    def tensors(self) -> dict[str, Tensor]:
        return {"planes": pack_bits(self.bits),
                **_coefficients(self.scale, None)}


@dataclass(frozen=True)
class QuantizedEmbedding:
    """The token embedding or the head. codes int8 [V, K], in -8..7 where bits
    is 4; scale f16 [V, G]; group: weights per group along K."""

    codes: Tensor
    scale: Tensor
    group: int
    bits: int

    def dequantize(self) -> Tensor:
        """The float32 matrix [V, K]: scale * code."""
        return _affine(self.codes, self.scale, None, self.group)

    def tensors(self) -> dict[str, Tensor]:
        return {"q": self.codes if self.bits == 8 else pack_nibbles(self.codes),
                **_coefficients(self.scale, None)}


Linear = TernaryLinear | BinaryLinear | DualBinaryLinear
