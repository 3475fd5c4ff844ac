# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The forms of OPT that synthetic.py makes checkpoints of, and the real shapes.

Input:  the settings of an OPTConfig.
Output: names and settings; OPTForCausalLM as transformers makes it.
Holds:  the small forms have every option that changes what is computed, on both sides.
"""

from transformers import OPTConfig, OPTForCausalLM

SMALL = {
    "hidden_size": 64,
    "ffn_dim": 192,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 320,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 1,
}
# OPT-350M's: norms after the parts, an embedding of other width; nothing a multiple of 16.
POST = {
    "do_layer_norm_before": False,
    "word_embed_proj_dim": 44,
    "hidden_size": 75,
    "ffn_dim": 203,
    "num_attention_heads": 3,
    "vocab_size": 331,
}
# Galactica's: gelu and no biases; as the oldest checkpoints no last norm.
GELU = {
    "activation_function": "gelu",
    "enable_bias": False,
    "tie_word_embeddings": False,
    "_remove_final_layer_norm": True,
}
# The published shapes.
SHAPES = {
    "OPT-125M": {
        "hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
    },
    "OPT-350M": {
        "hidden_size": 1024, "ffn_dim": 4096, "num_hidden_layers": 24, "num_attention_heads": 16,
        "word_embed_proj_dim": 512, "do_layer_norm_before": False,
    },
}  # fmt: skip


def makeModel(changes):
    return OPTForCausalLM(OPTConfig(**{**SMALL, **changes}))
