# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Models quantised after training, and `tbq quantize` end to end."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from some_llama import some_ids, some_llama
from some_tokenizer import VOCABULARY, write_tokenizer

from tbq.__main__ import main
from tbq.checkpoint import dequantize_directory, read_checkpoint
from tbq.checkpoint.settings import EmbeddingScheme
from tbq.data.errors import DataError
from tbq.data.shards import ShardWriter
from tbq.decoder import Decoder
from tbq.ptq.calibrate import Calibration
from tbq.ptq.hessian import output_error
from tbq.ptq.options import Options
from tbq.ptq.quantize import quantize_after_training
from tbq.ptq.text import calibration_rows
from tbq.ptq.weights import quantize_linear
from tbq.quant.embedding import QuantEmbedding
from tbq.quant.errors import SpecError
from tbq.quant.policy import Policy
from tbq.quant.spec import Spec
from tbq.quant.student import export_checkpoint, quantize_model

TEXT = "".join(f"The {i}th cat sat on mat {i * i}.\n" for i in range(200))
POLICY = r""".*layers\.0\..* binary:g16,salient=0.2,saliency=hessian
.*mlp\.down_proj fdb:g16
.*layers\.2\.self_attn\.v_proj float
"""


def quantized(model, text, ids=None, embedding=None, policy=None, **options):
    policy = policy or Policy.uniform(text)
    config = json.loads(model.config.to_json_string())
    return quantize_after_training(model, policy, embedding, config, "i16", ids,
                                   Options(**options))


def linear_inputs(model, name, ids):
    """What linear `name` of `model` multiplies, by transformers itself."""
    seen = []
    handle = model.get_submodule(name).register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].detach()))
    with torch.no_grad():
        model(ids)
    handle.remove()
    return seen[0].reshape(-1, seen[0].shape[-1])


@pytest.mark.parametrize("chunk", [1, 2, 8])
def test_hessians_are_those_of_the_layers_inputs(chunk):
    model, ids = some_llama(), some_ids(5)
    calibration = Calibration(Decoder(model), ids, torch.device("cpu"),
                              torch.float32, chunk)
    for index in range(2):
        for part, hessian in calibration.observe(index).items():
            x = linear_inputs(model, f"model.layers.{index}.{part}", ids)
            torch.testing.assert_close(hessian.matrix().float(),
                                       x.T @ x / len(x), rtol=1e-4, atol=1e-5)
        calibration.advance(index)
    calibration.advance(2)
    x = linear_inputs(model, "lm_head", ids)
    torch.testing.assert_close(calibration.head().matrix().float(),
                               x.T @ x / len(x), rtol=1e-4, atol=1e-5)


def test_linears_that_share_an_input_share_a_hessian():
    calibration = Calibration(Decoder(some_llama()), some_ids(),
                              torch.device("cpu"), torch.float32, 1)
    found = {name.rpartition(".")[2]: hessian
             for name, hessian in calibration.observe(0).items()}
    assert found["q_proj"] is found["k_proj"] is found["v_proj"]
    assert found["gate_proj"] is found["up_proj"]
    assert len(set(map(id, found.values()))) == 4
    assert {h.count for h in found.values()} == {24}


def test_a_layer_is_calibrated_on_quantised_ones():
    ids, name = some_ids(6), "model.layers.1.mlp.down_proj"
    whole, model = some_llama(), some_llama()
    result = quantized(model, "twn:g16", ids, method="hessian").linears[name]

    def agreement():
        """Of the codes with those by the inputs that `model` gives now."""
        x = linear_inputs(model, name, ids)
        expected = quantize_linear(
            whole.get_submodule(name).weight.detach(), Spec.parse("twn:g16"),
            (x.T @ x / len(x)).double(), Options(method="hessian"))
        return (result.codes == expected.codes).float().mean()

    assert agreement() < 0.995  # layer 1 is not to be quantised yet
    layer = model.model.layers[1]
    layer.load_state_dict(whole.model.layers[1].state_dict())
    assert agreement() > 0.995
    model.load_state_dict(whole.state_dict())
    assert agreement() < 0.995  # but layer 0 is


@pytest.mark.parametrize("text", ["dlt:g16", "binary:g16,salient=0.1",
                                  "fdb:g16"])
def test_hessian_beats_nearest_on_the_model(text):
    ids, whole = some_ids(24, 32), some_llama()
    errors = {}
    for method in ("nearest", "hessian"):
        model = some_llama()
        quantized(model, text, ids, method=method)
        with torch.no_grad():
            errors[method] = (Decoder(model).logits(ids)
                              - Decoder(whole).logits(ids)).square().mean()
    assert errors["hessian"] < 0.9 * errors["nearest"]


