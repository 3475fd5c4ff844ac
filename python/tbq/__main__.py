# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`tbq COMMAND`, or `python -m tbq COMMAND`. Exit codes: 0 ok, 1 the user's
error (2 a wrong command line, as argparse has it)."""

from __future__ import annotations

import argparse
import sys

from tbq.checkpoint import CheckpointError
from tbq.cli import (build, dequantize, evaluate, generate, prepare, quantize,
                     train)
from tbq.data.errors import DataError
from tbq.quant.errors import SpecError

COMMANDS = (prepare, generate, quantize, train, evaluate, build, dequantize)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tbq")
    commands = parser.add_subparsers(dest="command", required=True)
    for command in COMMANDS:
        command.add_command(commands)
    arguments = parser.parse_args()
    try:
        return arguments.run(arguments) or 0
    except (CheckpointError, DataError, SpecError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
