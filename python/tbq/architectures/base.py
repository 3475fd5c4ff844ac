# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""An architecture: the names in its checkpoints, and its forward pass in parts.

Input: a transformers model, or config.json's sizes. Output: names and shapes;
hidden states [B, T, d] of whole sequences from position 0 under a causal mask.
Invariant: in float32 the parts together are transformers' own; in a lower type
norms and rotations are computed in float32 and rounded once. A linear may be
quantised: it is called, and a plain one's float32 master is cast to the type of
compute.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Callable, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# What a block needs to know of where its tokens stand.
Positions = tuple[Tensor, ...]
# A size of config.json by name, with a default for one that may be absent.
Sizes = Callable[..., int]


def apply_linear(module: nn.Module, x: Tensor) -> Tensor:
    if type(module) is not nn.Linear:
        return module(x)
    bias = None if module.bias is None else module.bias.to(x.dtype)
    return F.linear(x, module.weight.to(x.dtype), bias)


def attend(queries: Tensor, keys: Tensor, values: Tensor,
           scale: float) -> Tensor:
    """[B, H, T, D] each, of keys and values perhaps fewer heads -> [B, T, HD]
    under a causal mask."""
    out = F.scaled_dot_product_attention(
        queries, keys, values, is_causal=True, scale=scale,
        enable_gqa=queries.shape[1] != keys.shape[1])
    return out.transpose(1, 2).flatten(2)


class Architecture(ABC):
    """Never made: its class is what there is to know."""

    TABLES: ClassVar[tuple[str, str]]  # embedding and head
    LAYERS: ClassVar[str]  # what the decoder layers' names start with

    @staticmethod
    @abstractmethod
    def linears(size: Sizes) -> dict[str, tuple[int, int]]:
        """Rows and columns of a layer's linears, by name within the layer."""

    @staticmethod
    @abstractmethod
    def table_columns(size: Sizes) -> int:
        """Of embedding and head."""

    @staticmethod
    @abstractmethod
    def positions(model: nn.Module, length: int,
                  device: torch.device) -> Positions:
        """Of tokens 0 to length - 1."""

    @staticmethod
    @abstractmethod
    def enter(model: nn.Module, rows: Tensor) -> Tensor:
        """Rows of the embedding -> what the first block reads."""

    @staticmethod
    @abstractmethod
    def run_block(layer: nn.Module, x: Tensor, *positions: Tensor) -> Tensor:
        """One decoder layer."""

    @staticmethod
    @abstractmethod
    def leave(model: nn.Module, hidden: Tensor) -> Tensor:
        """The last block's output -> what the head multiplies."""

    @staticmethod
    def after(model: nn.Module) -> list[nn.Module]:
        """The modules that `leave` reads."""
        return []
