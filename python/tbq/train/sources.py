# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A run's data as its options name it.

Input: --data's DIR[:SHARE] and --held-out. Output: a mixture of token shards.
Invariant: every token is within the teacher's vocabulary.
"""

from __future__ import annotations

import math
from pathlib import Path

from tbq.data.errors import DataError
from tbq.data.mixture import TokenMixture
from tbq.data.shards import TokenShards
from tbq.train.distributed import World
from tbq.train.options import OptionError, Options


def parse_source(text: str) -> tuple[Path, float]:
    """"DIR" or "DIR:SHARE"; a directory whose own name ends in :NUMBER needs a
    share."""
    path, colon, share = text.rpartition(":")
    try:
        value = float(share) if colon else 1.0
    except ValueError:
        return Path(text), 1.0
    if not (0 < value and math.isfinite(value)):
        raise OptionError("data", f"{text!r}: the share is not positive")
    return Path(path if colon else text), value


def open_shards(directory: Path, vocabulary: int) -> TokenShards:
    shards = TokenShards(directory)
    if shards.vocabulary > vocabulary:
        raise DataError(directory, "vocabulary", f"{shards.vocabulary}, the "
                        f"teacher's is {vocabulary}")
    return shards


def open_mixture(options: Options, vocabulary: int,
                 world: World) -> TokenMixture:
    parsed = [parse_source(text) for text in options.data]
    sources = [(open_shards(path, vocabulary), share) for path, share in parsed]
    try:
        return TokenMixture(sources, options.batch, options.length,
                            options.seed, world.rank, world.size)
    except ValueError as error:
        raise OptionError("data", str(error)) from error
