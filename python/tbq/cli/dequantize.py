# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`tbq dequantize`: a quantised checkpoint as a float32 directory."""

from __future__ import annotations

import argparse
from pathlib import Path

from tbq.checkpoint import dequantize_directory
from tbq.cli.size import size


def _run(arguments: argparse.Namespace) -> None:
    dequantize_directory(arguments.source, arguments.destination,
                         arguments.max_shard_size)


def add_command(commands) -> None:
    command = commands.add_parser(
        "dequantize", help="write a quantised checkpoint as a float32 "
        "directory that transformers reads")
    command.add_argument("source", type=Path, metavar="SRC")
    command.add_argument("destination", type=Path, metavar="DST")
    command.add_argument(
        "--max-shard-size", type=size, metavar="SIZE", help="write shards of "
        "at most SIZE (200KB, 50MB, 5GB) and their index (default: one file)")
    command.set_defaults(run=_run)
