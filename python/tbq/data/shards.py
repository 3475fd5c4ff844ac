# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A directory of token files, written once and drawn from in windows.

On disk: tokens-00000.bin, ... little-endian uint16 (uint32 for a vocabulary
above 65,536), beside each, if there is a mask, mask-00000.bin of one byte a
token, and data.json, written last: a directory without it is unfinished.
With `row_length` the tokens are sequences of that length, each read from its
start, and no window straddles two; without it they are one stream, whose
windows start elsewhere in every epoch.
A mask says for each token whether (1) or not (0) it is "loss": worth a label,
or "sampled": chosen by the model that wrote the text, not fed to it.
Several workers write DIR/rank-0, DIR/rank-1, ...; DIR is then the whole, and
refused while one of them is missing.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from tbq.checkpoint import write_json
from tbq.data.errors import DataError

FACTS = "data.json"
MASKS = ("loss", "sampled")
_SHARD_TOKENS = 1 << 26


def token_type(vocabulary: int) -> str:
    return "<u2" if vocabulary <= 1 << 16 else "<u4"


def rank_directory(directory: Path, rank: int, ranks: int) -> Path:
    """Where worker `rank` of `ranks` writes."""
    return directory if ranks == 1 else directory / f"rank-{rank}"


class ShardWriter:
    """Appends documents or rows; `close` makes the directory valid."""

    def __init__(self, directory: Path, vocabulary: int,
                 row_length: int | None = None, mask: str | None = None,
                 rank: int = 0, ranks: int = 1,
                 shard_tokens: int = _SHARD_TOKENS):
        self.directory = rank_directory(directory, rank, ranks)
        if (self.directory / FACTS).exists():
            raise DataError(self.directory / FACTS, "file", "exists already")
        self.directory.mkdir(parents=True, exist_ok=True)
        self.vocabulary, self.row_length, self.mask = (vocabulary, row_length,
                                                       mask)
        self.ranks, self.shard_tokens = ranks, shard_tokens
        self.shards: list[dict] = []
        self.pending: list[tuple[np.ndarray, np.ndarray | None]] = []
        self.count = 0

    def append(self, tokens: np.ndarray, mask: np.ndarray | None = None) -> None:
        """tokens: integers of any shape, taken in order; mask the same shape."""
        tokens = np.asarray(tokens)
        if tokens.size and not (0 <= tokens.min()
                                and tokens.max() < self.vocabulary):
            raise DataError(self.directory, "tokens", f"{tokens.min()} to "
                            f"{tokens.max()} is not within a vocabulary of "
                            f"{self.vocabulary}")
        if self.row_length and tokens.size % self.row_length:
            raise ValueError("not whole rows")
        if (mask is None) != (self.mask is None):
            raise ValueError("a mask for all or for none")
        if mask is not None:
            mask = np.array(mask, dtype=np.uint8).reshape(tokens.shape).ravel()
        # Copies: what the caller does with its arrays is its own affair.
        self.pending.append((tokens.astype(token_type(self.vocabulary)).ravel(),
                             mask))
        self.count += tokens.size
        if self.count >= self.shard_tokens:
            self._flush()

    def _write(self, name: str, parts: list[np.ndarray]) -> None:
        path = self.directory / name
        temporary = path.with_name(name + ".tmp")
        with temporary.open("wb") as file:
            for part in parts:
                part.tofile(file)
        os.replace(temporary, path)

    def _flush(self) -> None:
        if not self.count:
            return
        number = f"{len(self.shards):05}.bin"
        shard = {"file": f"tokens-{number}", "tokens": self.count}
        self._write(shard["file"], [tokens for tokens, _ in self.pending])
        if self.mask:
            shard["mask"] = f"mask-{number}"
            self._write(shard["mask"], [mask for _, mask in self.pending])
        self.shards.append(shard)
        self.pending, self.count = [], 0

    def close(self, facts: dict) -> dict:
        """Writes data.json: `facts` (what the tokens are and where from) under
        "facts", beside what a reader needs; returns it."""
        self._flush()
        value = {"format": 1, "vocabulary": self.vocabulary,
                 "type": token_type(self.vocabulary),
                 "row_length": self.row_length, "mask": self.mask,
                 "ranks": self.ranks,
                 "tokens": sum(s["tokens"] for s in self.shards),
                 "shards": self.shards, "facts": facts}
        write_json(self.directory / FACTS, value)
        return value


