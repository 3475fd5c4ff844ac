# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Calibration, a layer at a time.

Input: a Decoder and token ids. Output: for each linear of a layer, and for the
head, the Hessian of what it multiplies. Invariant: a layer sees the outputs of
the layers before it as they are at that time, so of quantised ones once they
are; memory is that of one layer and of the hidden states between two.
"""

from __future__ import annotations

from typing import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tbq.decoder import Decoder
from tbq.ptq.hessian import Hessian
from tbq.quant.student import replace_module


class _Book:
    """The Hessians of a layer's linears, by name. Linears that are handed the
    same tensor share one."""

    def __init__(self):
        self.hessians: dict[str, Hessian] = {}
        self.last: tuple[str, Tensor] | None = None

    def see(self, name: str, x: Tensor) -> None:
        if self.last is not None and x is self.last[1]:
            self.hessians.setdefault(name, self.hessians[self.last[0]])
            return
        if name not in self.hessians:
            self.hessians[name] = Hessian(x.shape[-1], x)
        self.hessians[name].add(x)
        self.last = name, x


class _Recorder(nn.Module):
    """In a linear's place: notes what comes in."""

    def __init__(self, linear: nn.Linear, name: str, book: _Book):
        super().__init__()
        self.linear, self.name, self.book = linear, name, book

    def forward(self, x: Tensor) -> Tensor:
        self.book.see(self.name, x)
        return F.linear(x, self.linear.weight, self.linear.bias)


def layer_linears(layer: nn.Module) -> dict[str, nn.Linear]:
    """By name within the layer ("self_attn.q_proj")."""
    return {name: module for name, module in layer.named_modules()
            if isinstance(module, nn.Linear)}


class Calibration:
    """The hidden states before one layer, in pieces of `chunk` sequences.

    ids: [samples, length]. device: where layers compute, in float32; kept:
    the type that hidden states have between layers, on that device."""

    def __init__(self, decoder: Decoder, ids: Tensor, device: torch.device,
                 kept: torch.dtype, chunk: int):
        self.decoder, self.kept = decoder, kept
        self.positions = decoder.positions(ids[:1].to(device))
        table = decoder.table().detach()
        self.hidden = [
            decoder.enter(decoder.embed(piece, table)).to(device, kept)
            for piece in ids.split(chunk)]

    def _outputs(self, index: int) -> Iterator[Tensor]:
        for piece in self.hidden:
            yield self.decoder.block(index, piece.float(), self.positions)

    @torch.no_grad()
    def observe(self, index: int) -> dict[str, Hessian]:
        """The Hessians of layer `index`, which must be on the device."""
        layer, book = self.decoder.blocks[index], _Book()
        linears = layer_linears(layer)
        for name, linear in linears.items():
            replace_module(layer, name, _Recorder(linear, name, book))
        try:
            for _ in self._outputs(index):
                pass
        finally:
            for name, linear in linears.items():
                replace_module(layer, name, linear)
        return book.hessians

    @torch.no_grad()
    def advance(self, index: int) -> None:
        """Hidden states after layer `index` in place of those before it."""
        for at, output in enumerate(self._outputs(index)):
            self.hidden[at] = output.to(self.kept)

    @torch.no_grad()
    def head(self) -> Hessian:
        """The Hessian of what the head multiplies, after the last layer."""
        result = Hessian(self.decoder.head().shape[1], self.hidden[0])
        for piece in self.hidden:
            result.add(self.decoder.leave(piece.float()))
        return result
