# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The tokenizer of a checkpoint directory, and facts about it.

Input: tokenizer.json, and tokenizer_config.json and config.json if they are
there. Output: a `tokenizers` Tokenizer, special tokens by role, sizes.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from tokenizers import Tokenizer

from tbq.data.errors import DataError

END_OF_TEXT = "<|endoftext|>"


def read_json(path: Path) -> dict:
    """An object; an absent file is an empty one."""
    if not path.exists():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(path, "file", str(error)) from error
    if not isinstance(value, dict):
        raise DataError(path, "file", "not a JSON object")
    return value


def load_tokenizer(directory: Path) -> Tokenizer:
    path = directory / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        raise DataError(path, "file", str(error)) from error


def vocabulary(directory: Path, tokenizer: Tokenizer) -> int:
    """Ids are below this: the model's vocabulary, which may be larger than the
    tokenizer's, or else the tokenizer's own."""
    return read_json(directory / "config.json").get(
        "vocab_size", tokenizer.get_vocab_size())


def special_tokens(directory: Path) -> dict[str, str]:
    """{"bos_token": text, ...} as templates see them."""
    config = read_json(directory / "tokenizer_config.json")
    tokens = {name: config[name] for name in
              ("bos_token", "eos_token", "pad_token", "unk_token")
              if config.get(name)}
    return {name: token["content"] if isinstance(token, dict) else token
            for name, token in tokens.items()}


def end_of_text(directory: Path, tokenizer: Tokenizer) -> int:
    """The id that separates documents: <|endoftext|> where there is one, else
    the end token of tokenizer_config.json."""
    token = END_OF_TEXT
    if tokenizer.token_to_id(token) is None:
        token = special_tokens(directory).get("eos_token", token)
    found = tokenizer.token_to_id(token)
    if found is None:
        raise DataError(directory / "tokenizer.json", token, "is not in the "
                        "vocabulary: nothing separates documents")
    return found


def file_hash(path: Path) -> str:
    """SHA-256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
