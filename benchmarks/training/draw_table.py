# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Draws one stage of the table of trainings: KL on the held-out conversations against bits a weight.

Input:  the lines of run_table.py.
Output: a PNG, each row once, at the lowest KL of its rates or seeds; rows are numbered from the lowest up.

    python benchmarks/training/draw_table.py --stage sweep benchmarks/training/measured/table.jsonl docs/training-sweep.png
"""

import argparse
import json
import pathlib


def points_of(lines, stage):
    """(bits, KL, row), from the lowest KL up."""
    best = {}
    for line in lines:
        if line["stage"] == stage and line["kl"] is not None:
            point = line["kl"], line["bits_of_linears"]
            best[line["row"]] = min(best.get(line["row"], point), point)
    return sorted((bits, kl, row) for row, (kl, bits) in best.items())


def labels_of(points):
    """(bits, KL, numbers): points by their rank in KL; those with as many bits whose KL is within 3 % of the first one's
    share a label."""
    ranks = {point: rank for rank, point in enumerate(sorted(points, key=lambda point: point[1]), 1)}
    labels = []
    for point in points:
        bits, kl, _ = point
        last = labels[-1] if labels else None
        if last and abs(last[0] - bits) < 0.01 and kl < 1.03 * last[1]:
            last[2].append(ranks[point])
        else:
            labels.append((bits, kl, [ranks[point]]))
    return labels


def draw(points, title, path):
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker

    figure, axes = pyplot.subplots(figsize=(10, 6), dpi=100)
    axes.plot([p[0] for p in points], [p[1] for p in points], "o", mfc="none")
    for bits, kl, numbers in labels_of(points):
        left = any(0.01 < other[0] - bits < 0.22 for other in points)  # where a column is near on the right
        axes.annotate(", ".join(map(str, numbers)), (bits, kl), xytext=(-7 if left else 7, 0),
                      textcoords="offset points", fontsize=8, va="center", ha="right" if left else "left")
    names = [f"{rank:2}  {row}" for rank, (_, _, row) in enumerate(sorted(points, key=lambda p: p[1]), 1)]
    axes.text(1.02, 1, "\n".join(names), transform=axes.transAxes, va="top", fontsize=8, family="monospace")
    axes.set(xlabel="bits a weight of the block linears, on disk", ylabel="KL(teacher || student), nats a token",
             yscale="log", title=title)
    for which in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        which(ticker.FormatStrFormatter("%g"))
    axes.margins(x=0.1)
    axes.grid(alpha=0.3, which="both")
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("png", type=pathlib.Path)
    parser.add_argument("--stage", choices=["sweep", "final", "quantized"], required=True)
    arguments = parser.parse_args()
    lines = [json.loads(line) for line in arguments.results.read_text(encoding="utf-8").splitlines()]
    points = points_of(lines, arguments.stage)
    if not points:
        parser.error(f"{arguments.results}: has no line of the stage {arguments.stage}")
    draw(points, f"{arguments.stage}: each row's best of its rates or seeds", arguments.png)


if __name__ == "__main__":
    main()
