# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Text files to token shards.

Input:  UTF-8 files, .xz ones decompressed on the way; lines `<|endoftext|>`
        separate documents, a file without such a line is one.
Output: one stream of tokens: each document as the tokenizer encodes a text (a
        first token where it adds one), then the end-of-text token.
Invariant: a document's tokens decode to it; white space at its ends is cut.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from tbq.data.errors import DataError
from tbq.data.shards import ShardWriter
from tbq.data.tokenizer import (END_OF_TEXT, end_of_text, file_hash,
                                load_tokenizer, vocabulary)

_BATCH_CHARACTERS = 1 << 23  # tokenised at once, by all cores


def documents(path: Path) -> Iterator[str]:
    """The documents of a file that are not empty."""
    opener = lzma.open if path.suffix == ".xz" else open
    lines: list[str] = []
    try:
        with opener(path, "rt", encoding="utf-8", newline="\n") as file:
            for line in file:
                if line.strip() != END_OF_TEXT:
                    lines.append(line)
                    continue
                yield "".join(lines).strip()
                lines = []
    except (OSError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise DataError(path, "file", str(error)) from error
    yield "".join(lines).strip()


def _batches(paths: Iterable[Path]) -> Iterator[list[str]]:
    batch, size = [], 0
    for path in paths:
        for document in filter(None, documents(path)):
            batch.append(document)
            size += len(document)
            if size >= _BATCH_CHARACTERS:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch


def encode(tokenizer: Tokenizer, batch: list[str], end: int) -> np.ndarray:
    """The documents' tokens, each with `end` after it, as one array."""
    return np.concatenate([[*encoding.ids, end]
                           for encoding in tokenizer.encode_batch(batch)])


def prepare_text(paths: list[Path], tokenizer_directory: Path,
                 out: Path) -> dict:
    """Writes `out` as a stream without a mask; returns its data.json."""
    tokenizer = load_tokenizer(tokenizer_directory)
    end = end_of_text(tokenizer_directory, tokenizer)
    writer = ShardWriter(out, vocabulary(tokenizer_directory, tokenizer))
    count = size = 0
    for batch in _batches(paths):
        writer.append(encode(tokenizer, batch, end))
        count += len(batch)
        size += sum(len(document.encode()) for document in batch)
    if not count:
        raise DataError(paths[0], "file", "holds no text")
    return writer.close({
        "kind": "text", "sources": [path.name for path in paths],
        "documents": count, "bytes": size,
        "tokenizer": file_hash(tokenizer_directory / "tokenizer.json")})
