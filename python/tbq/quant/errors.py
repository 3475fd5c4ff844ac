# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What is wrong with a request for quantisation."""


class SpecError(ValueError):
    """A spec or policy that cannot be followed, in one line."""
