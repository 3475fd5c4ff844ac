# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Which tokens of a sequence are fed and which are the model's own.

Input:  how each sequence starts (a prefix) and whether it is a conversation;
        then, position by position, the token that the model would choose.
Output: ids [B, L], and sampled [B, L]: 1 where a token was the model's choice.
Invariant: all decisions are made on the device. A sequence is its prefix, then
the model's tokens; in a conversation, when the model says the token that ends
its turn, the template's tokens up to the other's turn are fed, and the model
goes on in that part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from tbq.data.template import TurnTokens

QUESTION, ANSWER, NOBODY = 0, 1, 2


@dataclass(frozen=True)
class Starts:
    """prefix: tokens of each sequence, one or more; chat: whether it is a
    conversation, whose prefix opens a question."""

    prefix: list[list[int]]
    chat: list[bool]


class Sequences:
    """State of a batch: `begin`, then `advance` for each position."""

    def __init__(self, batch: int, length: int, turns: TurnTokens | None,
                 device: torch.device | str):
        integers = lambda *shape: torch.zeros(shape, dtype=torch.int64,
                                              device=device)
        self.ids = integers(batch, length)
        self.sampled = torch.zeros(batch, length, dtype=torch.uint8,
                                   device=device)
        # The prefix lies in ids from the start; it ends here.
        self.prefix_length = integers(batch)
        self.speaker = integers(batch)
        self.remaining = integers(batch)  # of what is fed after a turn
        fed = [turns.to_answer, turns.to_question] if turns else [[], []]
        ends = [turns.end_question, turns.end_answer] if turns else [-1, -1]
        # Read from the end: `remaining` tokens are left.
        width = max(1, *map(len, fed))
        self.fed = torch.tensor([
            [0] * (width - len(tokens)) + tokens for tokens in fed],
            device=device)
        self.fed_length = torch.tensor([*map(len, fed), 0], device=device)
        self.end = torch.tensor([*ends, -1], device=device)

    def begin(self, starts: Starts) -> None:
        """A new batch. Prefixes are at most as long as the sequences."""
        ids = torch.zeros(self.ids.shape, dtype=torch.int64)
        for row, prefix in enumerate(starts.prefix):
            ids[row, :len(prefix)] = torch.tensor(prefix)
        self.ids.copy_(ids)
        self.sampled.zero_()
        self.remaining.zero_()
        self.prefix_length.copy_(torch.tensor(list(map(len, starts.prefix))))
        self.speaker.copy_(torch.tensor([QUESTION if chat else NOBODY
                                         for chat in starts.chat]))

    def tokens(self, position: Tensor) -> Tensor:
        """[B]: what stands at position [1]."""
        return self.ids.index_select(1, position).squeeze(1)

    def advance(self, position: Tensor, choice: Tensor) -> None:
        """Fills position [1], given the model's choice [B] for it."""
        given = position < self.prefix_length
        feeding = self.remaining > 0
        free = ~(given | feeding)
        # Whoever speaks next, the other one's turn was ended.
        before = (1 - self.speaker).clamp(min=0)
        fed = self.fed[before, -self.remaining]
        token = torch.where(given, self.tokens(position),
                            torch.where(feeding, fed, choice))
        self.ids.index_copy_(1, position, token.unsqueeze(1))
        self.sampled.index_copy_(1, position,
                                 free.to(torch.uint8).unsqueeze(1))
        ended = free & (token == self.end[self.speaker])
        self.remaining.copy_(torch.where(
            ended, self.fed_length[self.speaker],
            (self.remaining - 1).clamp(min=0)))
        self.speaker.copy_(torch.where(ended, 1 - self.speaker, self.speaker))
