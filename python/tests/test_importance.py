# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Salient weights by a Hessian in training, and students that start from
other weights than the teacher's."""

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("transformers")

from some_llama import some_ids, some_llama  # noqa: E402
from some_run import latest, options, prepare, write_teacher  # noqa: E402
from tbq.checkpoint import CheckpointError, read_checkpoint  # noqa: E402
from tbq.decoder import Decoder  # noqa: E402
from tbq.ptq.importance import importance_of  # noqa: E402
from tbq.quant.errors import SpecError  # noqa: E402
from tbq.quant.policy import Policy  # noqa: E402
from tbq.quant.salient import salient_mask  # noqa: E402
from tbq.quant.student import decoder_linears  # noqa: E402
from tbq.train.driver import Driver, train  # noqa: E402
from tbq.train.distributed import World  # noqa: E402
from tbq.train.state import StateError  # noqa: E402

SALIENT = "binary:g16,salient=0.2,saliency={},mean=false"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("importance"))


def inputs_of(model, name, ids):
    """What the float model's linear `name` multiplies, [tokens, K]."""
    seen = []
    hook = model.get_submodule(name).register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        model(ids)
    hook.remove()
    return seen[0].flatten(0, 1).double()


@pytest.mark.parametrize("name", ["model.layers.0.mlp.down_proj",
                                  "model.layers.2.self_attn.v_proj"])
def test_importance_is_the_formulas(name):
    model, ids = some_llama(), some_ids(20, 24)
    specs = Policy.uniform(SALIENT.format("hessian")).specs(
        decoder_linears(model))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = importance_of(Decoder(model), specs, ids, torch.device("cpu"))
    assert all(torch.equal(value, before[key])
               for key, value in model.state_dict().items())
    x = inputs_of(model, name, ids)
    h = x.T @ x / len(x)
    h += 0.01 * h.diagonal().mean() * torch.eye(len(h))
    upper = torch.linalg.cholesky(torch.linalg.inv(h)).mT
    weight = model.get_submodule(name).weight.detach()
    wanted = weight.double().square() / upper.diagonal().square()
    torch.testing.assert_close(found[name].double(), wanted, rtol=1e-3, atol=0)
    assert sorted(found) == sorted(specs)


def test_only_linears_that_ask_are_calibrated():
    model = some_llama()
    policy = Policy.parse(r".*layers\.1\..*_proj " + SALIENT.format("hessian"),
                          SALIENT.format("magnitude"))
    found = importance_of(Decoder(model), policy.specs(decoder_linears(model)),
                          some_ids(4, 20), torch.device("cpu"))
    assert {name.split(".")[2] for name in found} == {"1"} and len(found) == 7


def test_a_run_keeps_the_hessians_choice(folder):
    masks = {}
    for saliency in ("magnitude", "hessian"):
        run = options(folder, saliency, scheme=SALIENT.format(saliency),
                      steps=3, saliency_rows=64)
        assert train(run).finished
        masks[saliency] = {name: tensor for name, tensor in
                           latest(run.out)[1].items() if "mask" in name}
    driver = Driver(options(folder, "looked at", saliency_rows=64), World("cpu"))
    model = driver.teacher.model
    specs = Policy.uniform(SALIENT.format("hessian")).specs(
        decoder_linears(model))
    importance = importance_of(Decoder(model), specs, driver.data.sample(16),
                               torch.device("cpu"))
    differ = 0
    for name, wanted in importance.items():
        mask = masks["hessian"][f"model/{name}.quantizer.mask"].bool()
        assert torch.equal(mask, salient_mask(wanted, 16, 0.2))
        differ += (mask != masks["magnitude"]
                   [f"model/{name}.quantizer.mask"].bool()).sum().item()
    assert differ > 100


def test_activations_that_no_hessian_is_made_of(folder, tmp_path):
    write_teacher(tmp_path / "teacher", layers=2)
    file = tmp_path / "teacher/model.safetensors"
    tensors = load_file(file)
    tensors["model.layers.1.mlp.up_proj.weight"] *= 1e30
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(SpecError, match=r"layers\.1\.mlp\.down_proj: act"):
        train(options(folder, tmp_path / "run", teacher=tmp_path / "teacher",
                      scheme=SALIENT.format("hessian"), steps=2))


def test_a_student_starts_from_other_weights(folder, tmp_path):
    write_teacher(tmp_path / "start", layers=2, seed=9)
    run = options(folder, tmp_path / "run", steps=1, scheme="float", rate=1e-9,
                  initial_weights=tmp_path / "start")
    assert train(run).finished
    started = load_file(tmp_path / "start/model.safetensors")
    got = latest(run.out)[1]
    for name, tensor in started.items():
        if f"model/{name}" in got:
            torch.testing.assert_close(got[f"model/{name}"], tensor.float(),
                                       rtol=0, atol=1e-6)
    with pytest.raises(Exception, match="initial_weights: the run was started with"):
        train(options(folder, tmp_path / "run", steps=1, scheme="float",
                      rate=1e-9))


def test_a_start_of_another_shape_is_refused(folder, tmp_path):
    write_teacher(tmp_path / "start", layers=2, ffn=64)
    with pytest.raises(CheckpointError) as error:
        train(options(folder, tmp_path / "run",
                      initial_weights=tmp_path / "start"))
    assert "intermediate_size: 64, the teacher's is 48" in str(error.value)


def test_a_student_starts_from_another_run(folder):
    first = options(folder, "first", steps=8)
    assert train(first).finished
    second = options(folder, "second", steps=1, rate=1e-9,
                     initial_weights=first.out)
    assert train(second).finished
    before, after = latest(first.out)[1], latest(second.out)[1]
    for name in before:
        if name.startswith("model/"):
            torch.testing.assert_close(after[name], before[name], rtol=0,
                                       atol=1e-7, msg=name)
    with pytest.raises(StateError, match="is not of this student|missing"):
        train(options(folder, "third", scheme="float",
                      initial_weights=first.out))


def test_a_student_starts_from_the_levels_of_a_checkpoint(folder):
    scheme = "dlt:g16,grid=learned"
    first = options(folder, "learned", steps=8, scheme=scheme,
                    embedding="int8:g16")
    assert train(first).finished
    second = options(folder, "levels", steps=1, rate=1e-9, scheme=scheme,
                     embedding="int8:g16", initial_weights=first.out / "model")
    assert train(second).finished
    made = read_checkpoint(first.out / "model")
    again = read_checkpoint(second.out / "model")
    got = latest(second.out)[1]
    for name, linear in made.linears.items():
        assert torch.equal(linear.codes, again.linears[name].codes)
        assert torch.equal(linear.scale, again.linears[name].scale)
        assert torch.equal(linear.shift, again.linears[name].shift)
        torch.testing.assert_close(got[f"model/{name}.weight"],
                                   linear.dequantize(), rtol=0, atol=1e-6)
    with pytest.raises(StateError, match="quantizer.shift: is not of this"):
        train(options(folder, "other", steps=1, initial_weights=first.out /
                      "model", scheme="dlt:g16,shift=false"))


def test_a_checkpoint_without_levels_is_refused(folder):
    first = options(folder, "binary", steps=1, scheme="binary:g16")
    assert train(first).finished
    with pytest.raises(CheckpointError, match="only ternary linears"):
        train(options(folder, "no-levels", steps=1,
                      initial_weights=first.out / "model"))


def test_a_start_that_is_not_there_is_named(folder):
    with pytest.raises(CheckpointError, match="nowhere: initial weights: is"):
        train(options(folder, "run-of-nothing",
                      initial_weights=folder / "nowhere"))
