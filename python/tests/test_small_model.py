# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The small model's network, export, batches and restart, on the CPU."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tbq import checkpoint as ck
from tbq.small import data, export
from tbq.small.model import (Cache, Model, ModelConfig, generate,
                             quantize_i8, rope_table)
from tbq.small.trainer import Options, Trainer, load_model

CONFIG = ModelConfig(hidden=64, layers=2, heads=4, kv_heads=2, ffn=128, vocab=96,
                     context=64, group=32)


def some_model(config=CONFIG):
    torch.manual_seed(3)
    model = Model(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model


def test_dequantized_export_equals_the_model_in_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    model = some_model()
    ck.write_checkpoint(tmp_path / "q", export.quantized_checkpoint(model))
    ck.dequantize_directory(tmp_path / "q", tmp_path / "f")
    other = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "f", dtype=torch.float32)
    assert type(other).__name__ == "LlamaForCausalLM"
    ids = torch.randint(96, (3, 40), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(other(ids).logits, model(ids), rtol=1e-4,
                                   atol=1e-5)


def test_absmax_int8_values_and_gradient():
    x = torch.tensor([[0.5, -1.27, 0.014, 0.016], [0, 0, 0, 0]],
                     requires_grad=True)
    q, s = quantize_i8(x)
    torch.testing.assert_close(q, torch.tensor([[50.0, -127, 1, 2],
                                                [0, 0, 0, 0]]))
    torch.testing.assert_close(s, torch.tensor([[0.01], [1.0]]))
    (q * s).sum().backward()
    torch.testing.assert_close(x.grad, torch.ones_like(x))


def test_steps_with_a_cache_equal_one_pass():
    model = some_model(replace(CONFIG, activations="i8"))
    ids = torch.randint(96, (2, 20), generator=torch.Generator().manual_seed(4))
    caches = [Cache(20) for _ in model.blocks]
    cos, sin = rope_table(CONFIG, "cpu")
    embedding, weights = model.embedding(), model.block_weights()
    with torch.no_grad():
        parts = [model.run(ids[:, a:b], embedding, weights, cos[a:b], sin[a:b],
                           caches)
                 for a, b in [(0, 5)] + [(n, n + 1) for n in range(5, 20)]]
        # A rounding of an activation may fall the other way: one step of 127.
        torch.testing.assert_close(torch.cat(parts, 1), model(ids), rtol=0,
                                   atol=0.02)


def test_generation_stops_at_eos_and_is_greedy_at_temperature_0():
    model = some_model()
    prompt = torch.tensor([[1, 7, 9], [1, 30, 2]])
    free = generate(model, prompt, 6, 0.0, eos=95)
    with torch.no_grad():
        assert torch.equal(free[:, 3:], model(free).argmax(-1)[:, 2:-1])
    eos = int(free[0, 3])
    assert (generate(model, prompt[:1], 6, 0.0, eos)[0, 3:] == eos).all()


def write_data(directory):
    generator = np.random.default_rng(5)
    story = lambda n: np.concatenate([
        np.r_[data.BOS, generator.integers(2, 96, generator.integers(5, 30)),
              data.EOS] for _ in range(n)])
    for part, n in (("train", 60), ("held", 20)):
        story(n).astype("<u2").tofile(directory / f"stories-{part}.u16")
        generator.integers(2, 96, 2000).astype("<u2").tofile(
            directory / f"novels-{part}.u16")


OPTIONS = Options(steps=8, batch=6, length=24, warmup=2, eval_every=4,
                  eval_rows=6, compile=False)


def test_stories_are_whole_and_rows_begin_with_one(tmp_path):
    write_data(tmp_path)
    tokens = data.load_tokens(tmp_path / "stories-train.u16", "cpu")
    stories = data.Stories(tokens, seed=2)
    rows = stories.rows(0, 40, 25, torch.Generator().manual_seed(0))
    assert (rows[:, 0] == data.BOS).all()
    whole = {tuple(s) for s in np.split(
        tokens.numpy(), np.flatnonzero(tokens.numpy() == data.BOS))[1:]}
    shuffled = {tuple(s) for s in np.split(
        stories.stream.numpy(),
        np.flatnonzero(stories.stream.numpy() == data.BOS))[1:]}
    assert whole == shuffled and len(whole) == 60


def test_restart_continues_as_if_never_stopped(tmp_path):
    write_data(tmp_path)
    straight = Trainer(CONFIG, OPTIONS, tmp_path, tmp_path / "a", "cpu")
    straight.train()
    stopped = Trainer(CONFIG, OPTIONS, tmp_path, tmp_path / "b", "cpu")
    for _ in range(3):
        stopped.train_step()
    stopped.save()
    Trainer(CONFIG, OPTIONS, tmp_path, tmp_path / "b", "cpu").train()
    a = load_model(tmp_path / "a", "final", "cpu").state_dict()
    b = load_model(tmp_path / "b", "final", "cpu").state_dict()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=0)


def test_training_moves_every_parameter_and_lowers_the_loss(tmp_path):
    write_data(tmp_path)
    options = replace(OPTIONS, steps=40, eval_every=20, rate=1e-2)
    teacher = some_model(replace(CONFIG, group=0))
    trainer = Trainer(replace(CONFIG, activations="i8"), options, tmp_path,
                      tmp_path / "out", "cpu", [teacher, some_model(teacher.config)],
                      tmp_path / "stories-train.u16")
    before = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    trainer.train()
    for name, value in trainer.model.state_dict().items():
        assert not torch.equal(value, before[name]), name
    lines = [json.loads(line) for line in
             (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [20, 40]
    assert lines[1]["train"] < lines[0]["train"]


def test_export_reads_back_as_the_forward_pass_uses_it(tmp_path):
    model = some_model()
    ck.write_checkpoint(tmp_path, export.quantized_checkpoint(model))
    read = ck.read_checkpoint(tmp_path)
    names = list(CONFIG.linear_shapes())
    for layer, weights in enumerate(model.block_weights()):
        for name, weight in zip(names, weights):
            linear = read.linears[f"model.layers.{layer}.{name}"]
            assert torch.equal(linear.dequantize(), weight)
    assert torch.equal(read.floats["model.embed_tokens.weight"].float(),
                       model.embedding().detach())
