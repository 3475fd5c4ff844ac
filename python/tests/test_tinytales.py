# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The committed small model: size, contents, tokens and text."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from tbq import checkpoint as ck

MODEL = Path(__file__).resolve().parents[2] / "models" / "tinytales-7m"
PROMPT = [1, 503, 462, 260, 429]
GREEDY = [13, 409, 291, 260, 410, 498, 688, 516, 15, 360, 653, 272, 440, 897,
          302, 263, 2599, 15, 671, 390, 13, 331, 483, 260, 493, 13, 1152, 1016,
          15]


def test_it_is_small_and_every_block_linear_is_ternary():
    assert sum(f.stat().st_size for f in MODEL.iterdir()) <= 4_000_000
    read = ck.read_checkpoint(MODEL)
    assert len(read.linears) == 8 * 7
    assert sum(t.codes.numel() for t in read.linears.values()) == 6_291_456
    assert not any("proj" in name for name in read.floats)
    for linear in read.linears.values():
        share = (linear.codes == 0).float().mean().item()
        assert 0.2 < share < 0.6
        assert linear.scale.isfinite().all() and linear.shift.isfinite().all()


def test_tokenizer_adds_the_first_token():
    tokenizer = Tokenizer.from_file(str(MODEL / "tokenizer.json"))
    assert tokenizer.encode("Once upon a time").ids == PROMPT
    assert tokenizer.decode(GREEDY).startswith(", there was a little girl")


def test_transformers_writes_the_text_of_the_card(tmp_path):
    transformers = pytest.importorskip("transformers")
    ck.dequantize_directory(MODEL, tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    ids = torch.tensor([PROMPT])
    made = model.generate(ids, attention_mask=torch.ones_like(ids),
                          do_sample=False, repetition_penalty=1.0,
                          temperature=None, top_p=None, top_k=None,
                          max_new_tokens=len(GREEDY))
    assert made[0].tolist() == PROMPT + GREEDY
