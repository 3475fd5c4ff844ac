# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Checkpoints of a run: a kill at any moment leaves a whole one.

    RUN/state/step-00000100/tensors.safetensors   parameters, Adam's moments,
                                                  random generators
    RUN/state/step-00000100/state.json            step, identity of the run
    RUN/state/latest.json                         names the directory to read

A new directory is written under a temporary name, brought to the disk, renamed
and only then named by latest.json, itself written and renamed. Older ones are
removed last. Invariant: latest.json, once there, names a whole checkpoint. No
pickle: the generators' states are byte tensors.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from tbq.train.distributed import World, whole
from tbq.train.models import fingerprint

TENSORS, STATE, LATEST = "tensors.safetensors", "state.json", "latest.json"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class StateError(ValueError):
    """One line: PATH: detail."""

    def __init__(self, path: Path, detail: str):
        super().__init__(" ".join(f"{path}: {detail}".split("\n")))


@dataclass(frozen=True)
class Position:
    """step: steps done, also the cursor of the data. steps: of the whole run.
    seconds: spent before, over all sessions."""

    step: int
    steps: int
    seconds: float


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_json(path: Path, value: object) -> None:
    """On the disk under a temporary name, then renamed, then the rename too."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    _sync(temporary)
    os.replace(temporary, path)
    _sync(path.parent)


def _read_json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StateError(path, str(error)) from error
    if not isinstance(value, dict):
        raise StateError(path, "not a JSON object")
    return value


def _random_state(world: World) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if world.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(world.device)
    return {f"random/{kind}/{rank}": part for kind, state in states.items()
            for rank, part in enumerate(world.gather_bytes(state))}


def _set_random_state(tensors: dict[str, Tensor], world: World) -> None:
    """Each rank's own; a rank that was not there before keeps what it has."""
    if f"random/cpu/{world.rank}" in tensors:
        torch.set_rng_state(tensors[f"random/cpu/{world.rank}"])
    if (world.device.type == "cuda"
            and f"random/cuda/{world.rank}" in tensors):
        torch.cuda.set_rng_state(tensors[f"random/cuda/{world.rank}"],
                                 world.device)


def _latest(folder: Path) -> str | None:
    """Name of the directory in RUN/state that a run continues from."""
    if not (folder / LATEST).exists():
        return None
    name = _read_json(folder / LATEST).get("directory")
    if not isinstance(name, str) or Path(name).name != name:
        raise StateError(folder / LATEST, f"directory: {name!r} is not a plain "
                         "name")
    return name


def _like(tensor: Tensor, own: Tensor) -> Tensor:
    if isinstance(own, DTensor):
        return distribute_tensor(tensor.to(own.device), own.device_mesh,
                                 own.placements)
    return tensor.to(own.device)


def _read(path: Path, own: dict[str, Tensor]) -> dict[str, Tensor]:
    """All tensors of a checkpoint; its parameters and buffers, which must be
    those of `own`, are copied there."""
    try:
        tensors = load_file(path)
    except Exception as error:  # safetensors raises several kinds
        raise StateError(path, str(error)) from error
    copy_into(own, {name: tensor for name, tensor in tensors.items()
                    if name.startswith("model/")}, path, prefix="model/")
    return tensors


@torch.no_grad()
def copy_into(own: dict[str, Tensor], tensors: dict[str, Tensor], path: Path,
              prefix: str = "") -> None:
    """Copies to each of `own`, whole or a shard, the one of `tensors`, whole, of
    its name after `prefix`; both must have the same names and forms."""
    expected = {prefix + name for name in own}
    for name in sorted(expected ^ set(tensors)):
        raise StateError(path, f"{name}: " + (
            "missing" if name in expected else "is not of this student"))
    for name, target in own.items():
        tensor = tensors[prefix + name]
        if tensor.shape != target.shape or tensor.dtype != target.dtype:
            raise StateError(path, f"{prefix}{name}: {tensor.dtype} "
                             f"{list(tensor.shape)}, expected {target.dtype} "
                             f"{list(target.shape)}")
        target.copy_(_like(tensor, target))


def is_run(directory: Path) -> bool:
    """Whether it holds checkpoints of a run."""
    return (directory / "state" / LATEST).exists()


def take_parameters(run: Path, own: dict[str, Tensor]) -> str:
    """Copies parameters and buffers, not moments, of another run's latest
    checkpoint; returns its fingerprint."""
    folder = run / "state" / _latest(run / "state")
    _read(folder / TENSORS, own)
    return fingerprint(folder, STATE)


