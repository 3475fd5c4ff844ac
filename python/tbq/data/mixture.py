# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Batches of token windows from several sources by stated shares.

Input:  TokenShards with shares, rows a batch (of all ranks), length, seed.
Output: of batch number b, the rows that belong to a rank.
Invariant: batch b is a function of (sources, shares, rows, length, seed, b)
alone, so a resumed run draws what it would have drawn, and any number of ranks
divides the same rows. A source is read in epochs: every window once, in an
order of that epoch, before any comes again. After b batches a source has given
its share of b * rows to within one row (the largest source: within one for each
other).
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from tbq.data.errors import DataError
from tbq.data.shards import TokenShards


@dataclass(frozen=True)
class Batch:
    """ids int64 [rows, length]; labelled bool of the same shape: the "loss"
    mask of sources that have one, True elsewhere; source [rows]: the number of
    each row's source."""

    ids: Tensor
    labelled: Tensor
    source: Tensor


class _Source:
    """One directory's windows in epochs."""

    def __init__(self, shards: TokenShards, length: int, seed: int, number: int):
        self.shards, self.length = shards, length
        self.count = shards.windows(length)
        self.seed = (seed, number)
        self.orders: dict[int, tuple[np.ndarray, int]] = {}

    def _order(self, epoch: int) -> tuple[np.ndarray, int]:
        """The windows' order in an epoch and a stream's offset."""
        if epoch not in self.orders:
            random = np.random.default_rng([*self.seed, epoch])
            if len(self.orders) > 1:  # a batch may lie in two epochs
                self.orders.pop(next(iter(self.orders)))
            self.orders[epoch] = (random.permutation(self.count),
                                  int(random.integers(self.length)))
        return self.orders[epoch]

    def read(self, places: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """(ids, mask) of rows numbered from the start of the run."""
        ids = np.empty((len(places), self.length), dtype=np.int64)
        mask = np.ones(ids.shape, dtype=np.uint8)
        for row, place in enumerate(places):
            epoch, at = divmod(place, self.count)
            order, offset = self._order(epoch)
            got, masked = self.shards.read(order[at:at + 1], self.length, offset)
            ids[row] = got[0]
            if self.shards.mask == "loss":
                mask[row] = masked[0]
        return ids, mask


class TokenMixture:
    """batch(b) of `rows` rows of `length` tokens, of which this is rank `rank`
    of `ranks`. Shares count in proportion."""

    def __init__(self, sources: list[tuple[TokenShards, float]], rows: int,
                 length: int, seed: int, rank: int = 0, ranks: int = 1):
        if rows % ranks:
            raise ValueError(f"{rows} rows are not a multiple of {ranks} ranks")
        vocabularies = {shards.vocabulary for shards, _ in sources}
        if len(vocabularies) != 1:
            raise DataError(sources[0][0].directory, "vocabulary", "the sources "
                            f"differ: {sorted(vocabularies)}")
        exact = [Fraction(share).limit_denominator(10**6)
                 for _, share in sources]
        if min(exact) <= 0:
            raise ValueError("a share is not positive")
        self.shares = [share / sum(exact) for share in exact]
        self.rows, self.rank, self.ranks = rows, rank, ranks
        self.vocabulary = vocabularies.pop()
        self.sources = [_Source(shards, length, seed, number)
                        for number, (shards, _) in enumerate(sources)]
        self.largest = max(range(len(exact)), key=lambda i: exact[i])
        # In a batch the others may each take one row more than their share.
        if rows * self.shares[self.largest] < len(sources) - 1:
            raise ValueError(f"{rows} rows a batch are too few for "
                             f"{len(sources)} sources")

    def drawn(self, batches: int) -> list[int]:
        """Rows of each source in the first `batches` batches."""
        total = batches * self.rows
        counts = [int(total * share) for share in self.shares]
        counts[self.largest] += total - sum(counts)
        return counts

    def _read(self, rows: list[tuple[int, int]]) -> Batch:
        """rows: (source, place in it), sources in order."""
        ids, masks = [], []
        for number, source in enumerate(self.sources):
            got, mask = source.read([p for s, p in rows if s == number])
            ids.append(got)
            masks.append(mask)
        return Batch(torch.from_numpy(np.concatenate(ids)),
                     torch.from_numpy(np.concatenate(masks)).bool(),
                     torch.tensor([s for s, _ in rows]))

    def batch(self, number: int) -> Batch:
        """This rank's rows of batch `number`: each `ranks`th, so that every
        rank has its part of every source."""
        before, after = self.drawn(number), self.drawn(number + 1)
        rows = [(source, place) for source, (first, last)
                in enumerate(zip(before, after)) for place in range(first, last)]
        return self._read(rows[self.rank::self.ranks])

    def sample(self, batches: int) -> Tensor:
        """The ids of the first `batches` batches, [batches * rows, length], the
        same on every rank."""
        return self._read([(source, place) for source, count
                           in enumerate(self.drawn(batches))
                           for place in range(count)]).ids
