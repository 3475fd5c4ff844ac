# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Makes mistakes in the kernels, the lowering and the runtime, one at a time, and sees whether tests notice.

Input:  the source tree and what is built of it in TBQ_BUILD (build); scripts/mutants.py.
Output: a table: each mutant, caught by which test or survived, and seconds; exit code 1 if any
        survived, could not be built, or if a site is stale.
Holds:  the tree, the tools and their build are as before, on every exit but SIGKILL; after that
        --check names the site that was left mutated.
"""

import argparse
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import time

from mutants import MUTANTS

REPOSITORY = pathlib.Path(__file__).resolve().parents[1]
BUILD = os.environ.get("TBQ_BUILD", "build")
TOOLS = ("tbqc", "tbq-opt", "tbq-logits", "tbq-run", "tbq-runtime-test")
# A barrier or a loop that is wrong may never end; pytest ends a tool after 300 s by itself.
LIMIT = 1800
LIT = ("/usr/lib/llvm-22/bin/lit", "-q", "--max-failures=1", "--filter=(CPU|Lower|Pack)/", f"{BUILD}/test")
# Whole synthetic models: each op against the interpreter, then logits, then all orders of workers.
PYTEST = (
    f"{BUILD}/venv/bin/python", "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider",
    "-k", "not smollm2 and not tinystories and not default and not x86-64-v3 or same_bits",
    "test/Run/test_verify.py::test_operations",
    "test/Run/test_embedding.py::test_stored",
    "test/Run/test_models.py::test_logits",
    "test/Run/test_operations.py",
    "test/Run/test_models.py::test_bitwise_equal",
    "test/Run/test_models.py::test_bitwise_equal_of_many_keys",
    "test/Run/test_i16.py",
    "test/Run/test_tune.py::test_same_bits",
    "test/Run/test_tune.py::test_digits_by_threes_have_the_same_bits",
    # Where scripts/aarch64.sh has built what it needs; skipped elsewhere.
    "test/Run/test_aarch64.py::test_logits_are_this_processors[+dotprod-binary:g96,salient=0.1-i8]",
)  # fmt: skip
LIT_GPU = (*LIT[:3], "--filter=GPU/", LIT[-1])
# A GPU's step, emulated.
EMULATED = (
    *PYTEST[:7],
    "-k", "few_logits or same_bits or warp_groups",
    "test/Run/test_gpu_step.py",
)  # fmt: skip
RUNTIME = (f"{BUILD}/bin/tbq-runtime-test", "--gtest_filter=Session.*:Sampler.*", "--gtest_brief=1")
BATCHES = (*PYTEST[:7], "test/Run/test_batch.py", "test/Run/test_gpu_step.py::test_a_token_is_chosen_of_few_logits")
# Of the mutants of a folder; in each, cheapest first. FAILED finds the name of the test that failed.
STEPS = {
    "lib/GPU/": {"lit": LIT_GPU, "pytest": EMULATED},
    "runtime/": {"gtest": RUNTIME, "pytest": BATCHES},
    "": {"lit": LIT, "pytest": PYTEST},
}
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)|^  (TBQ :: \S+)|^\[  FAILED  \] (\w+\.\w+)", re.MULTILINE)


def stepsOf(mutant, results):
    """The tests of it; results: without those that look at the text of the compiler's output, which
    any change of it alters."""
    steps = next(steps for folder, steps in STEPS.items() if mutant.file.startswith(folder))
    return {name: command for name, command in steps.items() if not (results and name == "lit")}


def findStale(root):
    """The names of mutants whose text does not occur once in their file."""
    texts = {}
    for mutant in MUTANTS.values():
        path = root / mutant.file
        if mutant.file not in texts:
            texts[mutant.file] = path.read_text(encoding="utf-8") if path.exists() else ""
    return [name for name, mutant in MUTANTS.items() if texts[mutant.file].count(mutant.text) != 1]


def run(command):
    """Exit code and output; None where it took too long. What it started ends with it."""
    environment = {**os.environ, "PYTHONPATH": "python"}
    process = subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, text=True, errors="replace",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    try:
        output = process.communicate(timeout=LIMIT)[0]
        return process.returncode, output
    except subprocess.TimeoutExpired:
        return None, ""
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def build():
    process = subprocess.run(
        ["ninja", "-C", BUILD, *TOOLS], cwd=REPOSITORY, capture_output=True, text=True
    )
    return process.returncode == 0


def findFailure(steps):
    """The first test that fails; None if all pass."""
    for step, command in steps.items():
        code, output = run(command)
        if code is None:
            return f"{step}: no end within {LIMIT} s"
        if code != 0:
            found = FAILED.search(output)
            return next(filter(None, found.groups())) if found else f"{step}: exit code {code}"
    return None


class Mutated:
    """The tree with one mistake in it."""

    def __init__(self, mutant):
        self.mutant = mutant
        self.path = REPOSITORY / mutant.file
        self.before = self.path.read_bytes()

    def __enter__(self):
        text = self.before.decode("utf-8").replace(self.mutant.text, self.mutant.replacement)
        self.path.write_bytes(text.encode("utf-8"))

    def __exit__(self, *_):
        self.path.write_bytes(self.before)


def tryMutant(name, steps):
    """What became of it, and whether that is as it should be."""
    with Mutated(MUTANTS[name]):
        if not build():
            return "does not build", False
        failure = findFailure(steps)
    return (f"caught by {failure}", True) if failure else ("SURVIVED", False)


def choose(arguments):
    names = arguments.only or list(MUTANTS)
    for name in names:
        if name not in MUTANTS:
            raise SystemExit(f"mutate.py: no mutant '{name}'")
    if arguments.draw is None:
        return names
    return random.Random(arguments.seed).sample(names, min(arguments.draw, len(names)))


def tryAll(names, results, sure):
    """The exit code."""
    bad = []
    steps = {name: stepsOf(MUTANTS[name], results) for name in names}
    try:
        failure = None if build() else "the build fails"
        tried = []
        for each in steps.values():
            if not sure and not failure and each not in tried:
                failure = findFailure(each)
                tried.append(each)
        if failure:
            raise SystemExit(f"mutate.py: without any mutant: {failure}")
        for name in names:
            begin = time.monotonic()
            outcome, good = tryMutant(name, steps[name])
            bad += [] if good else [name]
            print(f"{name:20} {time.monotonic() - begin:5.0f} s  {outcome}", flush=True)
            if not good:
                print(f"{'':29}{MUTANTS[name].file}: {MUTANTS[name].breaks}", flush=True)
    finally:
        build()
    print(f"{len(names)} mutants, {len(bad)} not caught{':' if bad else ''} {' '.join(bad)}".rstrip())
    return 1 if bad else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only whether every site is still there")
    parser.add_argument("--list", action="store_true", help="only the mutants that would be tried")
    parser.add_argument("--draw", type=int, metavar="N", help="try N of them")
    parser.add_argument("--seed", type=int, default=1, help="which N")
    parser.add_argument("--only", action="append", metavar="NAME", help="try this one; may be repeated")
    parser.add_argument("--results", action="store_true", help="without lit: tests of results alone")
    parser.add_argument("--sure", action="store_true", help="the tests pass without a mutant")
    arguments = parser.parse_args()
    names = choose(arguments)
    stale = findStale(REPOSITORY)
    for name in stale:
        print(f"{MUTANTS[name].file}: the text of mutant '{name}' does not occur once")
    if stale or arguments.check:
        print(f"{len(MUTANTS)} mutants, {len(stale)} stale")
        return 1 if stale else 0
    if arguments.list:
        for name in names:
            print(f"{name:20} {MUTANTS[name].file}: {MUTANTS[name].breaks}")
        return 0
    # An exit that runs what restores the tree.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit("mutate.py: ended by a signal"))
    return tryAll(names, arguments.results, arguments.sure)


if __name__ == "__main__":
    sys.exit(main())
