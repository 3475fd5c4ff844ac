# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A tiny random transformers OPT, for tests."""

import torch
import transformers

# As OPT-125M and all larger ones; as OPT-350M.
BEFORE = {}
AFTER = {"do_layer_norm_before": False, "word_embed_proj_dim": 16}


def some_opt(tied=True, seed=1, layers=3, vocab=50, hidden=32, ffn=48,
             positions=64, **settings):
    """Weights and biases are drawn larger than transformers does, so that no
    part of the network is near the identity."""
    torch.manual_seed(seed)
    config = transformers.OPTConfig(**{
        "vocab_size": vocab, "hidden_size": hidden, "ffn_dim": ffn,
        "word_embed_proj_dim": hidden, "num_hidden_layers": layers,
        "num_attention_heads": 4, "max_position_embeddings": positions,
        "tie_word_embeddings": tied, "pad_token_id": 1, "bos_token_id": 2,
        "eos_token_id": 2, **settings})
    model = transformers.OPTForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm.weight" in name:
                parameter.copy_(1 + 0.3 * torch.randn_like(parameter))
            else:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    return model
