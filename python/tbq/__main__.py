# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`python -m tbq COMMAND`: checkpoints, data. Exit codes: 0 ok, 1 the
user's error (2 a wrong command line, as argparse has it)."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tbq.checkpoint import CheckpointError, dequantize_directory
from tbq.cli import generate, prepare
from tbq.data.errors import DataError

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def size(text: str) -> int:
    """Bytes, as transformers spells them: 4000, 200KB, 50MB or 5GB."""
    number = text.rstrip("BGKM")
    unit = text[len(number):]
    if not (number.isascii() and number.isdigit() and int(number)
            and unit in UNITS):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size such as 200KB, 50MB or 5GB")
    return int(number) * UNITS[unit]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tbq")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "dequantize", help="write a quantised checkpoint as a float32 "
        "directory that transformers reads")
    command.add_argument("source", type=Path, metavar="SRC")
    command.add_argument("destination", type=Path, metavar="DST")
    command.add_argument(
        "--max-shard-size", type=size, metavar="SIZE", help="write shards of "
        "at most SIZE (200KB, 50MB, 5GB) and their index (default: one file)")
    command.set_defaults(run=lambda a: dequantize_directory(
        a.source, a.destination, a.max_shard_size))
    for command in (prepare, generate):
        command.add_command(commands)
    arguments = parser.parse_args()
    try:
        arguments.run(arguments)
    except (CheckpointError, DataError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
