# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole runs of a toy student in this process: they learn, resume, export."""

import json
import shutil
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

pytest.importorskip("transformers")

import some_run  # noqa: E402
from some_llama import some_ids  # noqa: E402
from tbq import checkpoint as ck  # noqa: E402
from tbq.train import driver as drivers  # noqa: E402
from tbq.train.distributed import World  # noqa: E402
from tbq.train.driver import Driver, train  # noqa: E402
from tbq.train.log import draw_curves, duration, read_log  # noqa: E402
from tbq.train.options import OptionError  # noqa: E402
from tbq.train.state import StateError  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return some_run.prepare(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def trained(folder):
    options = some_run.options(folder, "trained", steps=60, log_every=20,
                               held_out=folder / "held-out", eval_every=30,
                               embedding="int8:g16", off_skip_first=True,
                               off_normalise=True, off_decay=0.3)
    assert train(options).finished
    return options


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        assert torch.equal(a[name], b[name]), name


def stop_after(monkeypatch, options, steps):
    """Runs `options` and asks it to stop, as a signal does, after `steps`."""
    real, done = Driver._step, [0]

    def step(self, *arguments):
        done[0] += 1
        self.stop_wished = done[0] == steps
        return real(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Driver, "_step", step)
        return train(options)


def test_a_run_learns(trained):
    lines = some_run.log(trained.out)
    assert [line["step"] for line in lines] == [20, 40, 60]
    assert lines[-1]["kd"] < 0.7 * lines[0]["kd"]
    assert lines[-1]["off"] < lines[0]["off"]
    assert lines[-1]["rate"] == 0
    for line in lines:
        assert line["norm_of_latents"] > 0 < line["tokens_per_second"]
    held_out = some_run.log(trained.out, "held-out")
    assert [line["step"] for line in held_out] == [30, 60]


def test_every_learning_parameter_moves(folder, trained):
    _, tensors = some_run.latest(trained.out)
    before = Driver(trained, World("cpu")).student.named_parameters()
    for name, parameter in before.items():
        if not parameter.requires_grad:
            continue
        driver_has = tensors[f"model/{name}"]
        assert driver_has.shape == parameter.shape
        assert f"adam.exp_avg/{name}" in tensors
    start = Driver(replace(trained, out=folder / "never"), World("cpu"))
    for name, parameter in start.student.named_parameters().items():
        assert not torch.equal(tensors[f"model/{name}"], parameter), name


def test_the_export_is_the_students_forward_pass(trained):
    driver, ids = Driver(trained, World("cpu")), some_ids()
    assert driver.state.load().step == 60
    exported = ck.read_checkpoint(trained.out / "model")
    assert exported.config["quantization_config"]["activations"] == "i16"
    for name, linear in exported.linears.items():
        module = driver.student.model.get_submodule(name)
        assert torch.equal(linear.dequantize(), module.quantized_weight()), name
    table = exported.embeddings["model.embed_tokens"].dequantize()
    assert torch.equal(table, driver.student.table())
    import transformers
    floats = trained.out.parent / "floats"
    ck.dequantize_directory(trained.out / "model", floats)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        floats, dtype=torch.float32)
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits,
                                   driver.student.logits(ids), rtol=1e-4,
                                   atol=1e-5)


def test_the_export_has_tokenizer_settings_and_record(folder, trained):
    for name in ("tokenizer.json", "chat_template.jinja",
                 "generation_config.json"):
        assert ((trained.out / "model" / name).read_bytes()
                == (folder / "teacher" / name).read_bytes())
    record = json.loads((trained.out / "model/training.json").read_text())
    assert record["steps"] == 60 and record["tokens"] == 60 * 4 * 16
    assert record["options"]["distill"] == "off=8,kd=1"
    assert record["held_out"] and record["versions"]["torch"]


def test_the_export_in_shards(folder):
    options = some_run.options(folder, "shards", steps=2,
                               max_shard_size=5_000)
    train(options)
    assert (options.out / "model/model.safetensors.index.json").exists()
    ck.read_checkpoint(options.out / "model")


def test_stopped_and_continued_is_never_stopped(folder, monkeypatch):
    """Bit for bit: parameters, moments, generators, after 100 steps."""
    straight = some_run.options(folder, "straight", steps=100, batch=2,
                                length=8, save_every=30)
    assert train(straight).finished
    stopped = replace(straight, out=folder / "stopped")
    outcome = stop_after(monkeypatch, stopped, 41)
    assert (outcome.finished, outcome.step) == (False, 41)
    assert not (stopped.out / "model").exists()
    assert train(stopped).finished
    (_, a), (_, b) = some_run.latest(straight.out), some_run.latest(stopped.out)
    assert len([name for name in a if name.startswith("adam.")]) > 100
    same(a, b)
    same(load_file(straight.out / "model/model.safetensors"),
         load_file(stopped.out / "model/model.safetensors"))
    steps = [line["step"] for line in some_run.log(stopped.out)]
    assert steps == sorted([*range(5, 101, 5), 41])


