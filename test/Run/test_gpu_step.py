# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The step that is compiled for a GPU, run without one (emulator.py), by the runtime that would run
it there. What it computes is what the CPU's step computes, prefill and decode give the same bits,
and its operations are the interpreter's. test_gpu_device.py runs it on a GPU.
"""

import json
import platform

import pytest
from safetensors.torch import load_file, save_file

import emulator
import gpu_steps
import synthetic
from conftest import LONG, runGood

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="fibers of x86-64 here")
IDS = [(7 * i) % 60 + 1 for i in range(19)]  # more than a block of 16 keys
# The head of tinytales has enough tiles for two at once.
CASES = [("stored-ternary-g128", "i8"), ("stored-odd-binary-row", "i16"), ("stored-odd-salient-g64", "i8"),
         ("tinytales", "i8"), ("stored-many-tiles", "i8")]
SLOW = [(name, mode) for name in gpu_steps.NAMES for mode in gpu_steps.BOUNDS]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    return emulator.buildDriver(tmp_path_factory.mktemp("emulator"), emulates=True)


@pytest.fixture
def emulated(driver, compile_model, tmp_path, monkeypatch):
    """emulated(directory, flags) -> an artifact for a GPU, which programs from now on run here."""

    def prepare(directory, *flags, arch="sm_90"):
        flags = (*flags, "--target=cuda", f"--gpu-arch={arch}")
        emulator.compileStep(directory, flags, driver, tmp_path / "step.so")
        monkeypatch.setenv("TBQ_LIBCUDA", str(driver))
        monkeypatch.setenv("EMULATED_STEP", str(tmp_path / "step.so"))
        return compile_model(directory, *flags)

    return prepare


@pytest.mark.parametrize("name, activations", CASES + [case for case in SLOW if case not in CASES] * LONG)
def test_computes_what_the_cpu_does(name, activations, model_directory, compile_model, logits_of, emulated, measure):
    directory, flag = model_directory(name), f"--activations={activations}"
    expected = logits_of(compile_model(directory, flag), IDS)
    artifact = emulated(directory, flag)
    found = logits_of(artifact, IDS)
    for chunk in (1, 7):
        assert logits_of(artifact, IDS, chunk=chunk).tobytes() == found.tobytes()
    gpu_steps.check(found, expected, activations, measure)


@pytest.mark.parametrize("name, activations, most", [
    ("stored-ternary-g128", "i8", 3), ("stored-odd-salient-g64", "i16", 3), ("opt", "f32", 3),
    ("stored-many-tiles", "i8", 8), ("stored-many-tiles", "i16", 5), ("stored-many-tiles", "i8", 18)])  # fmt: skip
def test_batch_has_the_same_bits(name, activations, most, model_directory, logits_of, emulated):
    """Sequences at once, each a token behind the one before; up to 8 by rings, 18 by blocks of products, two of them
    by decode."""
    artifact = emulated(model_directory(name), f"--activations={activations}", f"--max-batch={most}")
    alone = logits_of(artifact, IDS[:17])
    for sequences in (most, 2):
        for found in logits_of(artifact, IDS[:17], batch=sequences):
            assert found.tobytes() == alone.tobytes()


@pytest.mark.parametrize("flags", [("--temp", 0), ("--temp", 2, "--top-k", 5, "--seed", 3)])
def test_a_token_is_chosen_of_few_logits(flags, model_directory, emulated):
    """Decode says which groups of logits are large; whoever ignores ends looks at all of them."""
    artifact = emulated(model_directory("stored-ternary-g128"), "--activations=i8")
    assert json.loads(runGood("tbq-inspect", "--json", artifact).stdout)["steps"]["summarizes_logits"]
    run = ("tbq-run", "-m", artifact, "-p", "the license", "-n", 16, *flags)
    assert runGood(*run).stdout == runGood(*run, "--ignore-eos").stdout


def test_many_keys(tmp_path, compile_model, logits_of, emulated, measure):
    """More than one block of 16 keys for each of 16 warps."""
    synthetic.makeCheckpoint(tmp_path / "model", hidden_size=32, intermediate_size=32, num_hidden_layers=1,
                             num_attention_heads=2, num_key_value_heads=1, head_dim=16)  # fmt: skip
    ids = [(7 * i) % 60 + 1 for i in range(16 * 16 + 12)]
    flag = "--activations=i16"
    expected = logits_of(compile_model(tmp_path / "model", flag), ids)
    artifact = emulated(tmp_path / "model", flag)
    found = logits_of(artifact, ids)
    assert logits_of(artifact, ids, chunk=1).tobytes() == found.tobytes()
    gpu_steps.check(found, expected, "i16", measure)


def makeScaled(directory, linear, factor, **shape):
    """A layer of two small heads, or of another shape, one of whose linears has larger weights."""
    shape = {"hidden_size": 32, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16, **shape}
    synthetic.makeCheckpoint(directory, intermediate_size=32, num_hidden_layers=1, **shape)
    weights = load_file(directory / "model.safetensors")
    weights[f"model.layers.0.{linear}.weight"] *= factor
    save_file(weights, directory / "model.safetensors", {"format": "pt"})
    return directory


def test_scores_that_grow(tmp_path, compile_model, logits_of, emulated, measure):
    """A warp's later keys are far above its first: what it has added up is taken relative to them."""
    directory = makeScaled(tmp_path / "model", "self_attn.q_proj", 64)
    ids = [(11 * i * i + i) % 60 + 1 for i in range(16 * 16 + 60)]
    flags = ("--activations=f32", "--kv-cache=f16")
    expected = logits_of(compile_model(directory, *flags), ids)
    artifact = emulated(directory, *flags)
    found = logits_of(artifact, ids)
    assert logits_of(artifact, ids, chunk=1).tobytes() == found.tobytes()
    gpu_steps.check(found, expected, "f32", measure)


