# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Quantisers: one module per method."""
