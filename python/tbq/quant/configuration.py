# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""quantization_config of a model whose linears have settings of their own.

Input: each linear's settings (scheme, group_size, shift), or None where it is
float. Output: the object of docs/checkpoint.md. Invariant: reading it back
gives each linear the settings that it came with.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from tbq.checkpoint.settings import EmbeddingScheme

ACTIVATIONS = ("i16", "i8", "f32")
Settings = dict[str, str | int | bool]
_LAYER = re.compile(r"(.+\.layers\.)([0-9]+)(\..+)")
# Where every linear is float and only the embedding is not.
_UNUSED: Settings = {"scheme": "ternary", "group_size": "row", "shift": False}


def _frozen(settings: Settings) -> tuple:
    return tuple(sorted(settings.items()))


def _overrides(linears: dict[str, Settings], base: Settings) -> dict:
    """`layers`: a pattern over all layers where they agree, else names."""
    places = defaultdict(list)
    for name in linears:
        layer = _LAYER.fullmatch(name)
        place = layer.group(1, 3) if layer else (name, "")
        places[place].append(name)
    result = {}
    for (before, after), names in places.items():
        kinds = {_frozen(linears[name]) for name in names}
        if len(kinds) == 1 and _LAYER.fullmatch(names[0]):
            patterns = {rf"{re.escape(before)}[0-9]+{re.escape(after)}":
                        names[0]}
        else:
            patterns = {re.escape(name): name for name in names}
        for pattern, name in patterns.items():
            if linears[name] != base:
                result[pattern] = linears[name]
    return result


def quantization_config(linears: dict[str, Settings | None],
                        embedding: EmbeddingScheme | None,
                        activations: str, tables: tuple[str, str]) -> dict:
    """linears: settings by name, in the model's order. tables: the names of
    embedding and head."""
    if activations not in ACTIVATIONS:
        raise ValueError(f"activations: {activations!r} is not one of "
                         f"{', '.join(ACTIVATIONS)}")
    quantized = {name: s for name, s in linears.items() if s is not None}
    counts = Counter(map(_frozen, quantized.values()))
    base = dict(counts.most_common(1)[0][0]) if counts else _UNUSED
    kept = [name for name in linears if linears[name] is None]
    result = {"quant_method": "tbq",
              **{key: base[key] for key in ("scheme", "group_size", "shift")},
              "activations": activations, "layers": _overrides(quantized, base),
              "modules_to_not_convert": kept}
    if embedding is None:
        result["modules_to_not_convert"] = [*tables, *kept]
    else:
        result["embedding"] = {"bits": embedding.bits,
                               "group_size": embedding.group_size}
    return result
