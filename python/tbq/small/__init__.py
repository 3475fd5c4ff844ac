# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The small model: its text, tokenizer, network and training."""