@pytest.mark.parametrize("text", [
    "dlt:g16,grid=learned", "seq:row", "binary:g16,salient=0.2", "fdb:g32"])
def test_nearest_is_a_student_before_its_first_step(text):
    scheme = EmbeddingScheme(4, 16)
    result = quantized(some_llama(), text, embedding=scheme)
    student = some_llama()
    config = json.loads(student.config.to_json_string())
    quantize_model(student, Policy.uniform(text), "int4:g16")
    expected = export_checkpoint(student, config, "i16")
    assert result.config == expected.config
    for name, module in expected.quantized().items():
        for part, tensor in module.tensors().items():
            assert torch.equal(result.quantized()[name].tensors()[part], tensor)
    for name, tensor in expected.floats.items():
        assert torch.equal(result.floats[name].float(), tensor)


def test_hidden_states_may_be_kept_in_bf16():
    name, ids = "model.layers.2.mlp.up_proj", some_ids(16, 32)
    errors = {}
    for kept in (torch.float32, torch.bfloat16):
        model, found = some_llama(), []
        config = json.loads(model.config.to_json_string())
        quantize_after_training(
            model, Policy.uniform("dlt:g16"), None, config, "i16", ids,
            Options("hessian", kept=kept),
            lambda layer, layers, errors: found.append((layer, layers, errors)))
        assert [(layer, layers) for layer, layers, _ in found] == [
            (0, 3), (1, 3), (2, 3)]
        errors[kept] = found[2][2][name.partition(".2.")[2]]
    assert errors[torch.bfloat16] == pytest.approx(errors[torch.float32],
                                                   rel=0.1)


@pytest.mark.parametrize("tied", [True, False])
def test_tables_by_the_heads_hessian(tied):
    ids, scheme = some_ids(24, 32), EmbeddingScheme(4, 16)
    model = some_llama(tied=tied)
    name = "model.embed_tokens" if tied else "lm_head"
    weight = model.get_submodule(name).weight.detach().clone()
    x = linear_inputs(model, "lm_head", ids)
    checkpoint = quantized(model, "float", ids, scheme, method="hessian")
    assert checkpoint.embeddings.keys() == (
        {"model.embed_tokens"} if tied else {"model.embed_tokens", "lm_head"})
    assert not checkpoint.linears
    result = checkpoint.embeddings[name].dequantize()
    assert torch.equal(model.get_submodule(name).weight, result)
    hessian = (x.T @ x / len(x)).double()
    nearest = QuantEmbedding(weight, scheme).export().dequantize()
    assert (output_error(weight, result, hessian)
            < 0.9 * output_error(weight, nearest, hessian))


def test_what_cannot_be_done_is_refused():
    with pytest.raises(SpecError, match="asks for text"):
        quantized(some_llama(), "dlt:g16", method="hessian")
    with pytest.raises(SpecError, match="no linear and no embedding"):
        quantized(some_llama(), "float")
    with pytest.raises(SpecError, match="q_proj: .*important"):
        quantized(some_llama(), "binary:g16,salient=0.1,saliency=hessian")
    model = some_llama()
    model.model.layers[1].mlp.up_proj.weight.data[3, 3] = torch.nan
    with pytest.raises(SpecError, match="layers.1.mlp.up_proj: .*not finite"):
        quantized(model, "dlt:g16")


def model_directory(path, dtype=torch.bfloat16, tied=True):
    model = some_llama(tied=tied, vocab=VOCABULARY + 5)
    model.to(dtype).save_pretrained(path)
    write_tokenizer(path)
    (path / "generation_config.json").write_text('{"eos_token_id": 2}')
    return path


def run(*arguments):
    """Exit code of `tbq quantize` in this process."""
    before = sys.argv
    sys.argv = ["tbq", "quantize", *map(str, arguments)]
    try:
        return main()
    finally:
        sys.argv = before


