# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Quantisation after training, by rounding or by a Hessian's sweep."""