# Of one head, of two, three or four that read the same keys: tiles of tokens that are whole units or not; parts of the
# keys that have one, two and three blocks, and an odd number in all; scores that grow; more units than blocks. By warp
# groups, 128 queries a unit; before sm_90a by warps, of two heads or, where such are an odd number, twice the tokens.
@pytest.mark.parametrize("heads, kv, dim, factor, arch",
                         [(4, 1, 128, 2, "sm_90a"), (4, 2, 64, 2, "sm_90a"), (2, 2, 64, 1, "sm_90a"),
                          (3, 1, 64, 2, "sm_90a"), (4, 2, 64, 2, "sm_90"), (3, 1, 64, 2, "sm_90")])  # fmt: skip
def test_units_of_many_queries(heads, kv, dim, factor, arch, tmp_path, compile_model, logits_of, emulated, measure):
    directory = makeScaled(tmp_path / "model", "self_attn.q_proj", factor, hidden_size=48, num_attention_heads=heads,
                           num_key_value_heads=kv, head_dim=dim, max_position_embeddings=640)  # fmt: skip
    ids = [(11 * i * i + i) % 60 + 1 for i in range(16 * 16 * 2 + 60)]
    flags = ("--activations=f32", "--kv-cache=f16")
    expected = logits_of(compile_model(directory, *flags), ids)
    artifact = emulated(directory, *flags, "--gpu-blocks=1", arch=arch)
    found = logits_of(artifact, ids)
    assert logits_of(artifact, ids, chunk=1).tobytes() == found.tobytes()
    assert logits_of(artifact, ids, chunk=37).tobytes() == found.tobytes()
    gpu_steps.check(found, expected, "f32", measure)


def test_attention_is_of_products(model_directory):
    """Of each block of 16 keys, in PTX: what a lane loads is what its products take, and no more. Heads
    of 64 have four tiles of 16 features; there are a token's first block, its others, those of a
    block's other heads, and the tiles of a prefill, of twice as many tokens as a product. What else is of
    halves is the sum term of three kinds of linears: one product a round, or of each two tiles and
    eight tokens that a warp has; and in decode, of each piece of a round what makes integers of counts."""
    flags = ("--activations=i8", "--target=cuda", "--gpu-arch=sm_90", "--emit=asm")
    text = runGood("tbqc", model_directory("stored-many-tiles"), "-o", "-", *flags).stdout
    decode, prefill = (text[text.index(f"entry {name}(") :] for name in ("decode", "prefill"))
    decode = decode[: len(decode) - len(prefill)]
    product = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32"
    assert decode.count(product) == 3 * 4 * (2 + 2) + 3 + 8
    assert prefill.count(product) == 2 * 4 * (2 + 2) + 14
    for step, blocks in ((decode, 3), (prefill, 1)):
        loads = [line for line in step.splitlines() if "ld.global.v4.b32" in line]
        assert len(loads) >= blocks * 4 * (1 + 1)


def evaluateAtOnce(tbq_runtime, artifact, ids):
    """The last token's logits, by steps as wide as the artifact has them: of several tiles of tokens, where
    a step that gives all tokens' logits has 128 at most."""
    session = tbq_runtime.Session(tbq_runtime.Model(str(artifact)), threads=1)
    session.eval(ids)
    return session.logits


