# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quantization_config of config.json: which linear is stored how.

Input: config.json as read. Output: Quantization, which answers by a linear's
name. Invariant: unknown fields, schemes and values are refused by name, and so
are two `layers` patterns that match one linear and differ. Patterns are
regular expressions over the whole name; what Python's and the compiler's
(PCRE2) understand differently is not worth using.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from tbq.architectures import TABLES
from tbq.checkpoint.errors import CheckpointError

SCHEMES = ("ternary", "binary", "dual-binary")
_GROUP_LIMIT = 1 << 24


@dataclass(frozen=True)
class Scheme:
    """How one linear is stored; group_size counts columns, or is "row"."""

    scheme: str
    group_size: int | str
    shift: bool


@dataclass(frozen=True)
class EmbeddingScheme:
    bits: int
    group_size: int | str


def group_of(group_size: int | str, columns: int) -> int:
    """Weights per group of a row: a row group is one of all columns."""
    return columns if group_size == "row" else group_size


@dataclass(frozen=True)
class Quantization:
    """file: config.json, for errors. layers: scheme by pattern."""

    file: Path
    scheme: Scheme
    layers: dict[str, Scheme]
    modules_to_not_convert: tuple[str, ...]
    embedding: EmbeddingScheme | None

    def scheme_of(self, name: str) -> Scheme | None:
        """How linear `name` is stored; None: as a float matrix."""
        if name in TABLES or any(f".{module}." in f".{name}."
                                 for module in self.modules_to_not_convert):
            return None
        found = [p for p in self.layers if re.fullmatch(p, name)]
        for other in found[1:]:
            if self.layers[other] != self.layers[found[0]]:
                raise CheckpointError(
                    self.file, "quantization_config.layers",
                    f"both {found[0]!r} and {other!r} match {name} and differ")
        return self.layers[found[0]] if found else self.scheme


class _Fields:
    """A JSON object whose fields are asked for by type; errors name them."""

    def __init__(self, file: Path, path: str, value: object,
                 known: tuple[str, ...]):
        self.file, self.path = file, path
        if not isinstance(value, dict):
            raise CheckpointError(file, path, "is not an object")
        self.values = value
        for field in value:
            if field not in known:
                raise self.error(field, "unknown field")

    def error(self, field: str, detail: str) -> CheckpointError:
        return CheckpointError(self.file, f"{self.path}.{field}", detail)

    def one_of(self, field: str, known: tuple) -> object:
        value = self.values.get(field)
        # 8.0 and True equal 8 and 1, but are not what was meant.
        if not any(type(value) is type(k) and value == k for k in known):
            raise self.error(field, f"{value!r} is not supported (supported: "
                             f"{', '.join(map(str, known))})")
        return value

    def group_size(self) -> int | str:
        group = self.values.get("group_size")
        if group != "row" and not (type(group) is int
                                   and 1 <= group <= _GROUP_LIMIT):
            raise self.error("group_size", f"{group!r} is not an integer in "
                             f"[1, {_GROUP_LIMIT}] or \"row\"")
        return group

    def scheme(self, base: Scheme | None) -> Scheme:
        """Fields that are absent are the base's, and required without one."""
        result = base or Scheme("", 0, False)
        if not base or "scheme" in self.values:
            result = replace(result, scheme=self.one_of("scheme", SCHEMES))
        if not base or "group_size" in self.values:
            result = replace(result, group_size=self.group_size())
        dual = result.scheme == "dual-binary"
        if "shift" in self.values or not (base or dual):
            result = replace(result, shift=self.one_of("shift", (True, False)))
        elif dual:
            result = replace(result, shift=False)
        if dual and result.shift:
            raise self.error("shift", "dual-binary has no shift")
        return result


def _layers(fields: _Fields, base: Scheme) -> dict[str, Scheme]:
    layers = fields.values.get("layers", {})
    if not isinstance(layers, dict):
        raise fields.error("layers", "is not an object")
    result = {}
    for pattern, overrides in layers.items():
        try:
            re.compile(pattern)
        except re.error as error:
            raise fields.error(f"layers.{pattern}", str(error)) from error
        result[pattern] = _Fields(
            fields.file, f"{fields.path}.layers.{pattern}", overrides,
            ("scheme", "group_size", "shift")).scheme(base)
    return result


def _modules(fields: _Fields) -> tuple[str, ...]:
    modules = fields.values.get("modules_to_not_convert", [])
    if not (isinstance(modules, list)
            and all(isinstance(m, str) and m for m in modules)):
        raise fields.error("modules_to_not_convert", "is not a list of names")
    return tuple(modules)


def _embedding(fields: _Fields) -> EmbeddingScheme | None:
    if "embedding" not in fields.values:
        return None
    embedding = _Fields(fields.file, f"{fields.path}.embedding",
                        fields.values["embedding"], ("bits", "group_size"))
    return EmbeddingScheme(embedding.one_of("bits", (8, 4)),
                           embedding.group_size())


def read_quantization(file: Path, config: dict) -> Quantization:
    """Reads and checks `config["quantization_config"]`; `file` is its file."""
    if "quantization_config" not in config:
        raise CheckpointError(file, "quantization_config", "missing")
    fields = _Fields(file, "quantization_config", config["quantization_config"],
                     ("quant_method", "scheme", "group_size", "shift",
                      "activations", "layers", "modules_to_not_convert",
                      "embedding"))
    fields.one_of("quant_method", ("tbq",))
    scheme = fields.scheme(None)
    if "activations" in fields.values:
        fields.one_of("activations", ("f32", "i16", "i8"))
    return Quantization(file, scheme, _layers(fields, scheme),
                        _modules(fields), _embedding(fields))
