# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Digits of 1, 2 and 4 bits to bytes and back, along the last axis.

Low bits come first, and the bits that fill up a row's last byte are 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _pack(digits: Tensor, width: int) -> Tensor:
    """[..., K] of `width`-bit digits -> uint8 [..., ceil(K width / 8)]."""
    per_byte = 8 // width
    columns = digits.shape[-1]
    padded = torch.zeros(*digits.shape[:-1], -(-columns // per_byte) * per_byte,
                         dtype=torch.uint8)
    padded[..., :columns] = digits
    parts = padded.view(*digits.shape[:-1], -1, per_byte)
    shifts = torch.arange(0, 8, width, dtype=torch.uint8)
    return (parts << shifts).sum(-1, dtype=torch.uint8)


def _unpack(packed: Tensor, width: int) -> Tensor:
    """uint8 [..., B] -> uint8 [..., 8 B / width], filling digits included."""
    shifts = torch.arange(0, 8, width, dtype=torch.uint8)
    parts = packed[..., None] >> shifts & (1 << width) - 1
    return parts.flatten(-2)


def pack_codes(codes: Tensor) -> Tensor:
    """int8 [N, K] in {-1, 0, 1} -> uint8 [N, ceil(K/4)]."""
    return _pack((codes + 1).to(torch.uint8), 2)


def unpack_codes(packed: Tensor, columns: int) -> Tensor:
    """uint8 [N, ceil(K/4)] -> int8 [N, K]; the code 3 becomes 2: check it."""
    return _unpack(packed, 2)[..., :columns].to(torch.int8) - 1


def pack_bits(bits: Tensor) -> Tensor:
    """uint8 or bool [..., K] in {0, 1} -> uint8 [..., ceil(K/8)]."""
    return _pack(bits, 1)


def unpack_bits(packed: Tensor) -> Tensor:
    """uint8 [..., B] -> uint8 [..., 8 B] in {0, 1}."""
    return _unpack(packed, 1)


def pack_nibbles(codes: Tensor) -> Tensor:
    """int8 [V, K] in -8..7 -> uint8 [V, ceil(K/2)] of code + 8."""
    return _pack((codes + 8).to(torch.uint8), 4)


def unpack_nibbles(packed: Tensor) -> Tensor:
    """uint8 [V, B] -> int8 [V, 2 B] in -8..7."""
    return _unpack(packed, 4).to(torch.int8) - 8
