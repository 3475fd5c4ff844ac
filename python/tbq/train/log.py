# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a run says: lines of JSON, TensorBoard, progress, curves.

Input: figures by step. Output: RUN/log.jsonl, RUN/tensorboard (if its package
is installed), lines on stderr, RUN/curves.png (if matplotlib is). Invariant: a
step has its lines once, in order: a run that continues drops those of steps
that are done again.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

LOG, CURVES = "log.jsonl", "curves.png"


def read_log(path: Path) -> list[dict]:
    """The lines of a log; a last line that a kill cut short is left out."""
    lines = []
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
    return lines


def duration(seconds: float) -> str:
    """"1 h 02 min", "3 min 05 s" or "7 s"."""
    whole = max(0, round(seconds))
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _tensorboard(directory: Path, step: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        print("note: no TensorBoard files: the package tensorboard is not "
              "installed", file=sys.stderr)
        return None
    return SummaryWriter(str(directory), purge_step=step)


class Log:
    """Of rank 0. step: the step that the run starts or continues at."""

    def __init__(self, directory: Path, step: int):
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / LOG
        kept = [line for line in read_log(self.path) if line["step"] <= step]
        temporary = self.path.with_name(LOG + ".tmp")
        temporary.write_text("".join(json.dumps(line) + "\n" for line in kept),
                             encoding="utf-8")
        os.replace(temporary, self.path)
        self.board = _tensorboard(directory / "tensorboard", step)

    def write(self, kind: str, step: int, figures: dict[str, float]) -> None:
        """kind: "train" or "held-out"."""
        line = {"kind": kind, "step": step, **figures}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.board is not None:
            for name, value in figures.items():
                self.board.add_scalar(f"{kind}/{name}", value, step)

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        if self.board is not None:
            self.board.close()
        if not draw_curves(self.path):
            self.say("note: no curves.png: the package matplotlib is not "
                     "installed")


def draw_curves(log: Path) -> bool:
    """curves.png beside `log`: every figure over steps, training and held-out
    ones of one name in one panel. False without matplotlib."""
    try:
        import matplotlib
    except ImportError:
        return False
    matplotlib.use("Agg")
    from matplotlib import pyplot
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for line in read_log(log):
        for name, value in line.items():
            if name not in ("kind", "step") and isinstance(value, (int, float)):
                series.setdefault(name, {}).setdefault(line["kind"], []).append(
                    (line["step"], value))
    if not series:
        return True
    columns = min(3, len(series))
    figure, axes = pyplot.subplots(
        -(-len(series) // columns), columns, squeeze=False,
        figsize=(5 * columns, 3 * -(-len(series) // columns)))
    for axis in axes.flat[len(series):]:
        axis.set_visible(False)
    for axis, (name, kinds) in zip(axes.flat, series.items()):
        for kind, points in kinds.items():
            axis.plot(*zip(*points), label=kind, linewidth=1,
                      marker="." if kind == "held-out" else None)
        axis.set_title(name)
        axis.set_xlabel("step")
        axis.legend()
    figure.tight_layout()
    temporary = log.with_name("curves.tmp.png")
    figure.savefig(temporary, dpi=100)
    pyplot.close(figure)
    os.replace(temporary, log.with_name(CURVES))
    return True
