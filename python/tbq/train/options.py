# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Every option of a training run, with its default and its meaning.

Input: values of a command line or a recipe. Output: Options, frozen. Invariant:
an Options that exists is valid by itself; an error names the option as it is
written on the command line. A field with MUST_STAY cannot change in a run that
is resumed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

LOSSES = ("off", "kd", "ce", "l2", "dad")
MUST_STAY = "must_stay"


class OptionError(ValueError):
    """One line: --OPTION: detail."""

    def __init__(self, name: str, detail: str):
        super().__init__(f"--{name.replace('_', '-')}: {detail}")


def _option(default, meaning: str, may_change: bool = False, **more):
    return field(default=default, metadata={
        "help": meaning, MUST_STAY: not may_change, **more})


def _required(meaning: str, may_change: bool = False, **more):
    return field(metadata={"help": meaning, MUST_STAY: not may_change, **more})


def parse_losses(text: str) -> dict[str, float]:
    """"off=2,kd=1" -> the weight of every loss of LOSSES, 0 if not named."""
    weights = dict.fromkeys(LOSSES, 0.0)
    for item in text.split(","):
        name, _, value = item.partition("=")
        if name not in LOSSES:
            raise OptionError("distill", f"{name!r} is not one of "
                              f"{', '.join(LOSSES)}")
        try:
            weights[name] = float(value)
        except ValueError:
            raise OptionError("distill", f"{item!r} is not {name}=NUMBER"
                              ) from None
        if not 0 <= weights[name] < float("inf"):
            raise OptionError("distill", f"{item!r} is negative or not finite")
    if not any(weights.values()):
        raise OptionError("distill", f"{text!r} gives every loss weight 0")
    return weights


def parse_layers(text: str, count: int) -> list[int] | None:
    """"all" -> None; "0-3,7" -> [0, 1, 2, 3, 7], each below `count`."""
    if text == "all":
        return None
    layers: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)):
            raise OptionError("off_layers", f"{part!r} is not a layer or a "
                              "range such as 0-28")
        layers |= set(range(int(first), int(last if dash else first) + 1))
    if not layers or max(layers) >= count:
        raise OptionError("off_layers", f"{text!r} is not within the layers 0 "
                          f"to {count - 1}")
    return sorted(layers)


