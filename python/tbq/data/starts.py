# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""How the teacher's texts start: a mix of kinds, each with its temperature.

    chat      the template's opening of a question; the model invents question,
              answer, question, ...
    continue  8 to 32 tokens of real text, then the model
    start     what stands before a text: the tokenizer's first token, or the
              end-of-text token where it adds none

Input:  kinds with shares, and what each needs. Output: Starts and temperatures
of a batch. Invariant: a function of the random generator alone; a batch has
each kind's share of its rows to within one, in random order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tbq.data.errors import DataError
from tbq.data.sequences import Starts
from tbq.data.shards import TokenShards
from tbq.data.template import ChatTemplate, TurnTokens
from tbq.data.tokenizer import end_of_text, load_tokenizer

KINDS = ("chat", "continue", "start")
PREFIX_TOKENS = (8, 32)  # of real text, least and most


@dataclass(frozen=True)
class Kind:
    name: str
    share: float
    temperature: float

    @staticmethod
    def parse(text: str) -> "Kind":
        """KIND:SHARE[:TEMPERATURE], temperature 1 if it is not given."""
        name, *numbers = text.split(":")
        if name not in KINDS:
            raise DataError("--mix", text, f"{name!r} is not one of "
                            f"{', '.join(KINDS)}")
        try:
            values = [float(number) for number in numbers]
        except ValueError:
            values = []
        if not (1 <= len(values) <= 2 and all(map(math.isfinite, values))
                and values[0] > 0 and values[-1] >= 0):
            raise DataError("--mix", text, "is not KIND:SHARE:TEMPERATURE")
        return Kind(name, values[0], values[1] if len(values) > 1 else 1.0)


def rows_of(kinds: list[Kind], rows: int) -> list[Kind]:
    """`rows` kinds by share: cumulative shares, rounded."""
    edges = np.cumsum([kind.share for kind in kinds])
    edges = np.rint(edges / edges[-1] * rows).astype(int)
    return [kind for kind, count in zip(kinds, np.diff(edges, prepend=0))
            for _ in range(count)]


class StartSource:
    """What a checkpoint and a directory of real text give to start from.

    turns: the template's tokens, None if no kind is a conversation."""

    def __init__(self, checkpoint: Path, kinds: list[Kind],
                 text: TokenShards | None = None):
        self.kinds = kinds
        names = {kind.name for kind in kinds}
        tokenizer = load_tokenizer(checkpoint)
        self.turns: TurnTokens | None = None
        if "chat" in names:
            self.turns = ChatTemplate(checkpoint).turns(tokenizer)
        if "continue" in names and text is None:
            raise DataError("--mix", "continue", "needs --text DIR, token "
                            "shards of real text")
        self.text = text
        self.first = tokenizer.encode("").ids
        self.start = self.first
        if "start" in names and not self.first:
            self.start = [end_of_text(checkpoint, tokenizer)]

    def longest(self) -> int:
        """Tokens of the longest prefix there can be."""
        opening = len(self.turns.opening) if self.turns else 0
        real = len(self.first) + PREFIX_TOKENS[1] if self.text else 0
        return max(opening, real, len(self.start))

    def _real(self, random: np.random.Generator) -> list[int]:
        least, most = PREFIX_TOKENS
        window = random.integers(self.text.windows(most), size=1)
        ids, _ = self.text.read(window, most, int(random.integers(most)))
        return self.first + ids[0, :random.integers(least, most + 1)].tolist()

    def draw(self, rows: int, random: np.random.Generator
             ) -> tuple[Starts, np.ndarray]:
        """Starts and temperatures [rows] float32 of a batch."""
        kinds = rows_of(self.kinds, rows)
        kinds = [kinds[i] for i in random.permutation(rows)]
        prefix = {"chat": lambda: self.turns.opening,
                  "continue": lambda: self._real(random),
                  "start": lambda: self.start}
        return (Starts([prefix[kind.name]() for kind in kinds],
                       [kind.name == "chat" for kind in kinds]),
                np.array([kind.temperature for kind in kinds], np.float32))
