# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Measures the rows of table.yaml, ours beside the peers whose programs are given.

Input:  the table; our tools; for each peer, in the variable the table names, its llama-bench.
Output: tables on stdout; --json, a file of the runs and results with machine, git and flags; --chart,
        a roofline; --baseline, the gate of gate.py. Exit code 1: the input, 3: the gate.
Holds:  programs take turns, so that a slow minute of the machine falls on all.
"""

import argparse
import datetime
import json
import os
import pathlib
import re
import sys

import yaml

import gate
import machine
import programs
from results import resultsOf, tableOf, threadsOf

HERE = pathlib.Path(__file__).resolve().parent
SHARED = ("rounds", "repetitions", "threads", "prompts", "generated")
FIELDS = {*SHARED, "model", "shape", "gguf", "ours", "peers"}


def readTable(path):
    """The table, each row complete by itself."""
    table = yaml.safe_load(path.read_text())
    rows = {}
    for name, row in table["rows"].items():
        unknown = sorted(set(row) - FIELDS)
        if unknown:
            raise SystemExit(f"bench: {path}: rows.{name}.{unknown[0]}: unknown field")
        if ("model" in row) == ("shape" in row):
            raise SystemExit(f"bench: {path}: rows.{name}: needs a model or a shape")
        if "shape" in row and row["shape"] not in programs.make_model.SIZES:
            raise SystemExit(f"bench: {path}: rows.{name}.shape: {row['shape']!r} is not known")
        for peer in row.get("peers", ()):
            if peer["peer"] not in table["peers"]:
                raise SystemExit(f"bench: {path}: rows.{name}: {peer['peer']!r} is no peer")
        shared = {field: table[field] for field in SHARED}
        rows[name] = {**shared, "peers": [], **row, "name": name}
    return table, rows


def chooseRows(table, rows, pattern):
    if not pattern:
        return [rows[name] for name in table["usual"]]
    chosen = [row for name, row in rows.items() if re.fullmatch(pattern, name)]
    if not chosen:
        raise SystemExit(f"bench: --rows={pattern}: none of {', '.join(rows)}")
    return chosen


def benchOf(peer, table):
    """The peer's llama-bench; nothing where its variable is not set."""
    variable = table["peers"][peer]
    path = os.environ.get(variable)
    if path and not os.access(path, os.X_OK):
        raise SystemExit(f"bench: {variable}: {path} is not a program")
    return pathlib.Path(path) if path else None


def programsOf(row, table, arguments):
    """Ours first, then the peers there are."""
    for name, flags in row["ours"].items():
        yield programs.Ours(name, flags, row, arguments.tools, arguments.limit_seconds)
    for peer in row["peers"]:
        if bench := benchOf(peer["peer"], table):
            yield programs.Peer(peer, bench, row)


def isThere(row):
    """A model that has to be fetched first may be missing, and then so is its row."""
    missing = [row[part] for part in ("model",) if part in row and not os.path.exists(row[part])]
    if missing:
        programs.say(f"{row['name']} left out: {missing[0]} is not there")
    return not missing


def measureOnce(program, row, threads, number):
    programs.say(f"{row['name']}, round {number}: {program.name}, {threadsOf(threads)}")
    with machine.Others() as others:
        found = list(program.run(threads))
    for run in found:
        yield run | {
            "row": row["name"], "program": program.name, "ours": program.ours, "threads": threads,
            "others": others.processors,
        }  # fmt: skip


def measure(row, members, arguments):
    runs = []
    for number in range(1, (arguments.rounds or row["rounds"]) + 1):
        for threads in arguments.threads or row["threads"]:
            with machine.exclusively(arguments.lock):
                machine.awaitQuiet(arguments.wait)
                for program in members:
                    runs += measureOnce(program, row, threads, number)
    return runs


def describeRun(arguments):
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        "time": now.isoformat(timespec="seconds"), "flags": sys.argv[1:], "load_average": os.getloadavg(),
        "peers": {k: v for k, v in os.environ.items() if k.startswith("PEER_")},
    }  # fmt: skip


def parseArguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    path = pathlib.Path
    build = path(os.environ.get("TBQ_BUILD", "build"))
    parser.add_argument("--table", type=path, default=HERE / "table.yaml")
    parser.add_argument("--tools", type=path, default=build / "bin", help="folder of tbqc, tbq-bench")
    parser.add_argument("--models", type=path, default=build / "bench", help="what is made lies there")
    parser.add_argument("--rows", help="regular expression; without it, the table's usual rows")
    parser.add_argument("--rounds", type=int, help="in place of the table's")
    parser.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")])
    parser.add_argument("--limit-seconds", type=float, default=0.2, help="for each limit in each run")
    parser.add_argument("--wait", type=float, default=10, help="most seconds for others to be quiet")
    parser.add_argument("--lock", type=path, help="file locked during each turn of the programs")
    parser.add_argument("--json", type=path)
    parser.add_argument("--chart", type=path)
    parser.add_argument("--baseline", type=path, help="an earlier --json, for the gate")
    parser.add_argument("--ratio", type=float, default=0.9, help="of the earlier figure: the least")
    return parser.parse_args()


def main():
    arguments = parseArguments()
    table, rows = readTable(arguments.table)
    # Before the long work, and before --json may write to the same file.
    earlier = gate.readResults(arguments.baseline) if arguments.baseline else []
    arguments.models.mkdir(parents=True, exist_ok=True)
    models = programs.Models(arguments.models)
    report = describeRun(arguments) | {"programs": [], "runs": [], "results": []}
    for row in filter(isThere, chooseRows(table, rows, arguments.rows)):
        members = list(programsOf(row, table, arguments))
        for program in members:
            program.prepare(models, arguments.table)
        runs = measure(row, members, arguments)
        ours = next(run for run in runs if run["ours"])
        report |= {"machine": ours["machine"], "git": ours["git"]}
        report["programs"] += [{"row": row["name"], **member.describe()} for member in members]
        report["runs"] += runs
        report["results"] += resultsOf(runs)
        print(tableOf(row["name"], report["results"]), flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    if arguments.chart:
        import chart  # matplotlib is for those who want a picture

        chart.draw(report["results"], arguments.chart)
    if arguments.baseline:
        return gate.gate(arguments.baseline, earlier, report["results"], arguments.ratio)
    return 0


if __name__ == "__main__":
    sys.exit(main())
