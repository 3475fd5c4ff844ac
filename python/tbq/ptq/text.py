# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The sequences that a model is calibrated on.

Input: a text file (.txt or .txt.xz) or a directory of token shards. Output:
token ids int64 [samples, length], taken at even distances over the whole; fewer
where there are fewer.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tbq.data.errors import DataError
from tbq.data.shards import TokenShards
from tbq.data.text import documents, encode
from tbq.data.tokenizer import end_of_text, load_tokenizer


def _spread(windows: int, samples: int) -> np.ndarray:
    """`samples` of 0..windows-1, or all, in order."""
    count = min(windows, samples)
    return np.arange(count) * windows // count


def _from_text(path: Path, directory: Path, samples: int,
               length: int) -> np.ndarray:
    tokenizer = load_tokenizer(directory)
    texts = list(filter(None, documents(path)))
    if not texts:
        raise DataError(path, "file", "holds no text")
    tokens = encode(tokenizer, texts, end_of_text(directory, tokenizer))
    windows = len(tokens) // length
    if not windows:
        raise DataError(path, "file", f"holds {len(tokens)} tokens, fewer than "
                        f"one sequence of {length}")
    rows = tokens[:windows * length].reshape(windows, length)
    return rows[_spread(windows, samples)]


def _from_shards(path: Path, samples: int, length: int,
                 vocabulary: int) -> np.ndarray:
    shards = TokenShards(path)
    if shards.vocabulary != vocabulary:
        raise DataError(path, "vocabulary", f"{shards.vocabulary}, but the "
                        f"model's is {vocabulary}")
    return shards.read(_spread(shards.windows(length), samples), length)[0]


def calibration_rows(path: Path, directory: Path, vocabulary: int,
                     samples: int, length: int) -> Tensor:
    """`path` read with the tokenizer of the model in `directory`, whose ids
    are below `vocabulary`."""
    rows = (_from_shards(path, samples, length, vocabulary) if path.is_dir()
            else _from_text(path, directory, samples, length))
    if rows.max() >= vocabulary:
        raise DataError(path, "tokens", f"the id {rows.max()} is not below the "
                        f"model's vocabulary of {vocabulary}")
    return torch.from_numpy(rows.astype(np.int64))
