# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Decoder: a transformers language model run block by block.

Input: a model of one of tbq.architectures, float or with quantised linears and
embedding; its modules are used in place, never copied. Output: the hidden
states that training needs, [B, T, d], of whole sequences from position 0 under
a causal mask. Invariant: in float32 the logits are transformers' own.
"""

from __future__ import annotations

from typing import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tbq.architectures import Positions, architecture_of


def _matrix(module: nn.Module) -> Tensor:
    """[V, d] of an embedding or a head: quantised, or the float weight."""
    return module.table() if hasattr(module, "table") else module.weight


class Decoder:
    """blocks: the decoder layers. run: what computes a block from (layer, x,
    cos, sin); compiled once for all layers of one structure if `compile`.
    stack: what computes every block's output from (x, cos, sin).

    The type of compute is that of the embedding's rows: the float embedding's
    own, or `dtype` where `hidden` is given one. Other float32 weights are cast
    where they are used."""

    def __init__(self, model: nn.Module, compile: bool = False):
        self.model, self.config = model, model.config
        self.architecture = architecture_of(model.config.model_type)
        self.blocks: nn.ModuleList = model.get_submodule(
            self.architecture.LAYERS)
        run = self.architecture.run_block
        self.run: Callable[..., Tensor] = (
            torch.compile(run, dynamic=False) if compile else run)
        self.stack: Callable[..., list[Tensor]] = self._run_all
        self.tied = bool(model.config.tie_word_embeddings)
        self._positions: dict[tuple[int, torch.device], Positions] = {}

    def _tables(self) -> list[nn.Module]:
        return [self.model.get_submodule(name)
                for name in self.architecture.TABLES]

    def table(self) -> Tensor:
        """The embedding as it is looked up, [V, d]; float32 if quantised, else
        the weight itself."""
        return _matrix(self._tables()[0])

    def head(self) -> Tensor:
        """[V, d], such that logits = hidden @ head.T; a tied model's table."""
        return self.table() if self.tied else _matrix(self._tables()[1])

    def tables(self) -> list[nn.Module]:
        """The modules behind table() and head(): two, or a tied model's one."""
        return self._tables()[:1] if self.tied else self._tables()

    def named_parameters(self) -> dict[str, nn.Parameter]:
        """By full name, each once; a tied head is the embedding's parameter,
        whatever else transformers keeps under its name."""
        head = self.architecture.TABLES[1] + "."
        return {name: parameter for name, parameter
                in self.model.named_parameters()
                if not (self.tied and name.startswith(head))}

    def named_tensors(self) -> dict[str, Tensor]:
        """Parameters and what else the modules keep from session to session,
        by full name, each once."""
        kept = self.model.state_dict()
        return {**self.named_parameters(),
                **{name: buffer for name, buffer in self.model.named_buffers()
                   if name in kept}}

    def embed(self, ids: Tensor, table: Tensor | None = None) -> Tensor:
        """ids [B, T] -> rows [B, T, d] of `table`, by default table()."""
        return F.embedding(ids, self.table() if table is None else table)

    @torch.no_grad()
    def positions(self, ids: Tensor) -> Positions:
        """Of tokens 0 to T - 1 of ids [..., T]; computed once for each T."""
        length, device = ids.shape[-1], ids.device
        if (length, device) not in self._positions:
            self._positions[length, device] = self.architecture.positions(
                self.model, length, device)
        return self._positions[length, device]

    def block(self, index: int, hidden: Tensor,
              positions: Positions) -> Tensor:
        return self.run(self.blocks[index], hidden, *positions)

    def _run_all(self, hidden: Tensor, *positions: Tensor) -> list[Tensor]:
        outputs = []
        for layer in self.blocks:
            hidden = self.run(layer, hidden, *positions)
            outputs.append(hidden)
        return outputs

    def enter(self, rows: Tensor) -> Tensor:
        """Rows of the embedding -> what the first block reads."""
        return self.architecture.enter(self.model, rows)

    def leave(self, hidden: Tensor) -> Tensor:
        """The last block's output -> what the head multiplies."""
        return self.architecture.leave(self.model, hidden)

    def hidden(self, ids: Tensor, table: Tensor | None = None,
               dtype: torch.dtype | None = None) -> tuple[Tensor, list[Tensor]]:
        """ids [B, T] -> (what the head multiplies, the output of every block),
        all [B, T, d]. The rows are looked up in `table` as it is, then cast."""
        rows, positions = self.embed(ids, table), self.positions(ids)
        rows = rows if dtype is None else rows.to(dtype)
        outputs = self.stack(self.enter(rows), *positions)
        return self.leave(outputs[-1]), outputs

    def logits(self, ids: Tensor) -> Tensor:
        """[B, T, V] in the type of compute: of few tokens, for checks."""
        hidden, _ = self.hidden(ids)
        return F.linear(hidden, self.head().to(hidden.dtype))