@pytest.mark.parametrize("tied", [True, False])
def test_command_end_to_end(tied, tmp_path, capsys):
    import transformers

    source = model_directory(tmp_path / "m", tied=tied)
    (tmp_path / "text.txt").write_text(TEXT)
    (tmp_path / "policy").write_text(POLICY)
    out = tmp_path / "q"
    assert run(source, "-o", out, "--scheme", "dlt:g16", "--policy",
               tmp_path / "policy", "--embedding", "int8:g16", "--method",
               "hessian", "--calibration", tmp_path / "text.txt", "--samples",
               "20", "--length", "24", "--max-shard-size", "10KB") == 0
    error = capsys.readouterr().err
    assert "20 sequences of 24 tokens" in error
    assert "layer 3 of 3: relative output error 0." in error
    for file in ("tokenizer.json", "tokenizer_config.json",
                 "chat_template.jinja", "generation_config.json"):
        assert (out / file).read_bytes() == (source / file).read_bytes()
    assert len(list(out.glob("*.safetensors"))) > 1
    checkpoint = read_checkpoint(out)
    linears = checkpoint.linears
    assert len(linears) == 20
    assert linears["model.layers.0.self_attn.q_proj"].salient is not None
    assert linears["model.layers.2.mlp.down_proj"].bits.shape == (2, 32, 48)
    assert linears["model.layers.1.mlp.up_proj"].shift is not None
    stored = checkpoint.floats["model.layers.2.self_attn.v_proj.weight"]
    whole = some_llama(tied=tied, vocab=VOCABULARY + 5).bfloat16()
    assert torch.equal(stored, whole.model.layers[2].self_attn.v_proj.weight)
    dequantize_directory(out, tmp_path / "f")
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path / "f")
    assert model(some_ids()).logits.isfinite().all()


def test_nearest_needs_no_text(tmp_path):
    source = model_directory(tmp_path / "m", torch.float32)
    assert run(source, "-o", tmp_path / "q", "--scheme", "fdb:row") == 0
    checkpoint = read_checkpoint(tmp_path / "q")
    assert checkpoint.config["quantization_config"]["activations"] == "i16"
    assert checkpoint.floats["model.embed_tokens.weight"].dtype == torch.float32


@pytest.mark.parametrize("change,message", [
    ({"--policy": "missing"}, "missing: file: "),
    ({"--method": "hessian"}, "asks for text"),
    ({"--calibration": "short.txt"}, "short.txt: file: holds 4 tokens, fewer"),
    ({"--calibration": "none.txt"}, "none.txt: file: "),
    ({"-o": "m"}, "is the model itself"),
    ({"model": "nowhere"}, "nowhere: ")])
def test_bad_input_is_one_line(change, message, tmp_path, capsys, monkeypatch):
    model_directory(tmp_path / "m")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "short.txt").write_text("cat")
    given = {"model": "m", "-o": "q", "--scheme": "dlt:g16", **change}
    model = given.pop("model")
    assert run(model, *(x for pair in given.items() for x in pair)) == 1
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert message in lines[0]
    assert not (tmp_path / "q").exists()


def test_tensors_that_are_missing_are_refused(tmp_path, capsys):
    from safetensors.torch import load_file, save_file

    source = model_directory(tmp_path / "m")
    tensors = load_file(source / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, source / "model.safetensors", {"format": "pt"})
    assert run(source, "-o", tmp_path / "q", "--scheme", "dlt:g16") == 1
    assert ("layers.1.mlp.up_proj.weight: is among the tensors that are "
            "missing") in capsys.readouterr().err


@pytest.mark.parametrize("arguments,message", [
    (["--scheme", "tern:g16"], "unknown method 'tern'"),
    (["--scheme", "dlt:g16", "--embedding", "int6:g4"], "scheme 'int6'"),
    (["--scheme", "dlt:g16", "--damping", "2"], "not a number in"),
    (["--scheme", "dlt:g16", "--samples", "0"], "not a positive integer")])
def test_wrong_command_lines_exit_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as exit:
        run("m", "-o", "q", *arguments)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_module_runs_as_a_program():
    done = subprocess.run([sys.executable, "-m", "tbq", "quantize", "--help"],
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--calibration" in done.stdout


def test_rows_of_text_and_of_shards(tmp_path):
    write_tokenizer(tmp_path)
    (tmp_path / "t.txt").write_text("abc\n<|endoftext|>\ndefg\n")
    rows = calibration_rows(tmp_path / "t.txt", tmp_path, VOCABULARY, 10, 4)
    assert rows.shape == (2, 4) and rows[0, 3] == 0  # abc, end of text
    writer = ShardWriter(tmp_path / "s", 50)
    writer.append(np.arange(100) % 50)
    writer.close({})
    rows = calibration_rows(tmp_path / "s", tmp_path, 50, 3, 10)
    assert rows[:, 0].tolist() == [0, 30, 10]  # windows 0, 3, 6 of 9
    with pytest.raises(DataError, match="50, but the model's is 51"):
        calibration_rows(tmp_path / "s", tmp_path, 51, 3, 10)
    with pytest.raises(DataError, match="not below the model's vocabulary"):
        calibration_rows(tmp_path / "t.txt", tmp_path, 60, 3, 4)