def _read_facts(path: Path) -> dict:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(path, "file", str(error)) from error
    if not isinstance(facts, dict) or facts.get("format") != 1:
        raise DataError(path, "format", "is not 1")
    for field, kind in (("vocabulary", int), ("ranks", int), ("shards", list)):
        if not isinstance(facts.get(field), kind):
            raise DataError(path, field, "is missing or of the wrong type")
    length = facts.get("row_length")
    if length is not None and not (type(length) is int and length > 0):
        raise DataError(path, "row_length", f"{length!r} is not a length")
    if facts.get("type") != token_type(facts["vocabulary"]):
        raise DataError(path, "type", f"{facts.get('type')!r} does not go with "
                        f"a vocabulary of {facts['vocabulary']}")
    if facts.get("mask") not in (None, *MASKS):
        raise DataError(path, "mask", f"{facts['mask']!r} is not one of "
                        f"{', '.join(MASKS)}")
    return facts


def _parts(directory: Path) -> list[tuple[Path, dict]]:
    """(directory, its data.json) of every worker that wrote `directory`."""
    if (directory / FACTS).exists():
        return [(directory, _read_facts(directory / FACTS))]
    first = directory / "rank-0"
    if not (first / FACTS).exists():
        raise DataError(directory / FACTS, "file", "does not exist: not token "
                        "shards, or not finished")
    ranks = _read_facts(first / FACTS)["ranks"]
    parts = [(directory / f"rank-{rank}") for rank in range(ranks)]
    return [(part, _read_facts(part / FACTS)) for part in parts]


def _map(path: Path, kind: str, count: int) -> np.ndarray:
    try:
        values = np.memmap(path, dtype=kind, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(path, "file", str(error)) from error
    if len(values) != count:
        raise DataError(path, "tokens", f"{len(values)} are there, {FACTS} says "
                        f"{count}")
    return values


class TokenShards:
    """Reads what ShardWriter wrote; files are mapped, not loaded.

    vocabulary, row_length, mask as written; tokens: how many; facts: of the
    first part."""

    def __init__(self, directory: Path):
        self.directory = directory
        parts = _parts(directory)
        head = parts[0][1]
        self.vocabulary, self.row_length = head["vocabulary"], head["row_length"]
        self.mask, self.facts = head["mask"], head.get("facts", {})
        self._tokens: list[np.ndarray] = []
        self._masks: list[np.ndarray] = []
        for part, facts in parts:
            for field in ("vocabulary", "row_length", "mask"):
                if facts[field] != head[field]:
                    raise DataError(part / FACTS, field, f"{facts[field]!r}, but "
                                    f"{head[field]!r} in {parts[0][0]}")
            for shard in facts["shards"]:
                count = shard["tokens"]
                self._tokens.append(_map(part / shard["file"], facts["type"],
                                         count))
                if self.mask:
                    self._masks.append(_map(part / shard["mask"], "u1", count))
        self.tokens = sum(map(len, self._tokens))

    def _windows(self, tokens: int, length: int) -> int:
        """Windows of `length` in a shard: whatever the offset of an epoch, as
        many in every epoch."""
        if self.row_length is None:
            return max(0, (tokens - length + 1) // length)
        return tokens // self.row_length * (self.row_length // length)

    def windows(self, length: int) -> int:
        """How many windows an epoch has; at least one, or it is an error."""
        count = sum(self._windows(len(t), length) for t in self._tokens)
        if not count:
            raise DataError(self.directory, "tokens", f"{self.tokens} in rows "
                            f"of {self.row_length} have no window of {length}"
                            if self.row_length else
                            f"{self.tokens} have no window of {length} at "
                            "every offset")
        return count

    def read(self, windows: np.ndarray, length: int, offset: int = 0
             ) -> tuple[np.ndarray, np.ndarray | None]:
        """(ids int64 [n, length], mask uint8 [n, length] or None) of windows
        numbered below windows(length). offset, below `length`: where a
        stream's windows start; rows always start at theirs."""
        ids = np.empty((len(windows), length), dtype=np.int64)
        masks = np.empty(ids.shape, dtype=np.uint8) if self.mask else None
        ends = np.cumsum([self._windows(len(t), length) for t in self._tokens])
        for row, window in enumerate(windows):
            shard = int(np.searchsorted(ends, window, side="right"))
            at = int(window) - (int(ends[shard - 1]) if shard else 0)
            if self.row_length is None:
                start = offset + at * length
            else:
                in_row = self.row_length // length
                start = at // in_row * self.row_length + at % in_row * length
            ids[row] = self._tokens[shard][start:start + length]
            if masks is not None:
                masks[row] = self._masks[shard][start:start + length]
        return ids, masks
