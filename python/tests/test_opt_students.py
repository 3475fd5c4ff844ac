# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""OPT through decoder, quantisers, post-training, training and checkpoint,
against transformers."""

import json

import pytest
import torch

transformers = pytest.importorskip("transformers")

from some_llama import some_ids  # noqa: E402
from some_opt import AFTER, BEFORE, some_opt  # noqa: E402
from some_run import latest, log, options, prepare, write_tokens  # noqa: E402
from tbq.checkpoint import (CheckpointError, dequantize_directory,  # noqa: E402
                            read_checkpoint, write_checkpoint)
from tbq.data.decoder_step import DecoderStep  # noqa: E402
from tbq.decoder import Decoder  # noqa: E402
from tbq.ptq.options import Options as Rounding  # noqa: E402
from tbq.ptq.quantize import quantize_after_training  # noqa: E402
from tbq.quant.embedding import parse_embedding  # noqa: E402
from tbq.quant.policy import Policy  # noqa: E402
from tbq.quant.student import decoder_linears  # noqa: E402
from tbq.train.driver import train  # noqa: E402

FORMS = [BEFORE, AFTER]


def test_only_linears_of_the_layers_are_quantised():
    names = decoder_linears(some_opt(**AFTER))
    assert len(names) == 3 * 6
    assert all(name.startswith("model.decoder.layers.") for name in names)


def same_logits(directory, model, ids, tmp_path):
    """transformers on what the checkpoint stands for, against `model`'s."""
    dequantize_directory(directory, tmp_path / "float")
    again = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "float")
    assert type(again) is transformers.OPTForCausalLM
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, model(ids), rtol=1e-4,
                                   atol=1e-4)


@pytest.mark.parametrize("scheme", [
    "dlt:g16", "binary:g16,salient=0.1,saliency=hessian", "fdb:g16"])
@pytest.mark.parametrize("settings", [*FORMS, {"tied": False, **AFTER}])
def test_the_sweep_and_its_checkpoint(tmp_path, scheme, settings):
    model, ids = some_opt(**settings), some_ids(8, 24)
    checkpoint = quantize_after_training(
        model, Policy.uniform(scheme), parse_embedding("int8:g16"),
        model.config.to_dict(), "f32", ids, Rounding("hessian"))
    write_checkpoint(tmp_path / "model", checkpoint)
    read = read_checkpoint(tmp_path / "model")
    assert read.config["quantization_config"]["layers"] == {}
    kept = read.config["quantization_config"]["modules_to_not_convert"]
    assert kept == []
    same_logits(tmp_path / "model", Decoder(model).logits, ids, tmp_path)


@pytest.mark.parametrize("settings", FORMS)
def test_a_run_learns_and_exports(tmp_path, settings):
    teacher = some_opt(layers=2, **settings)
    teacher.save_pretrained(tmp_path / "teacher")
    (tmp_path / "teacher/tokenizer.json").write_text('{"version": "1.0"}')
    write_tokens(tmp_path / "tokens")
    run = options(tmp_path, scheme="dlt:g16,grid=learned", steps=40, rate=0.01,
                  embedding="int8:g16")
    assert train(run).finished
    losses = [line["loss"] for line in log(run.out)]
    assert losses[-1] < 0.7 * losses[0]
    moved = latest(run.out)[1]
    for name in ("embed_positions.weight", "layers.1.fc1.bias",
                 "layers.0.self_attn_layer_norm.bias"):
        before = teacher.state_dict()[f"model.decoder.{name}"]
        assert not torch.equal(moved[f"model/model.decoder.{name}"], before)
    with pytest.raises(CheckpointError, match="quantization_config: the teac"):
        train(options(tmp_path, "other", teacher=run.out / "model"))
    config = json.loads((run.out / "model/config.json").read_text())
    assert config["model_type"] == "opt"


def test_generation_takes_llamas_alone():
    with pytest.raises(ValueError, match="'opt' with .* is not supported"):
        DecoderStep(some_opt(), 1, 8, torch.float32)