# Tiles of 128 rows and 128 tokens, the last ones not full, or of fewer; more than one a block; with
# digits of activations by two; of pieces that are shared by ranges and of groups that have several.
@pytest.mark.parametrize("name, activations, chunk, count",
                         [("stored-many-tiles", "i8", 384, 140), ("stored-many-tiles", "i16", 128, 70),
                          ("stored-ternary-row", "i8", 32, 37), ("stored-dual-binary-g64", "i16", 24, 30),
                          ("stored-int8-g32", "i8", 64, 21)])
def test_blocks_divide_tokens(name, activations, chunk, count, model_directory, compile_model, logits_of, emulated,
                              measure, tbq_runtime):
    ids = [(7 * i) % 60 + 1 for i in range(count)]
    directory, flag = model_directory(name), f"--activations={activations}"
    expected = logits_of(compile_model(directory, flag), ids)
    artifact = emulated(directory, flag, f"--prefill-chunk={chunk}")
    found = logits_of(artifact, ids, chunk=chunk)
    assert logits_of(artifact, ids, chunk=1).tobytes() == found.tobytes()
    assert (evaluateAtOnce(tbq_runtime, artifact, ids) == found[-1]).all()
    gpu_steps.check(found, expected, activations, measure)


# On sm_90a by warp groups: 128 rows and 128 tokens or fewer a tile, more than one tile of either; one, two or four
# pieces a stage; with sums of groups or without; planes of one and of two bits; gate and up as one or not.
@pytest.mark.parametrize("name, activations, chunk, count",
                         [("stored-many-tiles", "i8", 256, 140), ("stored-whole-stages", "i16", 128, 70),
                          ("stored-whole-stages", "i8", 32, 37), ("stored-whole-stages", "i8", 16, 18),
                          ("stored-few-stages", "i8", 16, 18)])
def test_warp_groups_divide_tokens(name, activations, chunk, count, model_directory, compile_model, logits_of, emulated,
                                   measure, tbq_runtime):
    ids = [(7 * i) % 60 + 1 for i in range(count)]
    directory, flag = model_directory(name), f"--activations={activations}"
    expected = logits_of(compile_model(directory, flag), ids)
    artifact = emulated(directory, flag, f"--prefill-chunk={chunk}", "--gpu-blocks=1", arch="sm_90a")
    found = logits_of(artifact, ids, chunk=chunk)
    few = ids[:20]
    assert logits_of(artifact, few, chunk=1).tobytes() == found[:20].tobytes()
    assert logits_of(artifact, ids, chunk=50).tobytes() == found.tobytes()
    assert (evaluateAtOnce(tbq_runtime, artifact, ids) == found[-1]).all()
    gpu_steps.check(found, expected, activations, measure)


@pytest.mark.parametrize("activations, arch", [("i8", "sm_90a"), ("i16", "sm_90a"), ("i8", "sm_90"), ("f32", "sm_90")])
def test_shifts_are_added_by_eights(activations, arch, model_directory, compile_model, logits_of, emulated, measure):
    """Rows of 16 and 40 groups, which two warps share: two and three of five eights, so that a stage of the
    first brings one that is the other's. The same bits by warp groups, by blocks, by a ring and by warps alone."""
    directory, flag = model_directory("stored-many-groups"), f"--activations={activations}"
    ids = [(7 * i) % 60 + 1 for i in range(20)]
    expected = logits_of(compile_model(directory, flag), ids)
    artifact = emulated(directory, flag, "--prefill-chunk=32", "--gpu-blocks=4", arch=arch)
    found = logits_of(artifact, ids)
    assert logits_of(artifact, ids, chunk=1).tobytes() == found.tobytes()
    other = emulated(directory, flag, "--prefill-chunk=12", "--gpu-blocks=4", arch="sm_90")
    assert logits_of(other, ids).tobytes() == found.tobytes()
    gpu_steps.check(found, expected, activations, measure)


def test_eights_end_among_a_rounds_pieces(model_directory, compile_model, logits_of, emulated, measure):
    directory, flags = model_directory("stored-parted-eights"), ("--activations=i8", "--gpu-blocks=8")
    expected = logits_of(compile_model(directory, "--activations=i8"), IDS)
    artifact = emulated(directory, *flags)
    found = logits_of(artifact, IDS)
    assert logits_of(artifact, IDS, chunk=1).tobytes() == found.tobytes()
    gpu_steps.check(found, expected, "i8", measure)


def test_weights_are_asked_for_behind_a_row(model_directory, compile_model, logits_of, emulated, measure):
    """A block that has all tiles asks for few rounds before a barrier, for more when a row has come, and then for
    the rest; of a row of more than eight floats a thread what it makes of them says that they are there."""
    directory, flag = model_directory("stored-wide-rows"), "--activations=i8"
    expected = logits_of(compile_model(directory, flag), IDS[:5])
    artifact = emulated(directory, flag, "--gpu-blocks=1")
    found = logits_of(artifact, IDS[:5])
    assert logits_of(artifact, IDS[:5], chunk=1).tobytes() == found.tobytes()
    gpu_steps.check(found, expected, "i8", measure)


