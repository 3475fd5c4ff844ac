# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""JSON and safetensors on disk, a model's tensors in one file or in shards.

Files are written to a temporary name and renamed. Invariant: the same tensors
and shard size give the same bytes; a directory holds one file or shards with
their index, never both.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import load_file, save
from torch import Tensor

from tbq.checkpoint.errors import CheckpointError

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


@dataclass
class StoredTensors:
    """tensors by name; file: where each is; path: the file that says which
    there are (model.safetensors or the index)."""

    path: Path
    tensors: dict[str, Tensor]
    file: dict[str, Path]


def read_json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(path, "file", str(error)) from error
    if not isinstance(value, dict):
        raise CheckpointError(path, "file", "not a JSON object")
    return value


def write_json(path: Path, value: object) -> None:
    """`value` as indented JSON, written to a temporary name and renamed."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n",
                         encoding="utf-8")
    os.replace(temporary, path)


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """A safetensors file, written to a temporary name and renamed."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(save(
        {k: v.detach().cpu().contiguous() for k, v in tensors.items()},
        metadata={"format": "pt"}))
    os.replace(temporary, path)


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except Exception as error:  # safetensors raises several kinds
        raise CheckpointError(path, "file", str(error)) from error


def read_model(directory: Path) -> StoredTensors:
    """Every tensor of model.safetensors, or else of the index's shards."""
    single = directory / WEIGHTS
    if single.exists() or not (directory / INDEX).exists():
        tensors = _load(single)
        return StoredTensors(single, tensors, dict.fromkeys(tensors, single))
    index = directory / INDEX
    shards = read_json(index).get("weight_map")
    if not isinstance(shards, dict):
        raise CheckpointError(index, "weight_map", "is not an object")
    result = StoredTensors(index, {}, {})
    for name in shards.values():
        if not isinstance(name, str) or Path(name).name != name:
            raise CheckpointError(index, "weight_map",
                                  f"{name!r} is not a plain file name")
    for name in dict.fromkeys(shards.values()):
        for tensor, value in _load(directory / name).items():
            if shards.get(tensor) != name:
                raise CheckpointError(directory / name, tensor, f"the index "
                                      f"says it is in {shards.get(tensor)}")
            result.tensors[tensor] = value
            result.file[tensor] = directory / name
    for tensor, name in shards.items():
        if tensor not in result.tensors:
            raise CheckpointError(directory / name, tensor,
                                  "missing, the index says it is here")
    return result


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def _shards(tensors: dict[str, Tensor], limit: int) -> list[dict[str, Tensor]]:
    """By name, each filled up to `limit` bytes; a larger tensor is alone."""
    shards: list[dict[str, Tensor]] = []
    size = limit
    for name in sorted(tensors):
        size += _bytes(tensors[name])
        if size > limit or not shards:
            shards.append({})
            size = _bytes(tensors[name])
        shards[-1][name] = tensors[name]
    return shards


def write_model(directory: Path, tensors: dict[str, Tensor],
                max_shard_size: int | None = None) -> None:
    """One file, or shards of at most `max_shard_size` bytes and their index;
    what an earlier write left of the other form is removed."""
    shards = [tensors] if max_shard_size is None else _shards(tensors,
                                                              max_shard_size)
    stale = {directory / INDEX, directory / WEIGHTS,
             *directory.glob("model-*-of-*.safetensors")}
    if len(shards) <= 1:
        written = {directory / WEIGHTS}
        write_tensors(directory / WEIGHTS, tensors)
    else:
        names = [f"model-{i:05}-of-{len(shards):05}.safetensors"
                 for i in range(1, len(shards) + 1)]
        written = {directory / INDEX, *(directory / name for name in names)}
        for name, shard in zip(names, shards):
            write_tensors(directory / name, shard)
        write_json(directory / INDEX, {
            "metadata": {"total_size": sum(map(_bytes, tensors.values()))},
            "weight_map": {tensor: name for name, shard in zip(names, shards)
                           for tensor in sorted(shard)}})
    for path in stale - written:
        path.unlink(missing_ok=True)
