# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`tbq train`: a quantised student of a float teacher.

Every field of tbq.train.options.Options is a flag. Under torchrun every process
is given the same command. A run that finds its own checkpoints in --out
continues. Exit code 143: stopped by a signal, saved.
"""

from __future__ import annotations

import argparse
import sys
import typing
from dataclasses import MISSING, Field, fields

from tbq.cli.size import size
from tbq.train.options import OptionError, Options

STOPPED = 143
_SHORT = {"out": ("-o",)}


def _kind(field: Field, hints: dict[str, object]) -> type:
    """The type of one value: that of `int | None` is int."""
    hint = hints[field.name]
    kinds = [kind for kind in typing.get_args(hint) if kind is not type(None)]
    return kinds[0] if kinds else hint


def _add_flag(command: argparse.ArgumentParser, field: Field,
              kind: type) -> None:
    names = (*_SHORT.get(field.name, ()), "--" + field.name.replace("_", "-"))
    meaning = field.metadata["help"]
    if field.default not in (MISSING, None) and kind is not bool:
        meaning += f" (default: {field.default})"
    common = {"dest": field.name, "help": meaning.replace("%", "%%")}
    if kind is bool:
        command.add_argument(*names, action=argparse.BooleanOptionalAction,
                             default=field.default, **common)
        return
    if field.name == "max_shard_size":
        kind = size
    many = {"nargs": "+"} if field.name == "data" else {}
    command.add_argument(
        *names, type=kind, required=field.default is MISSING,
        default=None if field.default is MISSING else field.default,
        metavar=field.metadata.get("metavar", kind.__name__.upper()),
        **many, **common)


def _run(command: argparse.ArgumentParser,
         arguments: argparse.Namespace) -> int:
    values = {field.name: getattr(arguments, field.name)
              for field in fields(Options)}
    try:
        options = Options(**{**values, "data": tuple(values["data"])})
    except OptionError as error:
        command.error(str(error))
    # Only here: --help and a wrong flag need no torch.
    from tbq.train.driver import TrainingError, train
    from tbq.train.state import StateError
    try:
        outcome = train(options)
    except OptionError as error:
        command.error(str(error))
    except (StateError, TrainingError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0 if outcome.finished else STOPPED


def add_command(commands) -> None:
    command = commands.add_parser(
        "train", allow_abbrev=False,
        help="train a quantised student of a float teacher",
        description="Trains a quantised student of a float teacher; continues "
        "where --out has checkpoints of the same run.")
    hints = typing.get_type_hints(Options)
    for field in fields(Options):
        _add_flag(command, field, _kind(field, hints))
    command.set_defaults(run=lambda arguments: _run(command, arguments))
