# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Policy: which spec each linear has, by its name.

Input: a spec for all linears and, in a file, lines of PATTERN SPEC apart by
spaces; # begins a comment line. A pattern is a regular expression over the
whole name of a linear; the first that matches wins (tbqc's --policy reads the
same form). Output: a spec by name. Invariant: every pattern matches some
linear, or it is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Iterable

from tbq.quant.errors import SpecError
from tbq.quant.spec import FLOAT, Spec


@dataclass(frozen=True)
class Rule:
    """where: of the pattern, for errors ("FILE: line 3")."""

    pattern: str
    spec: Spec
    where: str

    def matches(self, name: str) -> bool:
        return re.fullmatch(self.pattern, name) is not None


@dataclass(frozen=True)
class Policy:
    """default: the spec of linears that no rule matches."""

    default: Spec
    rules: tuple[Rule, ...] = ()

    @staticmethod
    def uniform(spec: str) -> Policy:
        """One spec for every linear."""
        return Policy(Spec.parse(spec))

    @staticmethod
    def parse(text: str, default: str = FLOAT, file: str = "policy") -> Policy:
        """`text` as a policy file holds it; `file` names it in errors."""
        rules = []
        for number, line in enumerate(text.splitlines(), 1):
            line, where = line.strip(), f"{file}: line {number}"
            if not line or line.startswith("#"):
                continue
            pattern, _, spec = line.partition(" ")
            try:
                re.compile(pattern)
                rules.append(Rule(pattern, Spec.parse(spec.strip()), where))
            except (re.error, SpecError) as error:
                raise SpecError(f"{where}: {error}") from error
        return Policy(Spec.parse(default), tuple(rules))

    @staticmethod
    def read(path: Path, default: str = FLOAT) -> Policy:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise SpecError(f"{path}: file: {error}") from error
        return Policy.parse(text, default, str(path))

    def spec_of(self, name: str) -> Spec | None:
        """The spec of linear `name`; None: it stays float."""
        found = next((rule.spec for rule in self.rules if rule.matches(name)),
                     self.default)
        return None if found.method == FLOAT else found

    def specs(self, names: Iterable[str]) -> dict[str, Spec | None]:
        """The spec of each of a model's linears."""
        names = list(names)
        for rule in self.rules:
            if not any(map(rule.matches, names)):
                raise SpecError(f"{rule.where}: {rule.pattern!r} matches no "
                                "linear of the decoder layers")
        return {name: self.spec_of(name) for name in names}
