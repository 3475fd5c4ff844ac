# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Spec: how one linear is quantised, in one word of text.

    METHOD:gN|row[,OPTION=VALUE...]      dlt:g64,grid=learned
    float                                left as it is

Input: that text. Output: method, group and every option of the method, with
defaults filled in. Invariant: what is unknown is refused with what is known.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tbq.quant.binary import Binary
from tbq.quant.dlt import Dlt
from tbq.quant.dual_binary import DualBinary
from tbq.quant.errors import SpecError
from tbq.quant.quantizer import Option, Quantizer
from tbq.quant.ternary import Absmean, Seq, Twn

METHODS: dict[str, type[Quantizer]] = {
    "dlt": Dlt, "twn": Twn, "absmean": Absmean, "seq": Seq, "binary": Binary,
    "fdb": DualBinary}
FLOAT = "float"
_GROUP_LIMIT = 1 << 24


def parse_group(text: str, group: str) -> int | str:
    """"row" or "gN"; `text` is the whole, for the error."""
    if group == "row":
        return group
    digits = group[1:]
    if not (group[:1] == "g" and digits.isascii() and digits.isdigit()
            and 1 <= int(digits) <= _GROUP_LIMIT):
        raise SpecError(f"{text!r}: {group!r} is neither \"row\" nor gN with N "
                        f"in [1, {_GROUP_LIMIT}]")
    return int(digits)


def _value(text: str, name: str, option: Option,
           value: str) -> str | bool | float:
    if option.most is None:
        for choice in option.choices:
            if value == _written(choice):
                return choice
        raise SpecError(
            f"{text!r}: {name}={value!r} is not one of "
            f"{', '.join(map(_written, option.choices))}")
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= option.most:
        raise SpecError(f"{text!r}: {name}={value!r} is not a number in "
                        f"[0, {option.most}]")
    return number


def _written(value: str | bool | float) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Spec:
    """method: a key of METHODS, or "float". group: columns that share
    coefficients, or "row". options: all of the method's, by name."""

    method: str
    group: int | str = "row"
    options: dict[str, str | float | bool] = field(default_factory=dict)

    @staticmethod
    def parse(text: str) -> Spec:
        if text == FLOAT:
            return Spec(FLOAT)
        method, colon, rest = text.partition(":")
        if method not in METHODS:
            raise SpecError(f"{text!r}: unknown method {method!r} (known: "
                            f"{', '.join([*METHODS, FLOAT])})")
        if not colon:
            raise SpecError(f"{text!r}: has no group: {method}:gN or "
                            f"{method}:row")
        group, *assignments = rest.split(",")
        known = METHODS[method].OPTIONS
        options = {name: option.default for name, option in known.items()}
        given = set()
        for assignment in assignments:
            name, _, value = assignment.partition("=")
            if name not in known:
                raise SpecError(f"{text!r}: {method} has no option {name!r} "
                                f"(known: {', '.join(known) or 'none'})")
            if name in given:
                raise SpecError(f"{text!r}: {name} is given twice")
            given.add(name)
            options[name] = _value(text, name, known[name], value)
        return Spec(method, parse_group(text, group), options)

    @property
    def quantizer(self) -> type[Quantizer]:
        return METHODS[self.method]

    def __str__(self) -> str:
        """Text that `parse` reads as this spec."""
        if self.method == FLOAT:
            return FLOAT
        group = self.group if self.group == "row" else f"g{self.group}"
        defaults = self.quantizer.OPTIONS
        return ",".join([f"{self.method}:{group}", *(
            f"{name}={_written(value)}" for name, value in self.options.items()
            if value != defaults[name].default)])
