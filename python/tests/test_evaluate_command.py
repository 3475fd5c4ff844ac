# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""`tbq evaluate` of a float model and of what `tbq quantize` makes of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("transformers")

from some_llama import some_llama  # noqa: E402
from some_tokenizer import VOCABULARY, write_tokenizer  # noqa: E402
from tbq.checkpoint import read_checkpoint  # noqa: E402
from tbq.data.shards import ShardWriter  # noqa: E402
from tbq.decoder import Decoder  # noqa: E402
from tbq.train.evaluate import token_divergence  # noqa: E402
from tbq.train.models import load_dequantized  # noqa: E402

REPOSITORY = Path(__file__).resolve().parents[2]


def tbq(*words, code=0):
    result = subprocess.run(
        [sys.executable, "-m", "tbq", *map(str, words)], text=True, check=False,
        capture_output=True, timeout=100, env={
            **os.environ, "PYTHONPATH": str(REPOSITORY / "python"),
            "OMP_NUM_THREADS": "1"})
    assert result.returncode == code, result.stderr
    return result


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluate")
    some_llama(vocab=VOCABULARY).save_pretrained(folder / "float")
    write_tokenizer(folder / "float")
    tbq("quantize", folder / "float", "--out", folder / "q", "--scheme",
        "dlt:g16", "--embedding", "int8:g16")
    writer = ShardWriter(folder / "rows", VOCABULARY, row_length=512)
    writer.append(np.random.default_rng(1).integers(VOCABULARY, size=(2, 512)))
    writer.close({})
    (folder / "text").write_text("Once upon a time. " * 60)
    return folder


def test_all_figures_of_a_quantised_model(folder):
    found = json.loads(tbq(
        "evaluate", folder / "q", "--teacher", folder / "float", "--held-out",
        folder / "rows", "--text", f"tale={folder / 'text'}", "--question",
        "Who?", "--most", 5, "--device", "cpu").stdout)
    assert set(found) == {"kl", "agreement", "perplexity", "answers"}
    assert found["perplexity"]["tale"]["tokens"] == 2 * 255
    assert [a["question"] for a in found["answers"]] == ["Who?"]
    models = [Decoder(load_dequantized(folder / name, torch.device("cpu")))
              for name in ("float", "q")]
    ids = torch.from_numpy(np.fromfile(folder / "rows/tokens-00000.bin",
                                       "<u2").astype(np.int64)).view(2, 512)
    with torch.no_grad():
        parts = [x for model in models for x in
                 (model.hidden(ids)[0][:, :-1].flatten(0, 1), model.head())]
        divergence, _ = token_divergence(*parts)
    assert found["kl"] == pytest.approx(divergence.mean().item(), rel=1e-4)
    assert found["kl"] > 0


def test_a_quantised_model_is_what_its_checkpoint_stands_for(folder):
    model = load_dequantized(folder / "q", torch.device("cpu"))
    for name, linear in read_checkpoint(folder / "q").linears.items():
        assert torch.equal(model.get_submodule(name).weight,
                           linear.dequantize())


@pytest.mark.parametrize("words, said", [
    ([], "give --held-out, --text or --question"),
    (["--teacher", "x", "--text", "a=b"], "--teacher and --held-out go")])
def test_what_says_nothing_is_refused(folder, words, said):
    assert said in tbq("evaluate", folder / "q", *words, code=2).stderr


def test_a_missing_text_is_named(folder):
    error = tbq("evaluate", folder / "q", "--text", "a=/absent.txt",
                "--device", "cpu", code=1).stderr
    assert "/absent.txt" in error and error.count("\n") == 1
