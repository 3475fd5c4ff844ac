# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A small OPT, taught stories in float, then a ternary student of it, compiled.

Needs build/bin (TBQ_BUILD) and the stories of TBQ_TEST_DATA.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

transformers = pytest.importorskip("transformers")
yaml = pytest.importorskip("yaml")

from tokenizers import (Tokenizer, decoders, models,  # noqa: E402
                        pre_tokenizers, processors, trainers)

REPOSITORY = Path(__file__).resolve().parents[2]
TBQC = REPOSITORY / os.environ.get("TBQ_BUILD", "build") / "bin/tbqc"
STORIES = (REPOSITORY / os.environ.get("TBQ_TEST_DATA", "../shared/data")
           / "corpora/tinystories-200kb.txt")
START, PAD = "</s>", "<pad>"
VOCABULARY, LENGTH = 400, 64

pytestmark = pytest.mark.skipif(
    not (TBQC.exists() and STORIES.exists()),
    reason=f"needs {TBQC} and {STORIES}")


def write_tokenizer(directory, text):
    """GPT-2's kind, with OPT's leading </s>."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=[START, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A", special_tokens=[(START, 0)])
    directory.mkdir()
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer_config.json").write_text(
        json.dumps({"bos_token": START, "eos_token": START}))
    return tokenizer


def teach(model, ids, steps):
    """Plain language modelling; the last loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    random = torch.Generator().manual_seed(0)
    for _ in range(steps):
        starts = torch.randint(len(ids) - LENGTH, (8,), generator=random)
        rows = torch.stack([ids[at:at + LENGTH] for at in starts])
        logits = model(rows).logits[:, :-1].flatten(0, 1)
        loss = F.cross_entropy(logits, rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A directory, and its model, that knows which letters follow which."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("opt")
    text = STORIES.read_text(encoding="utf-8")
    tokenizer = write_tokenizer(folder / "teacher", text)
    ids = torch.tensor(tokenizer.encode(text).ids)
    torch.manual_seed(1)
    model = transformers.OPTForCausalLM(transformers.OPTConfig(
        vocab_size=VOCABULARY, hidden_size=64, word_embed_proj_dim=64,
        ffn_dim=128, num_hidden_layers=2, num_attention_heads=4, dropout=0.0,
        max_position_embeddings=128, bos_token_id=0, eos_token_id=0,
        pad_token_id=1))
    assert teach(model, ids, 150) < 4.2  # 5.9 before
    model.eval().save_pretrained(folder / "teacher")
    (folder / "story.txt").write_text(text[:20000], encoding="utf-8")
    return folder


def tbq(*words):
    subprocess.run([sys.executable, "-m", "tbq", *map(str, words)], check=True,
                   env=os.environ | {"PYTHONPATH": str(REPOSITORY / "python")})


def test_a_ternary_opt_is_trained_compiled_and_verified(teacher):
    tbq("prepare", teacher / "story.txt", "--tokenizer", teacher / "teacher",
        "--out", teacher / "tokens")
    (teacher / "recipe.yaml").write_text(yaml.safe_dump({
        "model": "teacher", "out": "out", "compile": {"activations": "f32"},
        "train": {"data": ["tokens"], "steps": 60, "batch": 8, "length": 64,
                  "scheme": "dlt:g16,grid=learned", "rate": 0.01,
                  "embedding": "int8:g16", "device": "cpu", "eval_every": 0},
        "compare": {"tokens": 60, "max_kl": 1e-6}}))
    tbq("build", teacher / "recipe.yaml", f"--tbqc={TBQC}")
    made = json.loads((teacher / "out/build.json").read_text())
    assert made["comparison"]["kl"] < 1e-6
    losses = [json.loads(line)["loss"] for line in
              (teacher / "out/run/log.jsonl").read_text().splitlines()
              if '"train"' in line]
    assert losses[-1] < 0.5 * losses[0]

    # The same words as transformers on what the checkpoint stands for.
    tbq("dequantize", teacher / "out/run/model", teacher / "float")
    student = transformers.AutoModelForCausalLM.from_pretrained(
        teacher / "float")
    tokenizer = Tokenizer.from_file(str(teacher / "teacher/tokenizer.json"))
    ids = torch.tensor([tokenizer.encode("Once upon a time").ids])
    assert ids[0, 0] == 0
    wanted = student.generate(ids, attention_mask=torch.ones_like(ids),
                              do_sample=False, min_new_tokens=40,
                              max_new_tokens=40)
    ran = subprocess.run(
        [TBQC.with_name("tbq-run"), "-m", teacher / "out/model.so", "-p",
         "Once upon a time", "-n", "40", "--temp", "0", "--ignore-eos",
         "--print-token-ids", "--no-display-prompt"],
        check=True, capture_output=True, text=True)
    got = [int(word) for word in ran.stdout.replace(",", " ").split()]
    assert got == wanted[0, ids.shape[1]:].tolist()
