# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A tiny random transformers llama with grouped heads, for tests."""

import torch
import transformers


def some_llama(tied=True, seed=1, layers=3, vocab=50, hidden=32, ffn=48,
               positions=64, **settings):
    """Weights are drawn larger than transformers does, and the norms too, so
    that no part of the network is near the identity."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=vocab, hidden_size=hidden, intermediate_size=ffn,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=positions, tie_word_embeddings=tied,
        bos_token_id=1, eos_token_id=2, **settings)
    model = transformers.LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(1 + 0.3 * torch.randn_like(parameter))
            else:
                parameter.copy_(0.2 * torch.randn_like(parameter))
    return model


def some_ids(batch=2, length=12, vocab=50, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocab, (batch, length), generator=generator)