@pytest.mark.parametrize("name", ["wide-tied"] + ["wide-untied"] * LONG)
def test_groups_of_several_pieces(name, model_directory, compile_model, logits_of, emulated, measure):
    """Rows of 272 and 520 columns: the coefficients that lie behind a group come with each of its pieces."""
    directory, flags = model_directory(name), ("--quantize=ternary:row", "--activations=i16")
    expected = logits_of(compile_model(directory, *flags), IDS)
    artifact = emulated(directory, *flags)
    found = logits_of(artifact, IDS)
    assert logits_of(artifact, IDS, chunk=1).tobytes() == found.tobytes()
    gpu_steps.check(found, expected, "i16", measure)


def test_attention_by_products_is_exact(model_directory, compile_model, logits_of, emulated, measure):
    """What f16 leaves of queries and weights counts too: with a cache of f16 floats are as near as with one of f32."""
    directory, flags = model_directory("stored-ternary-g128"), ("--activations=f32", "--kv-cache=f16")
    expected = logits_of(compile_model(directory, *flags), IDS)
    gpu_steps.check(logits_of(emulated(directory, *flags), IDS), expected, "f32", measure)


def test_phases_are_timed(model_directory, emulated):
    """Of a token's step, a layer's first, and together as long as it takes; in other artifacts none is."""
    directory = model_directory("stored-ternary-g128")
    benchmark = ("-p", "0", "-n", "4", "-r", "2", "-t", "1")
    plain = emulated(directory, "--activations=i8")
    assert "Phases" not in runGood("tbq-bench", "-m", plain, *benchmark).stdout
    timed = emulated(directory, "--activations=i8", "--time-phases")
    lines = runGood("tbq-bench", "-m", timed, *benchmark).stdout.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("| phase |"))
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[head + 2 :] if line]
    layers = json.loads((directory / "config.json").read_text())["num_hidden_layers"]
    assert [(row[0], int(row[1])) for row in rows] == [
        ("rms_norm, quantize_activations, q_proj, k_proj, v_proj", layers),
        ("rope, rope, attention, append_cache", layers),
        ("quantize_activations, o_proj", layers),
        ("rms_norm, quantize_activations, gate_proj, up_proj, gated_activation", layers),
        ("quantize_activations, down_proj", layers),
        ("embedding", 1),
        ("select_rows, rms_norm, lm_head", 1),
        ("summarize_logits", 1),
        ("all", 5 * layers + 3),
    ]
    for row in rows:
        median, last, barrier, whole = map(float, row[2:])
        assert 0 < median == last <= whole  # one block
        assert whole == pytest.approx(last + barrier, abs=0.21)
    measured = 1e6 / float(lines[head - 4].split("|")[3].split()[0])
    assert 0.3 * measured < float(rows[-1][5]) < 1.1 * measured


@pytest.mark.parametrize("name, activations", [("stored-ternary-g128", "i8")] + [("opt", "f32"), ("tied-f32", "i16")] * LONG)
def test_operations(name, activations, model_directory, emulated):
    """Each on the values that the step gave it. Those of norms and of what is quantised lie in memory
    of the block; the cache is shown part by part."""
    directory = model_directory(name)
    artifact = emulated(directory, "--dump-tensors", f"--activations={activations}")
    report = json.loads(runGood("tbq-verify", "-m", artifact, directory, "--json").stdout)
    assert report["operations"]
    for operation in report["operations"]:
        assert not operation["broken"] and operation["values"] > 0, operation
        assert operation["runs"] == report["steps"] == 4
        assert operation["exact"] == (operation["differing"] == 0 and operation["bound"] == 0), operation
    kinds = {operation["kind"]: operation["exact"] for operation in report["operations"]}
    assert kinds["append_cache"] and not kinds["attention"]
    assert not kinds.get("packed_linear integer")


def test_large_gates(tmp_path, emulated):
    """The power that silu is made of has an exponent that is rounded: what that leaves counts."""
    directory = makeScaled(tmp_path / "model", "mlp.gate_proj", 16)
    artifact = emulated(directory, "--dump-tensors", "--activations=f32")
    report = json.loads(runGood("tbq-verify", "-m", artifact, directory, "--json").stdout)
    (silu,) = (operation for operation in report["operations"] if operation["kind"] == "gated_activation")
    assert not silu["broken"] and silu["values"] > 0, silu