class RunState:
    """Saves and loads one run's checkpoints under `directory`/state.

    tensors: every parameter and buffer by name. identity: JSON that a run which
    continues must have the same. All ranks read the one directory."""

    def __init__(self, directory: Path, tensors: dict[str, Tensor],
                 optimizer: torch.optim.Optimizer, identity: dict,
                 world: World, keep: int):
        self.folder = directory / "state"
        self.tensors, self.optimizer = tensors, optimizer
        self.identity, self.world, self.keep = identity, world, keep

    def _tensors(self) -> dict[str, Tensor]:
        """Everything by name, on the CPU, whole; every rank must ask."""
        tensors = {}
        for name, tensor in self.tensors.items():
            tensors[f"model/{name}"] = tensor.detach()
            state = self.optimizer.state.get(tensor, {})
            tensors |= {f"adam.{moment}/{name}": state[moment]
                        for moment in _MOMENTS if moment in state}
        result = {}
        for name, tensor in tensors.items():
            full = whole(tensor)
            if self.world.first:
                result[name] = full.cpu().contiguous()
        return result | _random_state(self.world)

    def save(self, position: Position) -> None:
        tensors = self._tensors()
        if self.world.first:
            self._write(position, tensors)
        self.world.barrier()

    def _write(self, position: Position, tensors: dict[str, Tensor]) -> None:
        name = f"step-{position.step:08}"
        target, temporary = self.folder / name, self.folder / f"{name}.tmp"
        if _latest(self.folder) != name:
            self.folder.mkdir(parents=True, exist_ok=True)
            # What is there already is of a run that was killed before it could
            # say so.
            for left in (temporary, target):
                shutil.rmtree(left, ignore_errors=True)
            temporary.mkdir()
            save_file(tensors, temporary / TENSORS)
            _sync(temporary / TENSORS)
            _write_json(temporary / STATE, {
                "step": position.step, "steps": position.steps,
                "seconds": position.seconds, "identity": self.identity})
            os.replace(temporary, target)
            _sync(self.folder)
        _write_json(self.folder / LATEST, {"directory": name})
        self._remove_old(name)

    def _remove_old(self, current: str) -> None:
        """Keeps the last `keep`; what a kill left half removed or half written
        goes too."""
        found = sorted(path for path in self.folder.glob("step-*")
                       if path.name != current)
        whole_ones = [path for path in found if path.suffix != ".tmp"
                      and path.name < current]
        kept = set(whole_ones[len(whole_ones) - self.keep + 1:])
        for path in found:
            if path not in kept:
                shutil.rmtree(path, ignore_errors=True)

    def load(self) -> Position | None:
        """Continues from the latest checkpoint; None if there is none."""
        name = _latest(self.folder)
        if name is None:
            return None
        path = self.folder / name / STATE
        state = _read_json(path)
        self._check_identity(path, state.get("identity"))
        try:
            position = Position(int(state["step"]), int(state["steps"]),
                                float(state["seconds"]))
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(path, f"step, steps, seconds: {error}") from error
        self._restore(self.folder / name / TENSORS)
        return position

    def _check_identity(self, path: Path, saved: object) -> None:
        if not isinstance(saved, dict):
            raise StateError(path, "identity: is not an object")
        for field in sorted({*saved, *self.identity}):
            before, now = saved.get(field), self.identity.get(field)
            if before != now:
                raise StateError(
                    path, f"{field}: the run was started with {before!r}, not "
                    f"{now!r}; continue it as it was or choose another --out")

    def _restore(self, path: Path) -> None:
        tensors = _read(path, self.tensors)
        for name, own in self.tensors.items():
            moments = {moment: tensors[f"adam.{moment}/{name}"]
                       for moment in _MOMENTS
                       if f"adam.{moment}/{name}" in tensors}
            if moments:
                self.optimizer.state[own] = self._moments(path, name, moments,
                                                          own)
        _set_random_state(tensors, self.world)

    def _moments(self, path: Path, name: str, moments: dict[str, Tensor],
                 parameter: Tensor) -> dict[str, Tensor]:
        for moment, tensor in moments.items():
            expected = () if moment == "step" else tuple(parameter.shape)
            if tuple(tensor.shape) != expected:
                raise StateError(path, f"adam.{moment}/{name}: "
                                 f"{list(tensor.shape)}, expected "
                                 f"{list(expected)}")
        return {"step": moments["step"].to(parameter.device),
                "exp_avg": _like(moments["exp_avg"], parameter),
                "exp_avg_sq": _like(moments["exp_avg_sq"], parameter)}
