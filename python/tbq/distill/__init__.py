# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a student is taught with: features (hidden states), logits."""
