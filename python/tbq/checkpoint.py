# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""TBQ's quantised checkpoint: a Hugging Face directory with packed linears.

Input and output: config.json with a `quantization_config` of quant_method
"tbq" and safetensors that hold, for a linear NAME of shape [N, K] with
G = ceil(K / group) groups along K,

    NAME.codes   U8  [N, ceil(K/4)]     ternary: T + 1, four 2-bit codes a byte
    NAME.planes  U8  [P, N, ceil(K/8)]  binary (P = 1), dual binary (P = 2): bits
    NAME.scale   F16 [N, G]             dual binary: [2, N, G]
    NAME.shift   F16 [N, G]             where the config says "shift": true

low bits first, and every other tensor as in the float model. Invariant: the
weight is what `dequantize` of its class says, computed in float32. Files are
written to a temporary name and renamed, config.json last. Salient weights are
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
SCHEMES = ("ternary", "binary", "dual-binary")


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
        """The float32 weight [N, K]: scale * T + shift."""
        return _affine(self.codes, self.scale, self.shift, self.group)

    def tensors(self) -> dict[str, Tensor]:
        """As stored, by the last part of their names."""
        return {"codes": pack_codes(self.codes),
                **_coefficients(self.scale, self.shift)}


@dataclass(frozen=True)
class BinaryLinear:
    """bits uint8 [N, K] in {0, 1}; scale f16 [N, G]; shift f16 [N, G] or None;
    group: weights per group along K."""

    bits: Tensor
    scale: Tensor
    shift: Tensor | None
    group: int

    def dequantize(self) -> Tensor:
        """The float32 weight [N, K]: scale * (2 B - 1) + shift."""
        return _affine(2 * self.bits.float() - 1, self.scale, self.shift,
                       self.group)

    def tensors(self) -> dict[str, Tensor]:
        return {"planes": pack_bits(self.bits[None]),
                **_coefficients(self.scale, self.shift)}


@dataclass(frozen=True)
class DualBinaryLinear:
    """bits uint8 [2, N, K] in {0, 1}; scale f16 [2, N, G]; group: weights per
    group along K."""

    bits: Tensor
    scale: Tensor
    group: int

    def dequantize(self) -> Tensor:
        """The float32 weight [N, K]: scale[0] * b1 + scale[1] * b2."""
        first, second = (_affine(bits, scale, None, self.group)
                         for bits, scale in zip(self.bits, self.scale))
        return first + second

    def tensors(self) -> dict[str, Tensor]:
        return {"planes": pack_bits(self.bits),
                **_coefficients(self.scale, None)}


Linear = TernaryLinear | BinaryLinear | DualBinaryLinear


def _affine(digits: Tensor, scale: Tensor, shift: Tensor | None,
            group: int) -> Tensor:
    """scale * digits + shift in float32, where groups share a coefficient."""

    def spread(x: Tensor) -> Tensor:
        return x.float().repeat_interleave(group, 1)[:, :digits.shape[1]]

    weight = spread(scale) * digits.float()
    return weight if shift is None else weight + spread(shift)


def _coefficients(scale: Tensor, shift: Tensor | None) -> dict[str, Tensor]:
    return {"scale": scale} if shift is None else {"scale": scale,
                                                   "shift": shift}


@dataclass(frozen=True)
class QuantizedCheckpoint:
    """config: config.json as read. linears: by module name, without
    ".weight". floats: all other tensors by their full names."""

    config: dict
    linears: dict[str, Linear]
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


