# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Draws results as a roofline: operations a second over operations a byte, below the two limits.

Input:  results of results.py.
Output: a PNG, one panel for each number of threads.
Holds:  a prompt's bytes are those of one decode step, read once for the whole prompt.
"""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plot

from results import LIMITS, threadsOf

SHAPES = "osD^vPX"


def bytesOfStep(result, results):
    """Of the same program's decode step in the same row."""
    same = ("row", "program", "threads")
    for other in results:
        if "bytes_per_token" in other and all(other[part] == result[part] for part in same):
            return other["bytes_per_token"]
    return None


def pointOf(result, results):
    """(operations a byte, tera-operations a second), or nothing where either is not known."""
    size = bytesOfStep(result, results)
    if size is None or "tera_operations_per_second" not in result:
        return None
    tokens = int(result["test"][2:]) if result["test"].startswith("pp") else 1
    return result["operations_per_token"] * tokens / size, result["tera_operations_per_second"]


def drawLimits(axes, results, reach):
    bandwidth = max((r.get(LIMITS["tg"], 0) for r in results), default=0) / 1e3
    peak = max((r.get(LIMITS["pp"], 0) for r in results), default=0)
    if bandwidth:
        end = min(reach[1], peak / bandwidth if peak else reach[1])
        axes.plot([reach[0], end], [reach[0] * bandwidth, end * bandwidth], "k-", lw=1)
        axes.annotate(f"{1e3 * bandwidth:.1f} GB/s", (reach[0], reach[0] * bandwidth))
    if peak:
        begin = max(reach[0], peak / bandwidth if bandwidth else reach[0])
        axes.plot([begin, reach[1]], [peak, peak], "k-", lw=1)
        axes.annotate(f"vpdpbusd {peak:.2f} Top/s", (begin, peak), va="bottom")


def draw(results, path):
    threads = sorted({result["threads"] for result in results})
    rows = list(dict.fromkeys(result["row"] for result in results))
    figure, panels = plot.subplots(
        1, len(threads), figsize=(7 * len(threads), 5.5), sharey=True, squeeze=False
    )
    for axes, count in zip(panels[0], threads):
        shown = [result for result in results if result["threads"] == count]
        points = [(r, point) for r in shown if (point := pointOf(r, results))]
        if points:
            places = [point[0] for _, point in points]
            drawLimits(axes, shown, (min(places) / 2, max(places) * 2))
        for result, point in points:
            axes.plot(
                *point, SHAPES[rows.index(result["row"]) % len(SHAPES)],
                color="tab:red" if result["ours"] else "tab:gray",
            )  # fmt: skip
        for shape, row in zip(SHAPES, rows):
            axes.plot([], [], shape, color="white", markeredgecolor="black", label=row)
        axes.plot([], [], "s", color="tab:red", label="ours")
        axes.plot([], [], "s", color="tab:gray", label="peers")
        axes.set(xscale="log", yscale="log", title=threadsOf(count))
        axes.set(xlabel="operations a byte of information", ylabel="tera-operations a second")
        axes.legend(fontsize="small", loc="lower right")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plot.close(figure)
