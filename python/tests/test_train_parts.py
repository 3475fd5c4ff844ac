# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Options, schedules, groups of parameters and clipping, each by itself."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from some_llama import some_ids, some_llama  # noqa: E402
from tbq.decoder import Decoder  # noqa: E402
from tbq.quant.policy import Policy  # noqa: E402
from tbq.quant.student import quantize_model  # noqa: E402
from tbq.train import optimizer as optimizers  # noqa: E402
from tbq.train.options import (OptionError, Options, parse_layers,  # noqa: E402
                               parse_losses)
from tbq.train.schedule import rate_at, steps_in, tail_at  # noqa: E402
from tbq.train.sources import parse_source  # noqa: E402

GOOD = Options(teacher=Path("t"), data=("d",), out=Path("o"), steps=10)


@pytest.mark.parametrize("change, said", [
    ({"rate": 0}, "--rate: 0 is not a positive number"),
    ({"rate": math.inf}, "--rate: inf is not a positive number"),
    ({"steps": 0}, "--steps: 0 is not a positive number"),
    ({"steps": None}, "--steps: give exactly one of --tokens, --steps and "
     "--minutes, not 0"),
    ({"minutes": 1.0}, "--steps: give exactly one"),
    ({"warmup": 1.0}, "--warmup: 1.0 is not in [0, 1)"),
    ({"off_decay": -0.1}, "--off-decay: -0.1 is not in [0, 1)"),
    ({"schedule": "flat"}, "--schedule: flat is not one of linear, cosine"),
    ({"activations": "i4"}, "--activations: i4 is not one of f32, i16, i8"),
    ({"latent_rate": "x"}, "--latent-rate: x is not one of equal, rms"),
    ({"device": "tpu"}, "--device: tpu is not one of auto, cpu, cuda"),
    ({"decay": -1.0}, "--decay: -1.0 is negative"),
    ({"length": 1}, "--length: 1 is not at least 2"),
    ({"data": ()}, "--data: give at least one directory"),
    ({"distill": "kl=1"}, "--distill: 'kl' is not one of off, kd, ce, l2, dad"),
    ({"distill": "kd=x"}, "--distill: 'kd=x' is not kd=NUMBER"),
    ({"distill": "kd=-1"}, "--distill: 'kd=-1' is negative or not finite"),
    ({"distill": "kd=0"}, "--distill: 'kd=0' gives every loss weight 0")])
def test_a_bad_option_is_refused_by_its_name(change, said):
    with pytest.raises(OptionError) as error:
        replace(GOOD, **change)
    assert str(error.value).startswith(said)


def test_rows_are_divided_evenly_or_refused():
    options = replace(GOOD, batch=12, micro_batch=2)
    assert options.rows_of_rank(2) == (6, 2)
    assert replace(GOOD, batch=12).rows_of_rank(3) == (4, 4)
    with pytest.raises(OptionError, match="--batch: 12 rows are not a multiple "
                       "of 5 ranks"):
        options.rows_of_rank(5)
    with pytest.raises(OptionError, match="--micro-batch: 3 rows of a rank are "
                       "not a multiple of 2"):
        options.rows_of_rank(4)


def test_losses_and_layers_are_parsed():
    assert parse_losses("off=2,kd=0.5") == {"off": 2, "kd": 0.5, "ce": 0,
                                            "l2": 0, "dad": 0}
    assert parse_layers("all", 4) is None
    assert parse_layers("2-3,0", 4) == [0, 2, 3]
    for text in ("4", "0-4", "a", "1-", "", "3-2"):
        with pytest.raises(OptionError, match="--off-layers"):
            parse_layers(text, 4)


def test_shares_of_sources_are_parsed():
    assert parse_source("a/b") == (Path("a/b"), 1.0)
    assert parse_source("a/b:0.25") == (Path("a/b"), 0.25)
    assert parse_source("a:b/c") == (Path("a:b/c"), 1.0)
    for text in ("a:0", "a:-1", "a:inf", "a:nan"):
        with pytest.raises(OptionError, match="--data: .*not positive"):
            parse_source(text)


@pytest.mark.parametrize("shape", ["linear", "cosine"])
@pytest.mark.parametrize("steps", [2, 3, 25, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.04, 0.5, 0.9])
def test_the_rate_rises_to_1_and_falls_to_exactly_0(shape, steps, warmup):
    rates = [rate_at(step, steps, warmup, shape) for step in range(steps)]
    rising = round(warmup * steps)
    assert rates[-1] == 0 and all(rate > 0 for rate in rates[:-1])
    assert max(rates) <= 1 and (steps <= 3 or max(rates) == 1)
    up, down = rates[:min(rising, steps - 1)], rates[rising:]
    assert up == sorted(up) and down == sorted(down, reverse=True)


def test_rates_are_those_of_the_formulas():
    assert rate_at(0, 100, 0.04, "linear") == 0.25
    assert rate_at(3, 100, 0.04, "linear") == 1
    assert rate_at(4, 100, 0.04, "linear") == 1
    assert rate_at(51, 100, 0.04, "linear") == pytest.approx(1 - 47 / 95)
    assert rate_at(51, 100, 0.04, "cosine") == pytest.approx(
        0.5 * (1 + math.cos(math.pi * 47 / 95)))
    assert rate_at(0, 1, 0.04, "linear") == 1


