# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The default model: its text, tokenizer, network and training."""
