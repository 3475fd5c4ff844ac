# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Compares a run of the benchmark with an earlier one, by what holds across machines: our share of
the limit and our ratio to the best peer, never tokens/s.

Input:  two files of bench.py's, and the least part of the earlier figure that passes.
Output: a line for each figure that fell short; exit code 3 if there is any, 1 where the files have
        nothing in common.
Holds:  a program, a share or a ratio that the earlier run had in a row measured now must be there.
"""

import argparse
import json
import pathlib
import sys

from results import keyOf, threadsOf

FIGURES = {"share": "share of the limit", "over_best_peer": "ratio to the best peer"}


def nameOf(result):
    threads = threadsOf(result["threads"])
    return f"{result['row']}: {result['program']}: {result['test']}, {threads}"


def compare(earlier, now, ratio):
    """What fell short, and how many figures were compared."""
    rows = {result["row"] for result in now}
    found = {keyOf(result): result for result in now}
    failures, compared = [], 0
    for old in (r for r in earlier if r["ours"] and r["row"] in rows):
        new = found.get(keyOf(old))
        if new is None:
            failures.append(f"{nameOf(old)}: not measured")
            continue
        for field in (field for field in FIGURES if field in old):
            compared += 1
            if field not in new:
                failures.append(f"{nameOf(old)}: no {FIGURES[field]}; it was {old[field]:.2f}")
            elif new[field] < ratio * old[field]:
                failures.append(
                    f"{nameOf(old)}: {FIGURES[field]} {new[field]:.2f}, was {old[field]:.2f}"
                    f" (least: {ratio:g} of that)"
                )
    return failures, compared


def readResults(path):
    try:
        return json.loads(path.read_text())["results"]
    except (OSError, ValueError, KeyError) as error:
        raise SystemExit(f"gate: {path}: not a file of benchmarks/bench.py: {error}")


def gate(name, earlier, now, ratio):
    failures, compared = compare(earlier, now, ratio)
    if not compared and not failures:
        print(f"gate: {name} has none of the rows measured", file=sys.stderr)
        return 1
    for failure in failures:
        print(f"gate: {failure}", file=sys.stderr)
    print(f"gate: {compared} figures compared with {name}, {len(failures)} fell short")
    return 3 if failures else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("baseline", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--ratio", type=float, default=0.9)
    arguments = parser.parse_args()
    earlier, now = (readResults(path) for path in (arguments.baseline, arguments.results))
    return gate(arguments.baseline, earlier, now, arguments.ratio)


if __name__ == "__main__":
    sys.exit(main())
