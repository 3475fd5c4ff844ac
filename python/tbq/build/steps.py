# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The steps of a recipe, each a command of its own.

Input: Recipe. Output: OUT/run (training) or OUT/checkpoint, OUT/model.so, and
OUT/build.json, the record: recipe, commands, training, distances, hashes.
Invariant: the record is written last, and only of an artifact that every check
passed; a failed one keeps what was made, for a look at it. A run of training
that was interrupted continues.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from tbq.build.compare import (Distance, distance, reference_logits,
                               some_tokens)
from tbq.build.recipe import MAX_KL, Recipe
from tbq.checkpoint import write_json
from tbq.checkpoint.files import read_json
from tbq.train.export import RECORD, versions

BUILD_RECORD = "build.json"


class BuildError(RuntimeError):
    """A step failed; code: the exit code of the whole."""

    def __init__(self, detail: str, code: int = 1):
        super().__init__(detail)
        self.code = code


def find_tool(name: str, tbqc: Path | None) -> Path:
    """Beside the given tbqc, else in PATH."""
    if tbqc is not None:
        path = tbqc if name == "tbqc" else tbqc.parent / name
        if path.is_file():
            return path.resolve()
        raise BuildError(f"{path}: there is no {name}")
    found = shutil.which(name)
    if found is None:
        raise BuildError(f"{name}: not in PATH; say where it is with --tbqc")
    return Path(found)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def make_command(recipe: Recipe) -> list[str]:
    """`tbq train` or `tbq quantize` with the recipe's options."""
    command = [sys.executable]
    if recipe.ranks > 1:
        command += ["-m", "torch.distributed.run", "--standalone",
                    "--nproc-per-node", str(recipe.ranks)]
    command += ["-m", "tbq", recipe.make]
    if recipe.make == "train":
        command += ["--teacher", str(recipe.model),
                    "--out", str(recipe.out / "run")]
    else:
        command += [str(recipe.model), "--out", str(recipe.out / "checkpoint")]
    for name, words in recipe.options.items():
        if words == ["true"]:
            command.append(_flag(name))
        elif words == ["false"]:
            command.append(_flag("no_" + name))
        else:
            command += [_flag(name), *words]
    return command


def compile_command(recipe: Recipe, tbqc: Path, checkpoint: Path,
                    artifact: Path) -> list[str]:
    flags = [f"-O{words[0]}" if name == "O" else f"{_flag(name)}={words[0]}"
             for name, words in recipe.flags.items()]
    return [str(tbqc), str(checkpoint), "-o", str(artifact), *flags]


class Build:
    """One build of `recipe` with the tools beside `tbqc`, or those in PATH."""

    def __init__(self, recipe: Recipe, tbqc: Path | None):
        self.recipe = recipe
        self.tools = {name: find_tool(name, tbqc)
                      for name in ("tbqc", "tbq-verify", "tbq-logits")}
        self.commands: list[str] = []

    def _run(self, command: list[str]) -> None:
        self.commands.append(shlex.join(command))
        print(f"$ {self.commands[-1]}", file=sys.stderr, flush=True)
        code = subprocess.run(command, check=False).returncode
        if code:
            raise BuildError(f"exit code {code} of {self.commands[-1]}",
                             code if code > 0 else 1)

    def run(self) -> Distance:
        recipe = self.recipe
        recipe.out.mkdir(parents=True, exist_ok=True)
        (recipe.out / BUILD_RECORD).unlink(missing_ok=True)
        checkpoint = (recipe.out / "run/model" if recipe.make == "train"
                      else recipe.out / "checkpoint")
        self._run(make_command(recipe))
        artifact = recipe.out / "model.so"
        self._run(compile_command(recipe, self.tools["tbqc"], checkpoint,
                                  artifact))
        self._verify(checkpoint)
        found, bound = self._compare(checkpoint, artifact)
        if not found.kl <= bound:
            raise BuildError(
                f"{artifact}: KL(PyTorch || compiled) is {found.kl:.3g} nats a "
                f"token, above {bound:g}", 3)
        self._record(checkpoint, artifact, found, bound)
        return found

    def _verify(self, checkpoint: Path) -> None:
        """Operation by operation, on a twin of the artifact that shows them."""
        with tempfile.TemporaryDirectory(dir=self.recipe.out) as folder:
            twin = Path(folder) / "model.so"
            self._run([*compile_command(self.recipe, self.tools["tbqc"],
                                        checkpoint, twin), "--dump-tensors"])
            self._run([str(self.tools["tbq-verify"]), "-m", str(twin),
                       str(checkpoint)])

    def _compare(self, checkpoint: Path,
                 artifact: Path) -> tuple[Distance, float]:
        """(distance, the bound on its kl)."""
        compare = self.recipe.compare
        config = read_json(checkpoint / "config.json")
        activations = (self.recipe.flags.get("activations")
                       or [config["quantization_config"]["activations"]])[0]
        bound = (MAX_KL[activations] if compare.max_kl is None
                 else compare.max_kl)
        ids = some_tokens(compare.tokens, config["vocab_size"], compare.seed)
        tokens, logits = (self.recipe.out / name
                          for name in ("tokens.txt", "logits.bin"))
        tokens.write_text(" ".join(map(str, ids)) + "\n", encoding="utf-8")
        self._run([str(self.tools["tbq-logits"]), str(artifact), "--ids",
                   str(tokens), "--out", str(logits)])
        compiled = torch.from_numpy(np.fromfile(logits, np.float32)).view(
            len(ids), -1)
        for path in (tokens, logits):
            path.unlink()
        return distance(reference_logits(checkpoint, ids), compiled), bound

    def _record(self, checkpoint: Path, artifact: Path, found: Distance,
                bound: float) -> None:
        training = checkpoint / RECORD
        write_json(self.recipe.out / BUILD_RECORD, {
            "recipe": self.recipe.file.read_text(encoding="utf-8"),
            "commands": self.commands, "versions": versions(),
            "artifact": {"file": artifact.name, "sha256": hashlib.sha256(
                artifact.read_bytes()).hexdigest()},
            "comparison": {**dataclasses.asdict(found), "max_kl": bound,
                           "tokens": self.recipe.compare.tokens},
            "training": json.loads(training.read_text(encoding="utf-8"))
            if training.exists() else None})
