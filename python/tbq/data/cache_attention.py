# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Attention of one new token of many sequences over a cache in use up to it.

Input:  queries [B, KV, group, D]; keys and values [B, KV, length, D], of which
        positions 0 to `position` [1], a tensor on the device, count.
Output: [B, KV, group, D].

The query heads that share a key head stand on the query-length axis, so that
keys and values are read once for all of them. On a GPU the position stays
there: one kernel, captured once, reads as many blocks of the cache as the
position asks for.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Positions that a kernel reads at a time; of 32, 64 and 128 the fastest on an
# H200 (3,072 sequences, 3 key heads of 64).
BLOCK = 64


def room_for(length: int) -> int:
    """Positions of a cache that holds `length`: whole blocks."""
    return -(-length // BLOCK) * BLOCK


class PlainAttention:
    """Asks for the position: for CPUs, and to compare with."""

    def __init__(self, position: Tensor, scale: float):
        self.position, self.scale = position, scale

    def advance(self) -> None:
        """Called once a step, when the position has moved."""

    def __call__(self, queries: Tensor, keys: Tensor,
                 values: Tensor) -> Tensor:
        used = int(self.position) + 1
        return F.scaled_dot_product_attention(
            queries, keys[:, :, :used], values[:, :, :used], scale=self.scale)


class BlockAttention:
    """Asks the host for nothing. group: query heads of a key head."""

    def __init__(self, position: Tensor, scale: float, group: int, room: int):
        from torch.nn.attention.flex_attention import (BlockMask,
                                                       flex_attention)
        last = position[0]  # the same memory
        self.position, self.scale = position, scale
        self.blocks = torch.ones(1, 1, 1, dtype=torch.int32,
                                 device=position.device)
        order = torch.arange(room // BLOCK, dtype=torch.int32,
                             device=position.device)
        self.mask = BlockMask.from_kv_blocks(
            self.blocks, order.view(1, 1, 1, -1), BLOCK_SIZE=(128, BLOCK),
            mask_mod=lambda batch, head, query, key: key <= last,
            seq_lengths=(group, room))
        self.run = torch.compile(flex_attention, dynamic=False)

    def advance(self) -> None:
        self.blocks.copy_((self.position // BLOCK + 1).view(1, 1, 1))

    def __call__(self, queries: Tensor, keys: Tensor,
                 values: Tensor) -> Tensor:
        return self.run(queries, keys, values, block_mask=self.mask,
                        scale=self.scale,
                        kernel_options={"BLOCK_M": 16, "BLOCK_N": BLOCK})
