# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The steps of a recipe, each a command of its own.

Input: Recipe. Output: OUT/run (training) or OUT/checkpoint, OUT/model.so, and
OUT/build.json, the record: recipe, training, what was verified, distances; it
is in the artifact's manifest too, and here with the commands and the hash.
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

    def _run(self, command: list[str], capture: bool = False) -> str:
        """What it prints, if `capture`."""
        self.commands.append(shlex.join(command))
        print(f"$ {self.commands[-1]}", file=sys.stderr, flush=True)
        result = subprocess.run(command, check=False, text=True,
                                stdout=subprocess.PIPE if capture else None)
        code = result.returncode
        if code:
            raise BuildError(f"exit code {code} of {self.commands[-1]}",
                             code if code > 0 else 1)
        return result.stdout

    def run(self) -> Distance:
        recipe = self.recipe
        recipe.out.mkdir(parents=True, exist_ok=True)
        (recipe.out / BUILD_RECORD).unlink(missing_ok=True)
        checkpoint = (recipe.out / "run/model" if recipe.make == "train"
                      else recipe.out / "checkpoint")
        self._run(make_command(recipe))
        artifact = recipe.out / "model.so"
        compiled = compile_command(recipe, self.tools["tbqc"], checkpoint,
                                   artifact)
        self._run(compiled)
        record = {"recipe": recipe.file.read_text(encoding="utf-8"),
                  "versions": versions(),
                  "training": _training_record(checkpoint),
                  "verification": self._verify(checkpoint)}
        ids = some_tokens(recipe.compare.tokens, _vocabulary(checkpoint),
                          recipe.compare.seed)
        logits = self._logits(artifact, ids)
        found = distance(reference_logits(checkpoint, ids), logits)
        bound = self._bound(checkpoint)
        if not found.kl <= bound:
            raise BuildError(
                f"{artifact}: KL(PyTorch || compiled) is {found.kl:.3g} nats a "
                f"token, above {bound:g}", 3)
        record["comparison"] = {**dataclasses.asdict(found), "max_kl": bound,
                                "tokens": len(ids)}
        self._compile_with(record, compiled)
        if not torch.equal(self._logits(artifact, ids), logits):
            raise BuildError(f"{artifact}: compiled again it gives other "
                             "logits", 2)
        write_json(recipe.out / BUILD_RECORD, {
            **record, "commands": self.commands,
            "artifact": {"file": artifact.name, "sha256": hashlib.sha256(
                artifact.read_bytes()).hexdigest()}})
        return found

    def _verify(self, checkpoint: Path) -> dict:
        """Operation by operation, on a twin of the artifact that shows them:
        by kind the largest deviations that were found."""
        with tempfile.TemporaryDirectory(dir=self.recipe.out) as folder:
            twin = Path(folder) / "model.so"
            self._run([*compile_command(self.recipe, self.tools["tbqc"],
                                        checkpoint, twin), "--dump-tensors"])
            found = json.loads(self._run(
                [str(self.tools["tbq-verify"]), "-m", str(twin),
                 str(checkpoint), "--json"], capture=True))
        kinds: dict[str, dict] = {}
        for operation in found["operations"]:
            kind = kinds.setdefault(operation["kind"], {
                "values": 0, "exact": operation["exact"], "relative": 0.0})
            kind["values"] += operation["values"]
            kind["relative"] = max(kind["relative"], operation["relative"])
        return {"tokens": found["tokens"], "operations": kinds,
                "logits": found["logits"]}

    def _bound(self, checkpoint: Path) -> float:
        """On the KL between PyTorch's logits and the artifact's."""
        if self.recipe.compare.max_kl is not None:
            return self.recipe.compare.max_kl
        stored = read_json(checkpoint / "config.json")["quantization_config"]
        activations = self.recipe.flags.get("activations",
                                            [stored["activations"]])[0]
        return MAX_KL[activations]

    def _logits(self, artifact: Path, ids: list[int]) -> torch.Tensor:
        """The compiled model's, float32 [len(ids), V]."""
        with tempfile.TemporaryDirectory(dir=self.recipe.out) as folder:
            tokens, logits = (Path(folder) / name
                              for name in ("tokens.txt", "logits.bin"))
            tokens.write_text(" ".join(map(str, ids)) + "\n",
                              encoding="utf-8")
            self._run([str(self.tools["tbq-logits"]), str(artifact), "--ids",
                       str(tokens), "--out", str(logits)])
            return torch.from_numpy(np.fromfile(logits, np.float32)).view(
                len(ids), -1)

    def _compile_with(self, record: dict, compiled: list[str]) -> None:
        """Compiles once more: the same artifact, with `record` in its
        manifest."""
        with tempfile.TemporaryDirectory(dir=self.recipe.out) as folder:
            path = Path(folder) / "record.json"
            write_json(path, record)
            self._run([*compiled, f"--record={path}"])


def _training_record(checkpoint: Path) -> dict | None:
    path = checkpoint / RECORD
    return read_json(path) if path.exists() else None


def _vocabulary(checkpoint: Path) -> int:
    return read_json(checkpoint / "config.json")["vocab_size"]
