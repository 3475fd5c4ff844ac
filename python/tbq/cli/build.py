# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`tbq build`: a recipe to a verified artifact. Exit code 3: a check failed."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def _run(arguments: argparse.Namespace) -> int:
    # Only here: --help needs neither torch nor yaml.
    from tbq.build.recipe import RecipeError, read_recipe
    from tbq.build.steps import BuildError, Build
    from tbq.train.options import OptionError
    try:
        recipe = read_recipe(arguments.recipe)
        found = Build(recipe, arguments.tbqc).run()
    except (RecipeError, OptionError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.code
    print(f"{recipe.out / 'model.so'}: KL(PyTorch || compiled) {found.kl:.3g} "
          f"nats a token, same choice at {found.agreement:.1%}")
    return 0


def add_command(commands) -> None:
    command = commands.add_parser(
        "build", allow_abbrev=False, help="train or quantise, compile and "
        "verify, as a recipe says")
    command.add_argument("recipe", type=Path, metavar="RECIPE.yaml")
    command.add_argument("--tbqc", type=Path, metavar="FILE", help="the "
                         "compiler, tbq-verify and tbq-logits beside it "
                         "(default: those in PATH)")
    command.set_defaults(run=_run)
