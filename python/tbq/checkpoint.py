# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""TBQ's quantised checkpoint: a Hugging Face directory with packed linears.

Input and output: config.json with a `quantization_config` of quant_method
"tbq" and safetensors that hold, for a ternary linear NAME of shape [N, K] with
G = ceil(K / group) groups along K,

    NAME.codes  U8  [N, ceil(K/4)]  T + 1, four 2-bit codes a byte, low bits first
    NAME.scale  F16 [N, G]
    NAME.shift  F16 [N, G]          where the config says "shift": true

and every other tensor as in the float model. Invariant: the weight is
float32(scale) * T + float32(shift), computed in float32. Files are written to a
temporary name and renamed, config.json last. Schemes other than ternary are
refused by name.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save
from torch import Tensor

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"


class CheckpointError(Exception):
    """One line: FILE: FIELD: detail."""

    def __init__(self, file: Path | str, field: str, detail: str):
        super().__init__(f"{file}: {field}: {detail}")


@dataclass(frozen=True)
class TernaryLinear:
    """codes int8 [N, K] in {-1, 0, 1}; scale f16 [N, G]; shift f16 [N, G] or
    None; group: weights per group along K (K itself for a row group)."""

    codes: Tensor
    scale: Tensor
    shift: Tensor | None
    group: int

    def dequantize(self) -> Tensor:
        """The float32 weight [N, K]."""
        columns = self.codes.shape[1]

        def spread(x: Tensor) -> Tensor:
            return x.float().repeat_interleave(self.group, 1)[:, :columns]

        weight = spread(self.scale) * self.codes.float()
        return weight if self.shift is None else weight + spread(self.shift)


@dataclass(frozen=True)
class QuantizedCheckpoint:
    """config: config.json as read. linears: by module name, without
    ".weight". floats: all other tensors by their full names."""

    config: dict
    linears: dict[str, TernaryLinear]
    floats: dict[str, Tensor]


