# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Training tokens: from text, from conversations, from the teacher itself.

    shards          a directory of token files: write it, draw windows from it
    mixture         batches from several directories by stated shares
    tokenizer       a checkpoint's tokenizer
    text            text files to documents of tokens
    conversations   JSONL of messages through a checkpoint's chat template
    template        what a chat template puts around messages
    decoder_step    one decoding step of a llama for many sequences at once
    sampler         a token from each row of hidden states
    sequences       which tokens of a sequence are fed and which are sampled
    starts          how the teacher's texts start
    generate        the teacher's own text
"""