def test_a_log_drops_what_is_done_again(folder, monkeypatch):
    options = some_run.options(folder, "again", steps=12, log_every=1)
    stop_after(monkeypatch, options, 6)
    with (options.out / "log.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 9, "loss": 1}\n{"kind": "tr')
    train(options)
    assert [line["step"] for line in some_run.log(options.out)] == list(
        range(1, 13))


def test_checkpoints_are_kept_and_removed(folder):
    options = some_run.options(folder, "kept", steps=10, save_every=2, keep=3)
    train(options)
    assert sorted(p.name for p in (options.out / "state").iterdir()) == [
        "latest.json", "step-00000006", "step-00000008", "step-00000010"]


def test_a_finished_run_only_exports_again(folder):
    options = some_run.options(folder, "twice", steps=3,
                               held_out=folder / "held-out")
    train(options)
    first = load_file(options.out / "model/model.safetensors")
    shutil.rmtree(options.out / "model")
    train(options)
    same(first, load_file(options.out / "model/model.safetensors"))
    record = json.loads((options.out / "model/training.json").read_text())
    assert record["held_out"]


def test_minutes_are_a_count_of_steps_found_by_timing(folder, monkeypatch):
    monkeypatch.setattr(drivers, "steps_in", lambda *_: 7)
    timed = some_run.options(folder, "minutes", minutes=1.0)
    assert train(timed).step == 7
    counted = some_run.options(folder, "count", steps=7)
    train(counted)
    same(some_run.latest(timed.out)[1], some_run.latest(counted.out)[1])


def test_tokens_are_a_count_of_steps(folder):
    assert train(some_run.options(folder, "tokens", tokens=4 * 16 * 3 + 5)
                 ).step == 3


@pytest.mark.parametrize("change, said", [
    ({"rate": 1e-3}, "rate: the run was started with 0.003, not 0.001"),
    ({"scheme": "dlt:g8"}, "scheme: the run was started with 'dlt:g16', not "
     "'dlt:g8'"),
    ({"steps": 5}, "steps: the run was started with 4, not 5")])
def test_a_run_of_other_options_is_not_continued(folder, change, said):
    options = some_run.options(folder, "other", steps=4)
    if not options.out.exists():
        train(options)
    with pytest.raises(StateError) as error:
        train(replace(options, **change))
    assert said in str(error.value) and "step-00000004" in str(error.value)
    assert "another --out" in str(error.value)


def test_a_run_of_another_teacher_is_not_continued(folder):
    options = some_run.options(folder, "teachers", steps=2)
    train(options)
    other = folder / "other-teacher"
    some_run.write_teacher(other, layers=2, seed=9)
    with pytest.raises(StateError, match="teacher: the run was started with"):
        train(replace(options, teacher=other))
    moved = folder / "moved-teacher"
    shutil.copytree(folder / "teacher", moved)
    assert train(replace(options, teacher=moved)).finished


@pytest.mark.parametrize("damage, said", [
    ("pointer", "latest.json: directory: '../x' is not a plain name"),
    ("json", "state.json: Expecting value"),
    ("not an object", "state.json: not a JSON object"),
    ("identity", "state.json: identity: is not an object"),
    ("step", "state.json: step, steps, seconds:"),
    ("cut", "tensors.safetensors: "),
    ("missing", "tensors.safetensors: model/model.norm.weight: missing"),
    ("more", "tensors.safetensors: model/x: is not of this student"),
    ("shape", "model/model.norm.weight: torch.float32 [3], expected "
     "torch.float32 [32]"),
    ("moment", "adam.exp_avg/model.norm.weight: [3], expected [32]")])
def test_a_damaged_checkpoint_is_named(folder, tmp_path, damage, said):
    source = some_run.options(folder, "damaged", steps=2)
    if not source.out.exists():
        train(source)
    options = replace(source, out=tmp_path / "run")
    shutil.copytree(source.out, options.out)
    state = options.out / "state"
    step = state / "step-00000002"
    tensors = load_file(step / "tensors.safetensors")
    saved = json.loads((step / "state.json").read_text())
    name = "model/model.norm.weight"
    if damage == "pointer":
        (state / "latest.json").write_text('{"directory": "../x"}')
    elif damage == "json":
        (step / "state.json").write_text("")
    elif damage == "not an object":
        (step / "state.json").write_text("[]")
    elif damage in ("identity", "step"):
        saved[damage] = None
        (step / "state.json").write_text(json.dumps(saved))
    elif damage == "cut":
        whole = (step / "tensors.safetensors").read_bytes()
        (step / "tensors.safetensors").write_bytes(whole[:-7])
    else:
        three = torch.zeros(3)
        tensors |= {"more": {"model/x": three}, "shape": {name: three},
                    "moment": {"adam.exp_avg/model.norm.weight": three},
                    "missing": {}}[damage]
        if damage == "missing":
            del tensors[name]
        save_file(tensors, step / "tensors.safetensors")
    with pytest.raises(StateError) as error:
        train(options)
    assert said in str(error.value)


def test_a_loss_that_is_not_a_number_ends_the_run(folder, monkeypatch):
    options = some_run.options(folder, "nan", steps=20, rate=1e30, clip=1e30)
    with pytest.raises(drivers.TrainingError, match="the loss is nan, .* at "
                       "or before step 5: a lower --rate may help"):
        train(options)


def test_data_of_a_larger_vocabulary_is_refused(folder, tmp_path):
    from tbq.data.errors import DataError
    from tbq.data.shards import ShardWriter
    writer = ShardWriter(tmp_path / "large", 51)
    writer.append([1] * 200)
    writer.close({})
    options = some_run.options(folder, "large",
                               data=(str(tmp_path / "large"),))
    with pytest.raises(DataError, match="vocabulary: 51, the teacher's is 50"):
        train(options)


def test_more_sources_than_rows_are_refused(folder):
    options = some_run.options(folder, "many",
                               data=(str(folder / "tokens"),) * 9)
    with pytest.raises(OptionError, match="--data: 4 rows a batch are too few"):
        train(options)


@pytest.mark.parametrize("directory, said", [
    ("nowhere", "nowhere: teacher: is not a directory"),
    ("quantized", "quantization_config: the teacher must be a float model"),
    ("gpt2", "config.json: model_type: 'gpt2' is not supported"),
    ("partial", "partial: model.norm.weight: is among the tensors that are "
     "missing"),
    ("hollow", "hollow: model: ")])
def test_a_wrong_teacher_is_named(folder, directory, said):
    path = folder / directory
    if directory != "nowhere" and not path.exists():
        path.mkdir()
        config = json.loads((folder / "teacher/config.json").read_text())
        if directory == "quantized":
            config["quantization_config"] = {"quant_method": "tbq"}
        if directory == "gpt2":
            config["model_type"] = "gpt2"
        if directory == "partial":
            tensors = load_file(folder / "teacher/model.safetensors")
            del tensors["model.norm.weight"]
            save_file(tensors, path / "model.safetensors",
                      metadata={"format": "pt"})
        (path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ck.CheckpointError) as error:
        train(some_run.options(folder, "wrong", teacher=path))
    assert said in str(error.value)


def test_durations_are_said_in_words():
    assert [duration(s) for s in (7.4, 185, 3725, -1)] == [
        "7 s", "3 min 05 s", "1 h 02 min", "0 s"]


def test_a_cut_line_of_a_log_is_left_out(tmp_path):
    (tmp_path / "log").write_text('{"step": 1}\n{"st')
    assert read_log(tmp_path / "log") == [{"step": 1}]
    assert read_log(tmp_path / "none") == []


def test_curves_are_drawn(trained):
    pytest.importorskip("matplotlib")
    assert draw_curves(trained.out / "log.jsonl")
    picture = (trained.out / "curves.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 10_000
    empty = trained.out.parent / "empty"
    empty.mkdir()
    assert draw_curves(empty / "log.jsonl") and not list(empty.iterdir())


def test_tensorboard_gets_every_figure(trained):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import (
        EventAccumulator)
    events = EventAccumulator(str(trained.out / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/kd")] == [
        (line["step"], pytest.approx(line["kd"]))
        for line in some_run.log(trained.out)]
    assert [e.step for e in events.Scalars("held-out/kl")] == [30, 60]


def test_without_their_packages_there_are_notes(folder, monkeypatch, capsys):
    for name in ("matplotlib", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)
    options = some_run.options(folder, "plain", steps=2)
    train(options)
    said = capsys.readouterr().err
    assert "the package tensorboard is not installed" in said
    assert "the package matplotlib is not installed" in said
    assert not (options.out / "curves.png").exists()


def test_compiled_blocks_learn_the_same(folder, monkeypatch):
    """With a backend that only traces: what is compiled is the same code."""
    real = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, **settings:
                        real(function, backend="aot_eager", **settings))
    losses = []
    for name, compile in (("eager", False), ("compiled", True)):
        options = some_run.options(folder, name, steps=3, log_every=1,
                                   compile=compile)
        train(options)
        losses.append([line["loss"] for line in some_run.log(options.out)])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.parametrize("embedding", [None, "int4:g16"])
def test_a_rate_of_zero_freezes(folder, embedding):
    options = some_run.options(
        folder, f"frozen-{embedding}", steps=2, embedding=embedding,
        embedding_rate=0, norm_rate=0, coefficient_rate=0)
    driver = Driver(options, World("cpu"))
    before = {name: tensor.clone()
              for name, tensor in driver.student.named_tensors().items()}
    driver.run()
    moved = {name for name, tensor in driver.student.named_tensors().items()
             if not torch.equal(tensor, before[name])}
    assert moved == {f"model.layers.{layer}.{linear}.weight"
                     for layer in range(2) for linear in some_run.LINEARS}
