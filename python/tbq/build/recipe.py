# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A recipe: everything that makes an artifact, in one YAML file.

    model: models/float          the float model
    out: build/mine              where everything goes
    train:                       options of `tbq train`, with _ for -; or
    quantize:                    options of `tbq quantize`
      scheme: dlt:g64
    compile: {context: 2048}     flags of tbqc, with _ for -
    compare: {tokens: 64, max_kl: 0.001}

Input: the file. Output: Recipe, whose sections hold command line words.
Invariant: an unknown key is refused by its name; paths are relative to the
recipe.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Callable

from tbq.train.options import Options
from tbq.train.sources import parse_source

# Where max_kl is not given: bounds that catch mistakes, not measurements. i8
# rounds every activation; f32 and i16 stay within the noise of floats.
MAX_KL = {"f32": 1e-5, "i16": 1e-3, "i8": 0.2}
TRAIN = {f.name for f in fields(Options)} - {"teacher", "out"} | {"ranks"}
QUANTIZE = {"scheme", "policy", "embedding", "method", "calibration", "samples",
            "length", "damping", "block", "chunk", "hidden_type", "device",
            "activations", "max_shard_size"}
COMPILE = {"activations", "context", "kv_cache", "mattr", "mcpu", "mtriple",
           "prefill_chunk", "weights", "O"}
COMPARE = {"tokens", "max_kl", "seed"}
_PATHS = {"policy", "calibration", "held_out"}
_SECTIONS = {"train": TRAIN, "quantize": QUANTIZE, "compile": COMPILE,
             "compare": COMPARE}


class RecipeError(ValueError):
    """One line: FILE: FIELD: detail."""

    def __init__(self, file: Path, name: str, detail: str):
        super().__init__(" ".join(f"{file}: {name}: {detail}".split("\n")))


@dataclass(frozen=True)
class Comparison:
    """tokens: how many random ones are read; max_kl: nats a token, None for
    that of MAX_KL."""

    tokens: int = 64
    max_kl: float | None = None
    seed: int = 1


@dataclass(frozen=True)
class Recipe:
    """file: its own path. make: "train" or "quantize". options: that section's
    words by name, paths resolved; flags: tbqc's words by name."""

    file: Path
    model: Path
    out: Path
    make: str
    options: dict[str, list[str]]
    flags: dict[str, list[str]]
    compare: Comparison = field(default_factory=Comparison)
    ranks: int = 1


def _words(value: object, name: str, fail: Callable[..., RecipeError]
           ) -> list[str]:
    values = value if isinstance(value, list) else [value]
    for each in values:
        if not isinstance(each, (str, int, float, bool)):
            raise fail(name, f"{each!r} is not a word, a number or a list of "
                       "them")
    return [str(each).lower() if isinstance(each, bool) else str(each)
            for each in values]


def _resolved(name: str, words: list[str], folder: Path) -> list[str]:
    """Paths relative to the recipe; a source of data keeps its share."""
    if name == "data":
        sources = [parse_source(word) for word in words]
        return [f"{folder / path}:{share:g}" for path, share in sources]
    return [str(folder / word) for word in words] if name in _PATHS else words


def _comparison(values: dict, fail: Callable[..., RecipeError]) -> Comparison:
    result = Comparison(**values)
    for name, kinds in (("tokens", (int,)), ("seed", (int,)),
                        ("max_kl", (int, float, type(None)))):
        value = getattr(result, name)
        if type(value) not in kinds or (value is not None and value < 0):
            raise fail(f"compare.{name}", f"{value!r} is not a number from 0 "
                       "on")
    if not result.tokens:
        raise fail("compare.tokens", "0 is not positive")
    return result


def read_recipe(file: Path) -> Recipe:
    import yaml

    def fail(name: str, detail: str) -> RecipeError:
        return RecipeError(file, name, detail)

    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise fail("file", str(error)) from error
    if not isinstance(values, dict):
        raise fail("file", "is not a mapping of keys")
    known = {"model", "out", *_SECTIONS}
    for name in values:
        if name not in known:
            raise fail(name, f"unknown key (known: {', '.join(sorted(known))})")
    for name in ("model", "out"):
        if not isinstance(values.get(name), str):
            raise fail(name, "is missing or not a path")
    sections = {}
    for section, names in _SECTIONS.items():
        given = values.get(section, {})
        if not isinstance(given, dict):
            raise fail(section, "is not a mapping of keys")
        for name in given:
            if name not in names:
                raise fail(f"{section}.{name}", "unknown key (known: "
                           f"{', '.join(sorted(names))})")
        sections[section] = given
    made = [name for name in ("train", "quantize") if name in values]
    if len(made) != 1:
        raise fail("train", "give exactly one of train and quantize")
    folder, options = file.resolve().parent, dict(sections[made[0]])
    ranks = options.pop("ranks", 1)
    if type(ranks) is not int or ranks < 1:
        raise fail("train.ranks", f"{ranks!r} is not a positive integer")
    return Recipe(
        file, folder / values["model"], folder / values["out"], made[0],
        {name: _resolved(name, _words(value, f"{made[0]}.{name}", fail), folder)
         for name, value in options.items() if value is not None},
        {name: _words(value, f"compile.{name}", fail)
         for name, value in sections["compile"].items()},
        _comparison(sections["compare"], fail), ranks)
