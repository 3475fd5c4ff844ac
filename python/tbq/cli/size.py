# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A size in bytes as a command line gives it."""

from __future__ import annotations

import argparse

UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}


def size(text: str) -> int:
    """Bytes, as transformers spells them: 4000, 200KB, 50MB or 5GB."""
    number = text.rstrip("BGKM")
    unit = text[len(number):]
    if not (number.isascii() and number.isdigit() and int(number)
            and unit in UNITS):
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a size such as 200KB, 50MB or 5GB")
    return int(number) * UNITS[unit]
