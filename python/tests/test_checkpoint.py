# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The quantised checkpoint: bytes on disk, what they mean, round trips."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

import some_checkpoint as some
from some_checkpoint import DOWN
from tbq import checkpoint as ck


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


def test_nibbles_are_packed_low_nibble_first():
    codes = torch.tensor([[-8, 7, 0, -1, 3]], dtype=torch.int8)
    packed = ck.pack_nibbles(codes)
    assert packed.tolist() == [[0xF0, 0x78, 0x0B]]
    assert torch.equal(ck.unpack_nibbles(packed)[:, :5], codes)


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


def test_dequantized_embedding_with_a_short_last_group():
    codes = torch.tensor([[7, -8, 0, 5]], dtype=torch.int8)
    scale = torch.tensor([[0.5, -2.0]]).half()
    weight = ck.QuantizedEmbedding(codes, scale, 3, 4).dequantize()
    assert weight.tolist() == [[3.5, -4.0, 0.0, -10.0]]


def test_dequantized_salient_weights_of_the_literature():
    """W = [[.9, -.3, .05, -1.2], [.4, .02, -.45, .7]], of which PB-LLM keeps
    -1.2 in 8 bits: code 0 and zero point 146 of 255 steps over 2.1."""
    bits = torch.tensor([[1, 0, 0, 0], [1, 0, 0, 1]], dtype=torch.uint8)
    mask = torch.tensor([[0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    scale = torch.tensor([[.455556], [.3825]], dtype=torch.float64).half()
    shift = torch.tensor([[.216667], [.1675]], dtype=torch.float64).half()
    salient = ck.Salient(
        mask, torch.tensor([-128], dtype=torch.int8),
        torch.tensor([2.1 / 255, 1.15 / 255], dtype=torch.float64).half(),
        torch.tensor([146 - 128, 100 - 128], dtype=torch.int16))
    weight = ck.BinaryLinear(bits, scale, shift, 4, salient).dequantize()
    expected = torch.tensor([[.672223, -.238889, -.238889, -1.202353],
                             [.55, -.215, -.215, .55]])
    # A float16 coefficient is off by 2^-12 of itself at most.
    torch.testing.assert_close(weight, expected, rtol=2 ** -11, atol=2 ** -12)


def test_stored_salient_weights():
    """The mask is packed as the signs are; values and offsets go by rows."""
    mask = torch.zeros(3, 9, dtype=torch.bool)
    mask[0, [1, 8]] = mask[2, [0]] = True
    salient = ck.Salient(mask, torch.tensor([5, -7, 9], dtype=torch.int8),
                         torch.tensor([1.0, 2.0, 4.0]).half(), None)
    linear = ck.BinaryLinear(torch.zeros(3, 9, dtype=torch.uint8),
                             torch.ones(3, 1).half(), None, 9, salient)
    stored = linear.tensors()
    assert set(stored) == {"planes", "scale", "salient_mask", "salient_values",
                           "salient_offsets", "salient_scale"}
    assert stored["salient_mask"].tolist() == [[2, 1], [0, 0], [1, 0]]
    assert stored["salient_offsets"].tolist() == [0, 2, 2, 3]
    assert stored["salient_offsets"].dtype == torch.int32
    weight = linear.dequantize()
    assert weight[mask].tolist() == [5.0, -7.0, 36.0]
    assert (weight[~mask] == -1).all()


# config(), and whether salient zeros are stored (None: no salient weights).
ALL = {
    "ternary": (some.config(), None),
    "ternary-no-shift": (some.config(shift=False), None),
    "ternary-row": (some.config(group_size="row", ffn=11), None),
    "binary": (some.config("binary"), None),
    "binary-row-no-shift": (some.config("binary", "row", False), None),
    "salient": (some.config("binary"), True),
    "salient-no-zero": (some.config("binary", shift=False, ffn=11), False),
    "salient-row": (some.config("binary", "row"), True),
    "dual-binary": (some.config("dual-binary", ffn=11), None),
    "embedding-8": (some.config(embedding={"bits": 8, "group_size": 4}), None),
    "embedding-4-untied": (some.config(
        tied=False, embedding={"bits": 4, "group_size": "row"}), None),
}


def same(a, b):
    """Whether two linears or embeddings hold the same numbers."""
    stored, other = a.tensors(), b.tensors()
    return (type(a) is type(b) and a.group == b.group
            and stored.keys() == other.keys()
            and all(torch.equal(stored[k], other[k]) for k in stored))


@pytest.mark.parametrize("shard_size", [None, 200])
@pytest.mark.parametrize("name", ALL)
def test_what_was_read_is_written_as_it_was(tmp_path, name, shard_size):
    original = some.checkpoint(*ALL[name])
    ck.write_checkpoint(tmp_path / "a", original, shard_size)
    read = ck.read_checkpoint(tmp_path / "a")
    assert read.quantized().keys() == original.quantized().keys()
    for module, quantized in original.quantized().items():
        assert same(read.quantized()[module], quantized), module
        torch.testing.assert_close(read.quantized()[module].dequantize(),
                                   quantized.dequantize(), rtol=0, atol=0)
    assert read.floats.keys() == original.floats.keys()

    ck.write_checkpoint(tmp_path / "b", read, shard_size)
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert len(files) == 2 if shard_size is None else len(files) > 3
    for file in files:
        written, again = ((tmp_path / d / file).read_bytes() for d in "ab")
        assert written == again, file
    assert sorted(file.name for file in (tmp_path / "b").iterdir()) == files


def test_shards_are_filled_up_to_their_size(tmp_path):
    original = some.checkpoint(*ALL["salient"])
    ck.write_checkpoint(tmp_path, original, 200)
    shards = sorted(tmp_path.glob("model-*-of-*.safetensors"))
    sizes = [sum(t.numel() * t.element_size() for t in load_file(s).values())
             for s in shards]
    assert max(sizes) <= 200
    assert len(sizes) <= 2 * sum(sizes) // 200 + 1
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == sum(sizes)
    assert set(index["weight_map"].values()) == {s.name for s in shards}
    assert not (tmp_path / "model.safetensors").exists()
    # A tensor larger than a shard is alone in its own.
    ck.write_checkpoint(tmp_path, original, 1)
    assert all(len(load_file(s)) == 1
               for s in tmp_path.glob("model-*.safetensors"))
    # One file replaces the shards, and shards the file.
    ck.write_checkpoint(tmp_path, original)
    assert [s.name for s in tmp_path.glob("model*")] == ["model.safetensors"]


@pytest.mark.parametrize("names", [["lm_head"], ["model.embed_tokens", "lm_head"]])
def test_a_tied_table_under_either_name(tmp_path, names):
    original = some.checkpoint(*ALL["embedding-8"])
    (table,) = original.embeddings.values()
    copies = {name: some.embedding(8, 4) for name in names}
    stored = ck.QuantizedCheckpoint(original.config, original.linears,
                                    original.floats, copies)
    ck.write_checkpoint(tmp_path / "q", stored)
    read = ck.read_checkpoint(tmp_path / "q")
    assert list(read.embeddings) == names
    assert all(same(other, table) for other in read.embeddings.values())
    ck.dequantize_directory(tmp_path / "q", tmp_path / "f")
    tensors = load_file(tmp_path / "f" / "model.safetensors")
    assert torch.equal(tensors["model.embed_tokens.weight"], table.dequantize())


def test_layers_are_stored_each_in_their_own_way(tmp_path):
    """Overrides by pattern, and modules that stay float."""
    settings = some.config("binary", layers={
        r".*\.self_attn\..*": {"scheme": "ternary", "shift": False},
        r".*\.(up|gate)_proj": {"scheme": "dual-binary", "group_size": "row"},
        r".*\.up_proj": {"scheme": "dual-binary", "group_size": "row"},
    }, modules_to_not_convert=["self_attn.o_proj", "layers.0.mlp.gate", "k_pro"])
    original = some.checkpoint(settings)
    floats, linears = dict(original.floats), dict(original.linears)
    for name, shape in some.shapes(settings).items():
        if name.endswith("o_proj"):
            floats[f"{name}.weight"] = linears.pop(name).dequantize()
        elif "self_attn" in name:
            linears[name] = some.linear(*shape, "ternary", 4, False)
        elif not name.endswith("down_proj"):
            linears[name] = some.linear(*shape, "dual-binary", "row", False)
    ck.write_checkpoint(tmp_path / "q",
                        ck.QuantizedCheckpoint(settings, linears, floats))
    read = ck.read_checkpoint(tmp_path / "q")
    assert read.linears.keys() == linears.keys()
    assert all(same(read.linears[name], linears[name]) for name in linears)
    assert "model.layers.0.self_attn.o_proj.weight" in read.floats
    ck.dequantize_directory(tmp_path / "q", tmp_path / "f")
    tensors = load_file(tmp_path / "f" / "model.safetensors")
    for name, linear in linears.items():
        assert torch.equal(tensors[f"{name}.weight"], linear.dequantize())


def dequantize(*arguments):
    return subprocess.run([sys.executable, "-m", "tbq", "dequantize",
                           *arguments], capture_output=True, text=True)


@pytest.mark.parametrize("name", ALL)
def test_transformers_loads_the_dequantized_directory(tmp_path, name):
    transformers = pytest.importorskip("transformers")
    original = some.checkpoint(*ALL[name])
    ck.write_checkpoint(tmp_path / "q", original, 500)
    (tmp_path / "q" / "tokenizer.json").write_text("{}")
    ck.dequantize_directory(tmp_path / "q", tmp_path / "f")
    tensors = load_file(tmp_path / "f" / "model.safetensors")
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    for module, quantized in original.quantized().items():
        assert torch.equal(tensors[f"{module}.weight"], quantized.dequantize())
    written = json.loads((tmp_path / "f" / "config.json").read_text())
    assert "quantization_config" not in written
    assert sorted(file.name for file in (tmp_path / "f").iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json"]

    _, info = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "f", output_loading_info=True)
    assert not any(info.values()), info
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig.from_pretrained(tmp_path / "f"))
    if original.config["tie_word_embeddings"]:
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    model.load_state_dict(tensors, strict=True)


def test_command_line(tmp_path):
    original = some.checkpoint(*ALL["salient"])
    ck.write_checkpoint(tmp_path / "q", original)
    ran = dequantize(tmp_path / "q", tmp_path / "f", "--max-shard-size", "1KB")
    assert ran.returncode == 0, ran.stderr
    shards = sorted((tmp_path / "f").glob("model-*.safetensors"))
    assert len(shards) > 1
    tensors = {k: v for shard in shards for k, v in load_file(shard).items()}
    assert torch.equal(tensors[f"{DOWN}.weight"],
                       original.linears[DOWN].dequantize())

    (tmp_path / "q" / "model.safetensors").unlink()
    ran = dequantize(tmp_path / "q", tmp_path / "g")
    assert ran.returncode == 1 and len(ran.stderr.splitlines()) == 1
    assert "model.safetensors: file" in ran.stderr
    assert not (tmp_path / "g").exists()
    ran = dequantize(tmp_path / "q", tmp_path / "q")
    assert ran.returncode == 1 and "is the source itself" in ran.stderr
    for size in ("0", "5PB", "-1", "GB", "1.5GB"):
        ran = dequantize(tmp_path / "q", tmp_path / "g", f"--max-shard-size={size}")
        assert ran.returncode == 2 and f"'{size}' is not a size" in ran.stderr
