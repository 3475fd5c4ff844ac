# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The quantised checkpoint: bytes on disk, round trip, refusals."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from tbq import checkpoint as ck


def config(group, **quantization):
    return {"model_type": "llama", "hidden_size": 6, "intermediate_size": 10,
            "num_attention_heads": 2,
            "quantization_config": {"quant_method": "tbq", "scheme": "ternary",
                                    "group_size": group, "shift": True,
                                    **quantization}}


def linear(rows, columns, group, shift=True):
    generator = torch.Generator().manual_seed(rows * columns)
    groups = -(-columns // group)
    codes = torch.randint(-1, 2, (rows, columns), generator=generator,
                          dtype=torch.int8)
    scale = torch.rand(rows, groups, generator=generator).half()
    offset = (torch.rand(rows, groups, generator=generator) - 0.5).half()
    return ck.TernaryLinear(codes, scale, offset if shift else None, group)


def binary_linear(rows, columns, group, scheme, shift=True):
    ternary = linear(rows, columns, group, shift)
    generator = torch.Generator().manual_seed(7)
    bits = torch.randint(0, 2, (2, rows, columns), generator=generator,
                         dtype=torch.uint8)
    if scheme == "binary":
        return ck.BinaryLinear(bits[0], ternary.scale, ternary.shift, group)
    scales = torch.stack([ternary.scale, -ternary.scale.flip(0)])
    return ck.DualBinaryLinear(bits, scales, group)


def test_codes_are_packed_low_bits_first():
    codes = torch.tensor([[-1, 0, 1, 1, 0, -1]], dtype=torch.int8)
    packed = ck.pack_codes(codes)
    assert packed.tolist() == [[0b10_10_01_00, 0b0001]]
    assert torch.equal(ck.unpack_codes(packed, 6), codes)


def test_bits_are_packed_low_bits_first():
    bits = torch.tensor([[[1, 0, 1, 1, 0, 0, 0, 1, 1]], [[0] * 8 + [1]]],
                        dtype=torch.uint8)
    packed = ck.pack_bits(bits)
    assert packed.tolist() == [[[0b10001101, 1]], [[0, 1]]]
    assert torch.equal(ck.unpack_bits(packed)[..., :9], bits)


def test_dequantized_bits_with_a_short_last_group():
    bits = torch.tensor([[1, 0, 0, 1]], dtype=torch.uint8)
    scale, shift = torch.tensor([[[0.5, 2.0]], [[0.25, -1.0]]]).half()
    weight = ck.BinaryLinear(bits, scale, shift, 3).dequantize()
    assert weight.tolist() == [[0.75, -0.25, -0.25, 1.0]]
    weight = ck.BinaryLinear(bits, scale, None, 3).dequantize()
    assert weight.tolist() == [[0.5, -0.5, -0.5, 2.0]]
    planes = torch.stack([bits, torch.tensor([[1, 1, 0, 1]], dtype=torch.uint8)])
    scales = torch.stack([scale, shift])
    weight = ck.DualBinaryLinear(planes, scales, 3).dequantize()
    assert weight.tolist() == [[0.75, 0.25, 0.0, 1.0]]


def test_dequantized_weight_with_a_short_last_group():
    codes = torch.tensor([[1, 0, -1, 1, -1]], dtype=torch.int8)
    scale = torch.tensor([[0.5, 2.0]]).half()
    shift = torch.tensor([[0.25, -1.0]]).half()
    weight = ck.TernaryLinear(codes, scale, shift, 3).dequantize()
    assert weight.tolist() == [[0.75, 0.25, -0.25, 1.0, -3.0]]


@pytest.mark.parametrize("group,shift", [(4, True), (4, False), ("row", True)])
def test_round_trip_and_dequantized_directory(tmp_path, group, shift):
    name = "model.layers.0.mlp.down_proj"
    original = linear(3, 10, 10 if group == "row" else group, shift)
    floats = {"model.norm.weight": torch.ones(6),
              "model.embed_tokens.weight": torch.ones(2, 6).half()}
    ck.write_checkpoint(tmp_path / "q", ck.QuantizedCheckpoint(
        config(group, shift=shift), {name: original}, floats))
    (tmp_path / "q" / "tokenizer.json").write_text("{}")
    read = ck.read_checkpoint(tmp_path / "q").linears[name]
    assert torch.equal(read.codes, original.codes)
    assert torch.equal(read.dequantize(), original.dequantize())

    ran = subprocess.run([sys.executable, "-m", "tbq", "dequantize",
                          tmp_path / "q", tmp_path / "f"])
    assert ran.returncode == 0
    tensors = load_file(tmp_path / "f" / "model.safetensors")
    assert torch.equal(tensors[name + ".weight"], original.dequantize())
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    written = json.loads((tmp_path / "f" / "config.json").read_text())
    assert "quantization_config" not in written
    assert (tmp_path / "f" / "tokenizer.json").exists()


@pytest.mark.parametrize("scheme,group,shift", [
    ("binary", 4, True), ("binary", "row", False), ("dual-binary", 4, False)])
def test_round_trip_of_bits(tmp_path, scheme, group, shift):
    name = "model.layers.0.mlp.down_proj"
    original = binary_linear(3, 10, 10 if group == "row" else group, scheme, shift)
    ck.write_checkpoint(tmp_path, ck.QuantizedCheckpoint(
        config(group, scheme=scheme, shift=shift), {name: original}, {}))
    stored = load_file(tmp_path / "model.safetensors")
    planes = 1 if scheme == "binary" else 2
    assert stored[f"{name}.planes"].shape == (planes, 3, 2)
    assert len(stored[f"{name}.scale"].shape) == planes + 1
    assert (f"{name}.shift" in stored) == shift
    read = ck.read_checkpoint(tmp_path).linears[name]
    assert type(read) is type(original)
    assert torch.equal(read.bits, original.bits)
    assert torch.equal(read.dequantize(), original.dequantize())


def break_config(directory, key, value):
    path = directory / "config.json"
    values = json.loads(path.read_text())
    values["quantization_config"][key] = value
    path.write_text(json.dumps(values))


def break_tensors(directory, **changes):
    path = directory / "model.safetensors"
    tensors = load_file(path)
    for part, tensor in changes.items():
        tensors.pop(f"model.layers.0.mlp.up_proj.{part}")
        if tensor is not None:
            tensors[f"model.layers.0.mlp.up_proj.{part}"] = tensor
    save_file(tensors, path)


@pytest.mark.parametrize("damage,named", [
    (lambda d: break_config(d, "scheme", "int4"), "scheme.*'int4'"),
    (lambda d: break_config(d, "quant_method", "gptq"), "quant_method.*'gptq'"),
    (lambda d: break_config(d, "group_size", 0), "group_size.*0"),
    (lambda d: break_config(d, "shift", "yes"), "shift.*'yes'"),
    (lambda d: break_tensors(d, shift=None), "up_proj.shift: missing"),
    (lambda d: break_tensors(d, scale=torch.ones(2, 3).half()),
     r"up_proj.scale: shape \[2, 3\], expected \[2, 2\]"),
    (lambda d: break_tensors(d, scale=torch.ones(2, 2)), "up_proj.scale.*float32"),
    (lambda d: break_tensors(d, codes=torch.full((2, 2), 255, dtype=torch.uint8)),
     "up_proj.codes: holds the code 3"),
    (lambda d: break_tensors(d, codes=torch.zeros(2, 3, dtype=torch.uint8)),
     "up_proj.codes: 3 bytes a row"),
    (lambda d: (d / "model.safetensors").write_bytes(b"short"),
     "model.safetensors: file"),
    (lambda d: (d / "config.json").write_text("["), "config.json: file"),
])
def test_damage_is_refused_by_name(tmp_path, damage, named):
    ck.write_checkpoint(tmp_path, ck.QuantizedCheckpoint(
        config(4), {"model.layers.0.mlp.up_proj": linear(2, 6, 4)}, {}))
    ck.read_checkpoint(tmp_path)
    damage(tmp_path)
    with pytest.raises(ck.CheckpointError, match=named):
        ck.read_checkpoint(tmp_path)


@pytest.mark.parametrize("damage,named", [
    (lambda d: break_config(d, "shift", True), "shift: dual-binary has no shift"),
    (lambda d: break_tensors(d, planes=torch.zeros(1, 2, 1, dtype=torch.uint8)),
     r"up_proj.planes: shape \[1, 2, 1\], expected \[2, 2, 1\]"),
    (lambda d: break_tensors(d, planes=torch.zeros(2, 2, 2, dtype=torch.uint8)),
     "up_proj.planes: 2 bytes a row"),
    (lambda d: break_tensors(
        d, planes=torch.full((2, 2, 1), 0x40, dtype=torch.uint8)),
     "up_proj.planes: has bits past the 6 columns"),
    (lambda d: break_tensors(d, scale=torch.ones(2, 2).half()),
     r"up_proj.scale: shape \[2, 2\], expected \[2, 2, 2\]"),
    (lambda d: break_tensors(d, scale=None), "up_proj.scale: missing"),
])
def test_damaged_bits_are_refused_by_name(tmp_path, damage, named):
    name = "model.layers.0.mlp.up_proj"
    ck.write_checkpoint(tmp_path, ck.QuantizedCheckpoint(
        config(4, scheme="dual-binary", shift=False),
        {name: binary_linear(2, 6, 4, "dual-binary")}, {}))
    ck.read_checkpoint(tmp_path)
    damage(tmp_path)
    with pytest.raises(ck.CheckpointError, match=named):
        ck.read_checkpoint(tmp_path)


def test_salient_weights_are_refused_by_name(tmp_path):
    name = "model.layers.0.mlp.up_proj"
    ck.write_checkpoint(tmp_path, ck.QuantizedCheckpoint(
        config(4, scheme="binary"), {name: binary_linear(2, 6, 4, "binary")},
        {f"{name}.salient_mask": torch.zeros(2, 1, dtype=torch.uint8)}))
    with pytest.raises(ck.CheckpointError, match="up_proj.salient_mask"):
        ck.read_checkpoint(tmp_path)
