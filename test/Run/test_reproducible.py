# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""RELIABILITY R16: the same input and flags give the same bytes, 20 of 20, whatever is around them.

make check takes 5 of the 20, each with a locale, folder and processors of its own.
"""

import hashlib
import itertools
import os

from conftest import LONG, runGood

NAME = "tied-f32"
FLAGS = ("--quantize=ternary:g64", "--activations=i8", "--embedding=int8:g32")
LOCALES = ("C", "C.UTF-8", "de_DE.UTF-8", "tr_TR.UTF-8", "")


def surroundings(folder):
    """20 of working folder, locale, processors, and what else an environment says."""
    processors = sorted(os.sched_getaffinity(0))
    for number, (locale, turn) in enumerate(itertools.product(LOCALES, range(4))):
        environment = {**os.environ, "LC_ALL": locale, "LANG": locale, "TZ": f"UTC{number % 12}"}
        environment["HOME"] = str(folder / f"home{number}")
        environment[f"UNUSED_{'X' * 50 * number}"] = "1"  # moves the stack
        yield environment, processors[: 1 + (turn + number // 4) % 2]


def test_twenty_of_twenty(model_directory, tmp_path):
    directory = model_directory(NAME)
    hashes = []
    every = enumerate(surroundings(tmp_path))
    for number, (environment, processors) in every if LONG else itertools.islice(every, 0, 20, 4):
        folder = tmp_path / ("deeper/" * (number % 5)) / f"run{number}"
        folder.mkdir(parents=True)
        given = directory if number % 2 else os.path.relpath(directory, folder)
        runGood("tbqc", given, "-o", "model.so", *FLAGS, folder=folder, env=environment,
                preexec_fn=lambda: os.sched_setaffinity(0, processors))  # fmt: skip
        hashes.append(hashlib.sha256((folder / "model.so").read_bytes()).hexdigest())
    assert len(hashes) == (20 if LONG else 5) and len(set(hashes)) == 1, hashes