def pack_bits(bits: Tensor) -> Tensor:
    """uint8 [P, N, K] in {0, 1} -> uint8 [P, N, ceil(K/8)]; padding bits are 0."""
    columns = bits.shape[-1]
    padded = torch.zeros(*bits.shape[:-1], -(-columns // 8) * 8,
                         dtype=torch.uint8)
    padded[..., :columns] = bits
    eights = padded.view(*bits.shape[:-1], -1, 8)
    return (eights << torch.arange(8, dtype=torch.uint8)).sum(
        -1, dtype=torch.uint8)


def unpack_bits(packed: Tensor) -> Tensor:
    """uint8 [P, N, B] -> uint8 [P, N, 8 B] in {0, 1}."""
    eights = packed[..., None] >> torch.arange(8, dtype=torch.uint8) & 1
    return eights.flatten(-2)


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
        tensors |= {f"{name}.{part}": tensor
                    for part, tensor in linear.tensors().items()}
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
            settings: dict) -> Linear:
    """Takes NAME's tensors out of `tensors`, checking types and shapes."""

    def take(part: str, dtype: torch.dtype) -> Tensor:
        full = f"{name}.{part}"
        tensor = tensors.pop(full, None)
        if tensor is None:
            raise CheckpointError(file, full, "missing")
        if tensor.dtype != dtype or tensor.dim() < 2:
            raise CheckpointError(file, full, f"{tensor.dtype} of shape "
                                  f"{list(tensor.shape)}, expected a matrix of "
                                  f"{dtype}")
        return tensor

    def expect(part: str, tensor: Tensor, *shape: int) -> Tensor:
        if tensor.shape != shape:
            raise CheckpointError(file, f"{name}.{part}", f"shape "
                                  f"{list(tensor.shape)}, expected {list(shape)}")
        return tensor

    scheme = settings["scheme"]
    part, per_byte = ("codes", 4) if scheme == "ternary" else ("planes", 8)
    packed = take(part, torch.uint8)
    planes = {"ternary": (), "binary": (1,), "dual-binary": (2,)}[scheme]
    rows, row_bytes = packed.shape[-2:]
    expect(part, packed, *planes, rows, row_bytes)
    columns = settings["columns"](f"{name}.{part}", row_bytes, per_byte)
    group = settings["group_size"]
    group = columns if group == "row" else group
    groups = -(-columns // group)
    leading = planes if scheme == "dual-binary" else ()
    scale = expect("scale", take("scale", torch.float16), *leading, rows, groups)
    shift = (expect("shift", take("shift", torch.float16), rows, groups)
             if settings["shift"] else None)
    if scheme == "ternary":
        codes = unpack_codes(packed, columns)
        if codes.numel() and int(codes.max()) > 1:
            raise CheckpointError(file, f"{name}.codes", "holds the code 3")
        return TernaryLinear(codes, scale, shift, group)
    bits = unpack_bits(packed)
    if bits[..., columns:].any():
        raise CheckpointError(file, f"{name}.planes", f"has bits past the "
                              f"{columns} columns of a row")
    bits = bits[..., :columns]
    if scheme == "dual-binary":
        return DualBinaryLinear(bits, scale, group)
    return BinaryLinear(bits[0], scale, shift, group)


def _columns(file: Path, config: dict):
    """K of a linear by the name of its digits: what config.json says; a row of
    digits must have ceil(K / per_byte) bytes."""

    def columns(digits: str, packed: int, per_byte: int) -> int:
        name = digits.rpartition(".")[0]
        field = ("intermediate_size" if name.endswith("down_proj")
                 else "hidden_size")
        k = config.get(field)
        if name.endswith("o_proj"):
            heads = config.get("num_attention_heads", 1)
            k = heads * (config.get("head_dim")
                         or config["hidden_size"] // heads)
        if not isinstance(k, int) or -(-k // per_byte) != packed:
            raise CheckpointError(file, digits, f"{packed} bytes a row do not "
                                  f"hold {field} = {k} digits")
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
    for field, known in (("quant_method", ("tbq",)), ("scheme", SCHEMES)):
        if quantization.get(field) not in known:
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
    scheme = quantization["scheme"]
    shift = quantization.get("shift", False if scheme == "dual-binary" else None)
    if not isinstance(shift, bool):
        raise CheckpointError(path, "quantization_config.shift",
                              f"{shift!r} is not true or false")
    if shift and scheme == "dual-binary":
        raise CheckpointError(path, "quantization_config.shift",
                              "dual-binary has no shift")
    tensors = _read_tensors(directory)
    for name in tensors:
        if ".salient_" in name:
            raise CheckpointError(directory / WEIGHTS, name,
                                  "salient weights are not supported")
    settings = {"scheme": scheme, "group_size": group, "shift": shift,
                "columns": _columns(directory / WEIGHTS, config)}
    part = ".codes" if scheme == "ternary" else ".planes"
    names = sorted(n[:-len(part)] for n in tensors if n.endswith(part))
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