@dataclass(frozen=True)
class Options:
    # A state names the teacher by its contents: directories may be moved.
    teacher: Path = _required("directory of the float model", may_change=True,
                              metavar="DIR")
    data: tuple[str, ...] = _required(
        "directory of token shards, and the share of the rows that come from "
        "it; shares count in proportion, 1 if not given", metavar="DIR[:SHARE]")
    out: Path = _required("directory of the run", may_change=True,
                          metavar="DIR")
    initial_weights: Path | None = _option(
        None, "what the student starts from: a directory of float weights; "
        "another run's, whose parameters it takes over; or a quantised "
        "checkpoint, from whose levels it starts (default: the teacher)",
        may_change=True, metavar="DIR")
    held_out: Path | None = _option(None, "directory of token shards to "
                                    "evaluate on", may_change=True,
                                    metavar="DIR")
    scheme: str = _option("dlt:g64,grid=learned", "how linears are quantised",
                          metavar="SPEC")
    policy: Path | None = _option(None, "file of lines PATTERN SPEC; first "
                                  "match wins, before --scheme", metavar="FILE")
    saliency_rows: int = _option(128, "rows of the data that saliency=hessian "
                                 "is computed from")
    embedding: str | None = _option(
        None, "int8:gN or int4:gN, for the embedding and the head (default: 16 "
        "bits)", metavar="SPEC")
    activations: str = _option("i16", "what the artifact multiplies quantised "
                               "weights with: f32, i16 or i8")

    distill: str = _option("off=8,kd=1", "losses and their weights: off, kd, "
                           "ce, l2, dad", metavar="NAME=WEIGHT,...")
    temperature: float = _option(1.0, "of kd and dad")
    dad_gamma: float = _option(0.1, "exponent of dad's entropies")
    off_layers: str = _option("all", "blocks of off and l2, such as 0-28,29")
    off_normalise: bool = _option(False, "divide each channel by the teacher's "
                                  "root mean square in off and l2")
    off_skip_first: bool = _option(False, "leave position 0 out of off and l2")
    off_decay: float = _option(0.0, "share of the run, at its end, over which "
                               "the weights of off and l2 fall to 0")
    chunk: int = _option(8192, "tokens whose logits exist at a time")

    tokens: int | None = _option(None, "budget: tokens of all ranks")
    steps: int | None = _option(None, "budget: optimiser steps")
    minutes: float | None = _option(None, "budget: time for the steps, turned "
                                    "into a count by timing a few")
    batch: int = _option(32, "rows a step, of all ranks")
    micro_batch: int = _option(0, "rows of a forward pass on a rank (0: all)")
    length: int = _option(512, "tokens a row")
    seed: int = _option(1, "of the order of the data")

    rate: float = _option(3e-3, "learning rate of the latent weights")
    schedule: str = _option("linear", "decay to 0: linear or cosine")
    warmup: float = _option(0.04, "share of the steps that warm up")
    beta1: float = _option(0.9, "AdamW's")
    beta2: float = _option(0.95, "AdamW's")
    decay: float = _option(0.0, "weight decay of the latent weights")
    clip: float = _option(1.0, "norm that the gradient of the latents and the "
                          "embedding is clipped to; that of scales and norms "
                          "apart")
    coefficient_rate: float = _option(0.3, "rate of scales and shifts, as a "
                                      "factor of --rate; 0: they stay as they "
                                      "are")
    norm_rate: float = _option(0.3, "the same of norms and biases")
    embedding_rate: float = _option(0.3, "the same of embedding and head")
    latent_rate: str = _option("equal", "equal, or rms: each latent's rate in "
                               "proportion to its root mean square")

    device: str = _option("auto", "cuda, cpu or auto", may_change=True)
    compile: bool = _option(False, "compile blocks, quantisers and losses, and "
                            "on a GPU start a step as one graph",
                            may_change=True)
    shard: bool = _option(False, "shard the blocks' parameters over the ranks "
                          "(FSDP2) instead of copying them", may_change=True)
    log_every: int = _option(10, "steps between lines of the log",
                             may_change=True)
    eval_every: int = _option(200, "steps between evaluations (0: only at the "
                              "end)", may_change=True)
    eval_tokens: int = _option(262144, "held-out tokens of an evaluation",
                               may_change=True)
    save_every: int = _option(500, "steps between checkpoints",
                              may_change=True)
    keep: int = _option(2, "checkpoints kept", may_change=True)
    max_shard_size: int | None = _option(
        None, "the exported tensors in files of at most SIZE", may_change=True,
        metavar="SIZE")

    def __post_init__(self):
        self._positive("batch", "length", "chunk", "log_every", "save_every",
                       "keep", "eval_tokens", "rate", "temperature", "clip",
                       "saliency_rows")
        for name in ("micro_batch", "eval_every", "decay", "dad_gamma", "seed",
                     "coefficient_rate", "norm_rate", "embedding_rate"):
            self._check(name, getattr(self, name) >= 0, "is negative")
        for name in ("warmup", "off_decay", "beta1", "beta2"):
            self._check(name, 0 <= getattr(self, name) < 1, "is not in [0, 1)")
        self._one_of("schedule", "linear", "cosine")
        self._one_of("latent_rate", "equal", "rms")
        self._one_of("activations", "f32", "i16", "i8")
        self._one_of("device", "auto", "cpu", "cuda")
        budgets = [name for name in ("tokens", "steps", "minutes")
                   if getattr(self, name) is not None]
        if len(budgets) != 1:
            raise OptionError("steps", "give exactly one of --tokens, --steps "
                              f"and --minutes, not {len(budgets)}")
        self._positive(*budgets)
        self._check("length", self.length > 1, "is not at least 2")
        if not self.data:
            raise OptionError("data", "give at least one directory")
        parse_losses(self.distill)

    def _check(self, name: str, good: bool, detail: str) -> None:
        if not good:
            raise OptionError(name, f"{getattr(self, name)} {detail}")

    def _positive(self, *names: str) -> None:
        for name in names:
            self._check(name, 0 < getattr(self, name) < float("inf"),
                        "is not a positive number")

    def _one_of(self, name: str, *known: str) -> None:
        self._check(name, getattr(self, name) in known,
                    f"is not one of {', '.join(known)}")

    @property
    def losses(self) -> dict[str, float]:
        return parse_losses(self.distill)

    def rows_of_rank(self, ranks: int) -> tuple[int, int]:
        """(rows a step, rows a forward pass) of each of `ranks` ranks."""
        if self.batch % ranks:
            raise OptionError("batch", f"{self.batch} rows are not a multiple "
                              f"of {ranks} ranks")
        rows = self.batch // ranks
        micro = self.micro_batch or rows
        if rows % micro:
            raise OptionError("micro_batch", f"{rows} rows of a rank are not a "
                              f"multiple of {micro}")
        return rows, micro

    def to_json(self) -> dict:
        return {name: str(value) if isinstance(value, Path) else
                list(value) if isinstance(value, tuple) else value
                for name, value in asdict(self).items()}

    def identity(self) -> dict:
        """What a resumed run must have the same."""
        values = self.to_json()
        return {f.name: values[f.name] for f in fields(self)
                if f.metadata[MUST_STAY]}
