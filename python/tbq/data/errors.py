# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is wrong with training data, and where."""

from __future__ import annotations

from pathlib import Path


class DataError(Exception):
    """One line: FILE: FIELD: detail."""

    def __init__(self, file: Path | str, field: str, detail: str):
        super().__init__(" ".join(f"{file}: {field}: {detail}".split("\n")))
