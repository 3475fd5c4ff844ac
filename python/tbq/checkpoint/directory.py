# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A whole quantised checkpoint.

Input and output: a Hugging Face directory. Invariant: every linear of every
layer is read as config.json says it is stored, and no tensor of a quantised
one is left over; writing what was read gives the same bytes. config.json is
written last.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from tbq.architectures import Architecture, architecture_of
from tbq.checkpoint.errors import CheckpointError
from tbq.checkpoint.files import (INDEX, StoredTensors, read_json, read_model,
                                  write_json, write_model)
from tbq.checkpoint.linears import Linear, QuantizedEmbedding
from tbq.checkpoint.settings import EmbeddingScheme, read_quantization
from tbq.checkpoint.tensors import read_embedding, read_linear


@dataclass(frozen=True)
class QuantizedCheckpoint:
    """config: config.json as read. linears, embeddings: by module name,
    without ".weight". floats: all other tensors by their full names."""

    config: dict
    linears: dict[str, Linear]
    floats: dict[str, Tensor]
    embeddings: dict[str, QuantizedEmbedding] = field(default_factory=dict)

    def quantized(self) -> dict[str, Linear | QuantizedEmbedding]:
        return {**self.linears, **self.embeddings}


def write_checkpoint(directory: Path, checkpoint: QuantizedCheckpoint,
                     max_shard_size: int | None = None) -> None:
    """Writes config.json and the tensors, in shards of at most
    `max_shard_size` bytes if that is given."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = dict(checkpoint.floats)
    for name, module in checkpoint.quantized().items():
        tensors |= {f"{name}.{part}": tensor
                    for part, tensor in module.tensors().items()}
    write_model(directory, tensors, max_shard_size)
    write_json(directory / "config.json", checkpoint.config)


def read_architecture(file: Path, config: dict) -> type[Architecture]:
    """Of config.json's model_type."""
    try:
        return architecture_of(config.get("model_type"))
    except ValueError as error:
        raise CheckpointError(file, "model_type", str(error)) from error


class _Shapes:
    """Rows and columns of a model's linears and tables, from config.json."""

    def __init__(self, file: Path, config: dict,
                 architecture: type[Architecture]):
        self.file, self.config = file, config
        self.architecture = architecture
        self.layers = self._size("num_hidden_layers")
        self.vocabulary = self._size("vocab_size")
        self.columns = architecture.table_columns(self._size)
        self.of_layer = architecture.linears(self._size)

    def _size(self, name: str, default: int | None = None) -> int:
        value = self.config.get(name)
        value = default if value is None else value
        if type(value) is not int or value < 1:
            raise CheckpointError(self.file, name,
                                  f"{value!r} is not a positive integer")
        return value

    def linears(self) -> dict[str, tuple[int, int]]:
        return {f"{self.architecture.LAYERS}.{layer}.{name}": shape
                for layer in range(self.layers)
                for name, shape in self.of_layer.items()}

    def tied(self) -> bool:
        return self.config.get("tie_word_embeddings", False) is True


def _embeddings(stored: StoredTensors, scheme: EmbeddingScheme,
                shapes: _Shapes) -> dict[str, QuantizedEmbedding]:
    """A tied model stores its one matrix under either name, or twice."""
    names = shapes.architecture.TABLES
    if shapes.tied():
        present = {name.rpartition(".")[0] for name in stored.tensors}
        names = [name for name in names if name in present] or names[:1]
    read = {name: read_embedding(stored, name, scheme, shapes.vocabulary,
                                 shapes.columns) for name in names}
    if shapes.tied() and len(read) == 2:
        first, second = (read[name].tensors() for name in names)
        for part in first:
            if not torch.equal(first[part], second[part]):
                copy = f"{names[1]}.{part}"
                raise CheckpointError(
                    stored.file[copy], copy, f"differs from {names[0]}.{part}, "
                    "but config.json's tie_word_embeddings is true")
    return read


def _check_floats(stored: StoredTensors,
                  quantized: dict[str, Linear | QuantizedEmbedding]) -> None:
    """What is left is of the float model: weights, biases, a rope table."""
    for full in sorted(stored.tensors):
        name, _, part = full.rpartition(".")
        if (part not in ("weight", "bias", "inv_freq")
                or (part == "weight" and name in quantized)):
            kind = "quantised" if name in quantized else "float"
            raise CheckpointError(
                stored.file[full], full, "is not a tensor of this module, which "
                f"config.json says is {kind}")


def read_checkpoint(directory: Path) -> QuantizedCheckpoint:
    """Reads and checks a quantised checkpoint."""
    path = directory / "config.json"
    config = read_json(path)
    quantization = read_quantization(path, config)
    architecture = read_architecture(path, config)
    shapes = _Shapes(path, config, architecture)
    schemes = {name: quantization.scheme_of(name) for name in shapes.linears()}
    stored = read_model(directory)
    linears = {name: read_linear(stored, name, schemes[name], *shape)
               for name, shape in shapes.linears().items() if schemes[name]}
    embeddings = (_embeddings(stored, quantization.embedding, shapes)
                  if quantization.embedding else {})
    _check_floats(stored, {**linears, **embeddings})
    return QuantizedCheckpoint(config, linears, stored.tensors, embeddings)


def dequantize_directory(source: Path, destination: Path,
                         max_shard_size: int | None = None) -> None:
    """Writes `source`'s model as an ordinary float32 Hugging Face directory.

    transformers runs it with float activations, whatever `activations` says.
    """
    if source.resolve() == destination.resolve():
        raise CheckpointError(destination, "file", "is the source itself")
    checkpoint = read_checkpoint(source)
    destination.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.float() if tensor.is_floating_point() else tensor
               for name, tensor in checkpoint.floats.items()}
    for name, module in checkpoint.quantized().items():
        tensors[f"{name}.weight"] = module.dequantize()
    names = architecture_of(checkpoint.config["model_type"]).TABLES
    embedding, head = (f"{name}.weight" for name in names)
    if embedding not in tensors and head in tensors:
        tensors[embedding] = tensors.pop(head)  # the name transformers looks for
    for file in sorted(source.iterdir()):
        if (file.suffix in (".json", ".jinja", ".model", ".txt")
                and file.name not in ("config.json", INDEX)):
            shutil.copyfile(file, destination / file.name)
    write_model(destination, tensors, max_shard_size)
    config = {k: v for k, v in checkpoint.config.items()
              if k not in ("quantization_config", "torch_dtype")}
    write_json(destination / "config.json", {**config, "dtype": "float32"})
