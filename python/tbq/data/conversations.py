# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Conversations to token shards.

Input:  JSONL files (.xz too), a line {"messages": [{"role", "content"}, ...]};
        a checkpoint's chat template and tokenizer.
Output: one stream of tokens, conversation after conversation, with a "loss"
        mask where only answers are labels: 1 for the tokens of an assistant's
        message and of the special token that ends it.
Invariant: the tokens are those of the template's text, encoded as a whole.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tbq.data.errors import DataError
from tbq.data.shards import ShardWriter
from tbq.data.template import ChatTemplate, Messages
from tbq.data.tokenizer import file_hash, load_tokenizer, vocabulary


def _is_message(message: object) -> bool:
    return (isinstance(message, dict)
            and isinstance(message.get("role"), str)
            and isinstance(message.get("content"), str))


def conversations(path: Path) -> Iterator[tuple[int, Messages]]:
    """(line number, messages) of each line that is not blank."""
    opener = lzma.open if path.suffix == ".xz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                value = json.loads(line)
                messages = (value.get("messages") if isinstance(value, dict)
                            else None)
                if not (isinstance(messages, list) and messages
                        and all(map(_is_message, messages))):
                    raise DataError(path, f"line {number}", "is not "
                                    '{"messages": [{"role": ..., "content": '
                                    "...}, ...]}")
                yield number, messages
    except json.JSONDecodeError as error:
        raise DataError(path, f"line {number}", str(error)) from error
    except (OSError, UnicodeDecodeError, lzma.LZMAError) as error:
        raise DataError(path, "file", str(error)) from error


def answer_spans(template: ChatTemplate, messages: Messages
                 ) -> list[tuple[int, int]]:
    """[first, last) characters, in the text of all messages, of each answer
    and what ends it, without white space after that."""
    whole = template.render(messages)
    spans = []
    for index, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        before = template.render(messages[:index], prompt=True)
        after = template.render(messages[:index + 1])
        if not (after.startswith(before) and whole.startswith(after)):
            raise DataError(template.path, "chat_template", "does not render "
                            "turn after turn, so answers cannot be told from "
                            "the rest")
        spans.append((len(before), len(after.rstrip())))
    return spans


def prepare_conversations(paths: list[Path], tokenizer_directory: Path,
                          out: Path, answers_only: bool) -> dict:
    """Writes `out` as a stream; returns its data.json."""
    tokenizer = load_tokenizer(tokenizer_directory)
    template = ChatTemplate(tokenizer_directory)
    writer = ShardWriter(out, vocabulary(tokenizer_directory, tokenizer),
                         mask="loss" if answers_only else None)
    count = 0
    for path in paths:
        for number, messages in conversations(path):
            try:
                encoding = tokenizer.encode(template.render(messages),
                                            add_special_tokens=False)
                spans = (answer_spans(template, messages) if answers_only
                         else [])
            except DataError as error:
                raise DataError(path, f"line {number}", str(error)) from error
            starts = np.array([start for start, _ in encoding.offsets])
            mask = np.zeros(len(starts), dtype=np.uint8)
            for first, last in spans:
                mask |= (starts >= first) & (starts < last)
            writer.append(np.array(encoding.ids),
                          mask if answers_only else None)
            count += 1
    if not count:
        raise DataError(paths[0], "file", "holds no conversation")
    return writer.close({
        "kind": "conversations", "sources": [path.name for path in paths],
        "conversations": count, "answers_only": answers_only,
        "tokenizer": file_hash(tokenizer_directory / "tokenizer.json")})