def test_a_weight_falls_to_0_over_the_last_share_of_the_steps():
    weights = [tail_at(step, 10, 0.3) for step in range(10)]
    assert weights == pytest.approx([1] * 7 + [2 / 3, 1 / 3, 0])
    assert weights[-1] == 0
    assert {tail_at(step, 10, 0.0) for step in range(10)} == {1.0}


def test_minutes_become_the_steps_that_still_fit():
    assert steps_in(60.0, 10.0, [0.4, 0.6]) == 100
    assert steps_in(1.0, 10.0, [0.5]) == 1


def some_student(tied=True, policy="dlt:g16", embedding="int4:g16", **settings):
    model = some_llama(tied, **settings)
    quantize_model(model, Policy.parse(policy, "dlt:g16") if " " in policy
                   else Policy.uniform(policy), embedding)
    return Decoder(model)


@pytest.mark.parametrize("tied", [True, False])
def test_every_learning_parameter_is_of_exactly_one_kind(tied):
    student = some_student(tied, r".*layers\.0.*q_proj float",
                           attention_bias=True)
    kinds = optimizers.kinds_of(student)
    ids = [id(p) for group in kinds.values() for p in group.values()]
    expected = {id(p) for p in student.model.parameters() if p.requires_grad}
    assert len(ids) == len(set(ids)) and set(ids) == expected
    assert len(kinds["latents"]) == 3 * 7
    assert set(kinds["embedding"]) == {"model.embed_tokens.weight"} | (
        set() if tied else {"lm_head.weight"})
    # A scale and a shift a quantised linear, and the tables' learned scales.
    assert len(kinds["coefficients"]) == 2 * (3 * 7 - 1) + (1 if tied else 2)
    assert all(p.ndim == 1 for p in kinds["norms"].values())
    assert len(kinds["norms"]) == 3 * (2 + 4) + 1


def test_each_kind_has_its_own_rate():
    student = some_student()
    optimizer = optimizers.make_optimizer(student, replace(
        GOOD, coefficient_rate=0.5, embedding_rate=0.25, norm_rate=0.125,
        decay=0.1))
    optimizers.set_rate(optimizer, 8.0)
    found = {g["kind"]: (g["lr"], g["weight_decay"])
             for g in optimizer.param_groups}
    assert found == {"latents": (8, 0.1), "coefficients": (4, 0),
                     "embedding": (2, 0), "norms": (1, 0)}


def test_rates_relative_to_the_size_of_a_latent():
    sizes = {"a": 1.0, "b": 2.0, "c": 3.0}
    latents = {name: torch.nn.Parameter(torch.full((2, 3), -size))
               for name, size in sizes.items()}
    latents["zero"] = torch.nn.Parameter(torch.zeros(2, 2))
    factors = optimizers.rms_factors(latents)
    for name, size in sizes.items():
        exact = size / 1.5
        assert abs(math.log2(factors[name] / exact)) <= 0.125
        quarters = 4 * math.log2(factors[name])
        assert quarters == pytest.approx(round(quarters), abs=1e-9)
    assert factors["zero"] == 1
    student = some_student()
    rates = {g["factor"] for g in optimizers.make_optimizer(
        student, replace(GOOD, latent_rate="rms")).param_groups
        if g["kind"] == "latents"}
    assert 1 <= len(rates) <= 8


def test_latents_and_coefficients_are_clipped_apart():
    student = some_student()
    optimizer = optimizers.make_optimizer(student, GOOD)
    generator = torch.Generator().manual_seed(5)
    for group in optimizer.param_groups:
        size = {"latents": 3.0, "coefficients": 1e-4}.get(group["kind"])
        for p in group["params"]:
            p.grad = (None if size is None else
                      size * torch.randn(p.shape, generator=generator))
    before = {id(p): p.grad.clone() for g in optimizer.param_groups
              for p in g["params"] if p.grad is not None}
    norms = optimizers.clip(optimizer, 1.0)
    for place, kind in ((0, "latents"), (1, "coefficients")):
        group = next(g["params"] for g in optimizer.param_groups
                     if g["kind"] == kind)
        exact = math.sqrt(sum(before[id(p)].double().square().sum().item()
                              for p in group))
        assert norms[place].item() == pytest.approx(exact, rel=1e-5)
        factor = min(1.0, 1 / exact)
        for p in group:
            torch.testing.assert_close(p.grad, before[id(p)] * factor)
    assert norms[0] > 1 > norms[1] > 0


def test_a_student_of_the_decoder_is_the_exported_model(tmp_path):
    from tbq.quant.student import export_checkpoint
    student, ids = some_student(embedding="int8:g16"), some_ids()
    checkpoint = export_checkpoint(student.model,
                                   student.config.to_dict(), "i16")
    expected = some_llama()
    state = {f"{name}.weight": module.dequantize()
             for name, module in checkpoint.quantized().items()}
    state |= {name: tensor for name, tensor in checkpoint.floats.items()}
    state["lm_head.weight"] = state["model.embed_tokens.weight"]
    expected.load_state_dict(state)
    with torch.no_grad():
        torch.testing.assert_close(student.logits(ids), expected(ids).logits,
                                   rtol=1e-5, atol=1e-5)
