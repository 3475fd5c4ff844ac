# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""From runs to results: medians, shares of the limits, ratios to the best peer, a table of text.

Input:  runs, each a dictionary of row, program, ours, threads, round and what programs.py gives.
Output: results, one for each row, program, threads and test.
Holds:  all programs of a row are held against the same limits, the best of its runs; bytes and
        operations are the information's own: a peer does the operations that ours does. Runs beside
        which others were busy count only where a program has no other, and are marked with a star.
"""

import statistics

from machine import QUIET

LIMITS = {"tg": "limit_gb_per_second", "pp": "peak_tera_operations_per_second"}
KEY = ("row", "program", "threads", "test")


def keyOf(result):
    return tuple(result[part] for part in KEY)


def threadsOf(count):
    return "1 thread" if count == 1 else f"{count} threads"


def sameTest(result, other):
    return all(result[part] == other[part] for part in ("row", "threads", "test"))


def largest(runs, field):
    return max((run[field] for run in runs if field in run), default=0)


def resultOf(runs, beside):
    """Of the runs of one key, beside all runs of the same row, threads and test."""
    runs = [run for run in runs if run["others"] <= QUIET] or runs
    first = runs[0]
    samples = [sample for run in runs for sample in run["samples"]]
    speed = statistics.median(samples)
    result = {part: first[part] for part in KEY} | {
        "ours": first["ours"], "tokens_per_second": speed, "samples": samples,
        "others": max(run["others"] for run in runs),
    }  # fmt: skip
    kind = first["test"][:2]
    if "bytes_per_token" in first:
        cache = 0 if first["ours"] else largest(beside, "cache_bytes")
        result["bytes_per_token"] = first["bytes_per_token"] + cache
        result["gb_per_second"] = result["bytes_per_token"] * speed / 1e9
    if operations := largest(beside, "operations_per_token"):
        result["operations_per_token"] = operations
        result["tera_operations_per_second"] = operations * speed / 1e12
    limit = largest(beside, LIMITS[kind])
    reached = result.get("gb_per_second" if kind == "tg" else "tera_operations_per_second")
    if limit and reached:
        # AMX tiles are no vpdpbusd, and pass its peak. A peer does not say whether it has any.
        amx = any(run.get("machine", {}).get("amx") for run in beside)
        tiles = first.get("uses_tiles") if first["ours"] else amx
        valid = reached <= limit or (kind == "pp" and bool(tiles))
        result |= {LIMITS[kind]: limit, "share": reached / limit, "valid": valid}
    return result


def resultsOf(runs):
    grouped = {}
    for run in runs:
        grouped.setdefault(keyOf(run), []).append(run)
    results = [
        resultOf(group, [run for run in runs if sameTest(run, group[0])])
        for group in grouped.values()
    ]
    for result in results:
        peers = [r for r in results if sameTest(r, result) and not r["ours"]]
        if result["ours"] and peers:
            best = max(peers, key=lambda peer: peer["tokens_per_second"])
            result["best_peer"] = best["program"]
            result["over_best_peer"] = result["tokens_per_second"] / best["tokens_per_second"]
    return results


def cellOf(result):
    speed = result["tokens_per_second"]
    text = f"{speed:.0f}" if speed >= 100 else f"{speed:.1f}"
    notes = []
    if "share" in result:
        notes.append(f"{100 * result['share']:.0f} %" + ("" if result["valid"] else " INVALID"))
    if "over_best_peer" in result:
        notes.append(f"x {result['over_best_peer']:.2f}")
    mark = "\\*" if result["others"] > QUIET else ""
    return text + mark + (f" ({', '.join(notes)})" if notes else "")


def limitsOf(results):
    """The best of each kind for each number of threads, as a line of text."""
    parts = []
    for field, unit in ((LIMITS["tg"], "GB/s read"), (LIMITS["pp"], "Top/s of vpdpbusd")):
        found = [(r["threads"], r[field]) for r in results if field in r]
        best = {threads: max(v for t, v in found if t == threads) for threads, _ in sorted(found)}
        if best:
            parts.append(" / ".join(f"{value:.2f}" for value in best.values()) + f" {unit}")
    return ", ".join(parts)


def tableOf(row, results):
    """A row's results as Markdown: programs down, tests and threads across."""
    results = [result for result in results if result["row"] == row]
    columns = sorted({(r["test"][:2] == "tg", r["test"], r["threads"]) for r in results})
    programs = list(dict.fromkeys(r["program"] for r in results))
    cells = {(r["program"], r["test"], r["threads"]): cellOf(r) for r in results}
    lines = [
        f"{row}; limits, from fewest threads to most: {limitsOf(results)}",
        "",
        "| tokens/s | " + " | ".join(f"{test}, {threadsOf(t)}" for _, test, t in columns) + " |",
        "| --- |" + " --- |" * len(columns),
    ]
    for program in programs:
        values = [cells.get((program, test, threads), "") for _, test, threads in columns]
        lines.append(f"| {program} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"
