# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`tbq prepare`: text or conversations to token shards."""

from __future__ import annotations

import argparse
from pathlib import Path

from tbq.data.errors import DataError


def _is_conversations(path: Path) -> bool:
    return ".jsonl" in path.suffixes


def _run(arguments: argparse.Namespace) -> None:
    # Only here: other commands do not need tokenizers and jinja2.
    from tbq.data.conversations import prepare_conversations
    from tbq.data.text import prepare_text
    kinds = {_is_conversations(path) for path in arguments.input}
    if len(kinds) > 1:
        raise DataError(arguments.input[0], "input", "text and conversations "
                        "go to directories of their own")
    if kinds == {True}:
        facts = prepare_conversations(arguments.input, arguments.tokenizer,
                                      arguments.out, arguments.answers_only)
    elif arguments.answers_only:
        raise DataError(arguments.input[0], "--answers-only", "text has no "
                        "answers")
    else:
        facts = prepare_text(arguments.input, arguments.tokenizer,
                             arguments.out)
    print(f"{arguments.out}: {facts['tokens']} tokens in "
          f"{len(facts['shards'])} files")


def add_command(commands) -> None:
    command = commands.add_parser(
        "prepare", help="tokenise text files, or conversations (.jsonl) by the "
        "chat template, into token shards")
    command.add_argument("input", type=Path, nargs="+", metavar="FILE",
                         help="text with <|endoftext|> lines between "
                         "documents, or JSONL of messages; .xz too")
    command.add_argument("--tokenizer", type=Path, required=True,
                         metavar="DIR", help="a checkpoint's directory")
    command.add_argument("--out", type=Path, required=True, metavar="DIR")
    command.add_argument("--answers-only", action="store_true", help="only an "
                         "assistant's messages are labels")
    command.set_defaults(run=_run)
