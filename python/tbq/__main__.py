# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`python -m tbq COMMAND`: work on checkpoints. Exit codes: 0 ok, 1 the
user's error."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tbq.checkpoint import CheckpointError, dequantize_directory


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tbq")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser(
        "dequantize", help="write a quantised checkpoint as a float32 "
        "directory that transformers reads")
    command.add_argument("source", type=Path, metavar="SRC")
    command.add_argument("destination", type=Path, metavar="DST")
    arguments = parser.parse_args()
    try:
        dequantize_directory(arguments.source, arguments.destination)
    except (CheckpointError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
