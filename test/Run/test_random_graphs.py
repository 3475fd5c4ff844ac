# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""RELIABILITY R14 and R19: random graphs, compiled for three processors, do what the
interpreter does, operation by operation; integers bit for bit.

A failure names the seed: `python test/Run/random_graphs.py SEED DIRECTORY` writes its module and
says the kind of activations, the processor, the workers and the tokens of a prefill step.
"""

import json
import os
import shutil

import numpy
import pytest

import random_graphs
from conftest import LONG, runTool
from test_verify import EXACT

SEEDS = 1000 if LONG else 3
BLOCK = 25  # seeds of one test
TOKENS, DECODED = 24, 3  # that tbq-verify runs by itself, and those of them one by one
# A sum that cancels has no bound relative to itself, and silu below -88 is 0, not 1e-37, however large
# what it gates. A wrong tail, group or scale is off by far more.
BOUNDS = ("--rtol", 1e-3, "--atol", 1e-28)


def lacks(processor):
    """Whether this machine cannot run what is compiled for it."""
    if processor == "native":
        return False
    if os.uname().machine != "x86_64":
        return True
    with open("/proc/cpuinfo") as file:
        flags = next(line for line in file if line.startswith("flags")).split()
    return processor == "x86-64-v3" and not {"avx2", "fma", "bmi2", "movbe"} <= set(flags)


def check(seed, folder):
    """What is wrong with one seed's graph, in lines."""
    _, processor, workers = random_graphs.settings(seed)
    module, artifact = folder / "graph.mlir", folder / "model.so"
    source = (module, f"--checkpoint={folder}")
    chunk = f"--prefill-chunk={random_graphs.chunk(seed)}"
    compiled = runTool("tbqc", *source, "--dump-tensors", f"--mcpu={processor}", chunk, "-o", artifact)
    if compiled.returncode:
        return compiled.stderr.splitlines()
    result = runTool(
        "tbq-verify", "-m", artifact, *source, "--json", "-t", workers, "--logits", folder / "logits", *BOUNDS
    )
    # What cancels in one operation is all that the next norm has to go by: logits have no bound here.
    wrong = [line for line in result.stderr.splitlines() if "tbq-verify: logits: " not in line]
    if result.returncode not in (0, 3):
        return [*wrong, f"exit code {result.returncode}"]
    for operation in json.loads(result.stdout)["operations"]:
        if operation["kind"] in EXACT and (operation["differing"] or not operation["exact"]):
            wrong.append(f"{operation['layer']}: {operation['kind']}: {operation['differing']} values differ")
    if not numpy.isfinite(numpy.fromfile(folder / "logits")).all():
        wrong.append("not a finite number: what is compared after it proves nothing")
    return wrong


def casesOf(seed, linears):
    """(M, N, K, scheme, group, activations, processor) of the linears of one seed."""
    chunk, prefilled = random_graphs.chunk(seed), TOKENS - DECODED
    steps = {1, min(chunk, prefilled), prefilled % chunk} - {0}
    return {
        (tokens, linear.rows, linear.columns, linear.scheme, linear.group, *random_graphs.settings(seed)[:2])
        for linear in linears
        for tokens in steps
    }


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_random_graphs(first, tmp_path, measure):
    failures, cases = {}, set()
    for seed in range(first, min(first + BLOCK, SEEDS)):
        if lacks(random_graphs.settings(seed)[1]):
            continue
        folder = tmp_path / str(seed)
        cases |= casesOf(seed, random_graphs.makeGraph(seed, folder))
        if wrong := check(seed, folder):
            failures[f"python test/Run/random_graphs.py {seed} DIRECTORY"] = wrong
        shutil.rmtree(folder)
    measure("cases of a linear", len(cases))
    assert not failures, json.dumps(failures, indent=1)


def test_what_the_seeds_cover(tmp_path, measure):
    """All tails of N and K; all pairs of scheme, group, activations and processor; without compiling."""
    cases = set()
    for seed in range(max(SEEDS, 130)):
        cases |= casesOf(seed, random_graphs.makeGraph(seed, tmp_path))
    measure("cases of a linear", len(cases))
    assert not LONG or len({case[:3] for case in cases}) >= 10_000
    sizes = set(range(1, random_graphs.LARGEST_SIZE + 1))
    assert sizes <= {case[1] for case in cases} and sizes <= {case[2] for case in cases}
    settings = {(case[3], "row" if case[4] == case[2] else case[4], *case[5:]) for case in cases}
    values = (random_graphs.SCHEMES[1:], random_graphs.GROUPS, random_graphs.MODES, random_graphs.PROCESSORS)
    for first in range(len(values)):
        for second in range(first):
            pairs = {(setting[first], setting[second]) for setting in settings}
            assert pairs >= {(a, b) for a in values[first] for b in values[second]}, (first, second)