def pack_codes(codes: Tensor) -> Tensor:
    """int8 [N, K] in {-1, 0, 1} -> uint8 [N, ceil(K/4)]; padding bits are 0."""
    rows, columns = codes.shape
    padded = torch.zeros(rows, -(-columns // 4) * 4, dtype=torch.uint8)
    padded[:, :columns] = (codes + 1).to(torch.uint8)
    fours = padded.view(rows, -1, 4)
    return (fours[..., 0] | fours[..., 1] << 2 | fours[..., 2] << 4
            | fours[..., 3] << 6)


def unpack_codes(packed: Tensor, columns: int) -> Tensor:
    """uint8 [N, ceil(K/4)] -> int8 [N, K]; the code 3 becomes 2: check it."""
    shifts = torch.tensor([0, 2, 4, 6], dtype=torch.uint8)
    fours = packed[..., None] >> shifts & 3
    return fours.reshape(packed.shape[0], -1)[:, :columns].to(torch.int8) - 1


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


def write_checkpoint(directory: Path, checkpoint: QuantizedCheckpoint) -> None:
    """Writes model.safetensors and config.json into `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    tensors = dict(checkpoint.floats)
    for name, linear in checkpoint.linears.items():
        tensors[f"{name}.codes"] = pack_codes(linear.codes)
        tensors[f"{name}.scale"] = linear.scale
        if linear.shift is not None:
            tensors[f"{name}.shift"] = linear.shift
    write_tensors(directory / WEIGHTS, tensors)
    write_json(directory / "config.json", checkpoint.config)


def _read_json(path: Path) -> dict:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(path, "file", str(error)) from error
    if not isinstance(value, dict):
        raise CheckpointError(path, "file", "not a JSON object")
    return value


def _read_tensors(directory: Path) -> dict[str, Tensor]:
    if not (directory / INDEX).exists():
        files = {WEIGHTS}
    else:
        files = set(_read_json(directory / INDEX).get("weight_map", {}).values())
    tensors: dict[str, Tensor] = {}
    for file in sorted(files):
        if Path(file).name != file:
            raise CheckpointError(directory / INDEX, "weight_map",
                                  f"{file!r} is not a plain file name")
        try:
            tensors.update(load_file(directory / file))
        except Exception as error:  # safetensors raises several kinds
            raise CheckpointError(directory / file, "file",
                                  str(error)) from error
    return tensors


def _linear(file: Path, name: str, tensors: dict[str, Tensor],
            settings: dict) -> TernaryLinear:
    """Takes NAME's tensors out of `tensors`, checking types and shapes."""

    def take(part: str, dtype: torch.dtype) -> Tensor:
        full = f"{name}.{part}"
        tensor = tensors.pop(full, None)
        if tensor is None:
            raise CheckpointError(file, full, "missing")
        if tensor.dtype != dtype or tensor.dim() != 2:
            raise CheckpointError(file, full, f"{tensor.dtype} of shape "
                                  f"{list(tensor.shape)}, expected 2-D {dtype}")
        return tensor

    packed = take("codes", torch.uint8)
    scale = take("scale", torch.float16)
    shift = take("shift", torch.float16) if settings["shift"] else None
    rows, columns = packed.shape[0], settings["columns"](name, packed.shape[1])
    group = settings["group_size"]
    group = columns if group == "row" else group
    expected = [rows, -(-columns // group)]
    for part, tensor in (("scale", scale), ("shift", shift)):
        if tensor is not None and list(tensor.shape) != expected:
            raise CheckpointError(file, f"{name}.{part}", f"shape "
                                  f"{list(tensor.shape)}, expected {expected}")
    codes = unpack_codes(packed, columns)
    if codes.numel() and int(codes.max()) > 1:
        raise CheckpointError(file, f"{name}.codes", "holds the code 3")
    return TernaryLinear(codes, scale, shift, group)


def _columns(file: Path, config: dict):
    """K of a linear by name: what config.json says; codes must have ceil(K/4)
    bytes a row."""

    def columns(name: str, packed: int) -> int:
        field = ("intermediate_size" if name.endswith("down_proj")
                 else "hidden_size")
        k = config.get(field)
        if name.endswith("o_proj"):
            heads = config.get("num_attention_heads", 1)
            k = heads * (config.get("head_dim")
                         or config["hidden_size"] // heads)
        if not isinstance(k, int) or -(-k // 4) != packed:
            raise CheckpointError(file, f"{name}.codes", f"{packed} bytes a "
                                  f"row do not hold {field} = {k} codes")
        return k

    return columns


def read_checkpoint(directory: Path) -> QuantizedCheckpoint:
    """Reads and checks a quantised checkpoint of the llama architecture."""
    path = directory / "config.json"
    config = _read_json(path)
    quantization = config.get("quantization_config")
    if not isinstance(quantization, dict):
        raise CheckpointError(path, "quantization_config", "missing")
    if config.get("model_type") != "llama":
        raise CheckpointError(path, "model_type",
                              f"{config.get('model_type')!r} is not supported")
    for field, expected in (("quant_method", "tbq"), ("scheme", "ternary")):
        if quantization.get(field) != expected:
            raise CheckpointError(
                path, f"quantization_config.{field}",
                f"{quantization.get(field)!r} is not supported")
    for field in ("layers", "embedding"):
        if quantization.get(field):
            raise CheckpointError(path, f"quantization_config.{field}",
                                  "is not supported")
    group = quantization.get("group_size")
    if group != "row" and not (isinstance(group, int) and group > 0):
        raise CheckpointError(path, "quantization_config.group_size",
                              f"{group!r} is not a positive integer or \"row\"")
    shift = quantization.get("shift")
    if not isinstance(shift, bool):
        raise CheckpointError(path, "quantization_config.shift",
                              f"{shift!r} is not true or false")
    tensors = _read_tensors(directory)
    settings = {"group_size": group, "shift": shift,
                "columns": _columns(directory / WEIGHTS, config)}
    names = sorted(n[:-len(".codes")] for n in tensors if n.endswith(".codes"))
    linears = {name: _linear(directory / WEIGHTS, name, tensors, settings)
               for name in names}
    return QuantizedCheckpoint(config, linears, tensors)


def dequantize_directory(source: Path, destination: Path) -> None:
    """Writes `source`'s model as an ordinary float32 Hugging Face directory.

    transformers runs it with float activations, whatever `activations` says.
    """
    checkpoint = read_checkpoint(source)
    destination.mkdir(parents=True, exist_ok=True)
    if source.resolve() == destination.resolve():
        raise CheckpointError(destination, "file", "is the source itself")
    tensors = {name: tensor.float() if tensor.is_floating_point() else tensor
               for name, tensor in checkpoint.floats.items()}
    for name, linear in checkpoint.linears.items():
        tensors[f"{name}.weight"] = linear.dequantize()
    for file in sorted(source.iterdir()):
        if (file.suffix in (".json", ".jinja", ".model", ".txt")
                and file.name not in ("config.json", INDEX)):
            shutil.copyfile(file, destination / file.name)
    write_tensors(destination / WEIGHTS, tensors)
    config = {k: v for k, v in checkpoint.config.items()
              if k not in ("quantization_config", "torch_dtype")}
    write_json(destination / "config.json", {**config, "dtype": "float32"})
