# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Whole models: what the artifacts compute against transformers in float32.

Float and quantised logits (normalised mean square error at most 1e-6), greedy text token for
token, int8 activations against rounded ones, and bitwise equality over workers, chunks and the
order in which fibers run.
"""

import itertools
import json

import numpy
import pytest
from transformers import AutoTokenizer

import binary
import integer
import reference
import salient
import synthetic
import ternary
from conftest import DATA, LONG, REPOSITORY, runGood

FLOAT_MODELS = [*synthetic.FLOAT, "stories260k", "tinystories", "smollm2"]
MODELS = [*FLOAT_MODELS, *synthetic.STORED, "tinytales"]
SPECS = [
    "ternary:g128", "ternary:row", "binary:g128", "binary:row", "dual-binary:g64",
    "binary:g128,salient=0.1", "binary:row,salient=0.3",
]  # fmt: skip
# In every run: all specs on one model, each on another one too.
ALL_SPECS = "odd-biased-linear-rope"
SOME_SPECS = {
    "tied-f32": ["binary:row,salient=0.3"],
    "untied-bf16-sharded": ["dual-binary:g64"],
    "f16-llama3-rope": ["binary:g128"],
    "stories260k": ["ternary:row"],
    "tinystories": ["ternary:g128", "binary:g128,salient=0.1"],
    "smollm2": ["ternary:g128"],
    "opt": ["dual-binary:g64"],
    "opt-post-f16": ["binary:row"],
    "opt-gelu-bf16": ["ternary:row"],
    "smollm2-first-layers": ["ternary:g128", "binary:g128,salient=0.1"],
}
BOUND = 1e-6
SAME = 1e-9  # where the arithmetic is the same; a cache of halves has 1e-7
SAME_IN_FIRST_LAYERS = 1e-10  # 1.4e-12 at most; 2e-10 with one row's shift half as large again
WINDOW = 250
# What the compiler quantises is in no hands of the optimiser, which takes most of a small model's
# compile. test_logits and test_bitwise_equal have the code that ships.
FAST = "-O3" if LONG else "-O0"

GREEDY_PROMPT = "Once upon a time"
CHAT_QUESTION = "What is the capital of France?"
CHAT_ANSWER = "The capital of France is Paris."


def sampleText(name):
    story = DATA / "corpora/tinystories-200kb.txt"
    source = story if name in ("stories260k", "tinystories") and story.exists() else REPOSITORY / "LICENSE"
    return source.read_text(encoding="utf-8")[:20000]


def windowsOf(name, directory):
    """1,000 positions of text, in windows the model's context holds."""
    tokenizer = AutoTokenizer.from_pretrained(directory)
    count = 4 * WINDOW
    ids = tokenizer(sampleText(name))["input_ids"][:count]
    assert len(ids) == count
    return [ids[i : i + WINDOW] for i in range(0, count, WINDOW)]


def quantiser(spec):
    """What --quantize=SPEC does to a matrix, by the tests' own means."""
    scheme, _, rest = spec.partition(":")
    group, _, fraction = rest.partition(",salient=")
    group = group if group == "row" else int(group.removeprefix("g"))
    if fraction:
        return lambda weights: salient.quantise(weights, group, float(fraction))
    if scheme == "ternary":
        return lambda weights: ternary.quantise(weights, group)
    return lambda weights: binary.quantise(weights, scheme, group)


def logitsOfBoth(artifact, model, windows, logits_of):
    found = numpy.concatenate([logits_of(artifact, ids) for ids in windows])
    expected = numpy.concatenate([reference.logitsOf(model, ids) for ids in windows])
    assert found.shape == expected.shape
    return found, expected


def checkFloats(artifact, model, windows, logits_of, measure):
    found, expected = logitsOfBoth(artifact, model, windows, logits_of)
    error = reference.nmse(found, expected)
    measure("NMSE", error)
    assert error <= BOUND
    return found


def checkIntegers(name, artifact, model, windows, logits_of, measure, floats, **rounded):
    """Against the model with rounded activations, and how far from the one with float ones.

    The last bit of a float may decide a rounding, and a rounding decides many after it: in later
    layers, and at later tokens. Most positions of a few tokens in a few layers have none. SmolLM2
    rounds 98,000 numbers a token, so how many tokens have none is chance, a third of them or
    nearly all by scheme; but values, outputs or an MLP that are wrong leave none right, so one
    single token must be. What a single token does not show, queries and keys, most positions do in
    the first layers (test_first_layers_with_i8), and tbq-verify each operation in all of them.
    """
    found = numpy.concatenate([logits_of(artifact, ids) for ids in windows])
    divergence = reference.divergence(found, floats)
    measure("KL of i8 to f32", divergence)
    assert divergence > 0

    reference.roundActivations(model, **rounded)
    if name == "smollm2":
        single = [[token] for token in windows[0][:32]]
        errors = reference.errors(*logitsOfBoth(artifact, model, single, logits_of))
        measure("smallest error of i8", errors.min())
        measure("single tokens that are equal", (errors <= SAME).sum())
        assert errors.min() <= SAME
    else:
        checkMostPositions(artifact, model, windows[0], logits_of, measure)


def checkMostPositions(artifact, model, ids, logits_of, measure, bound=SAME):
    """Of 16 windows of 8 tokens, against a model whose activations are rounded too."""
    short = [ids[start : start + 8] for start in range(0, 128, 8)]
    errors = reference.errors(*logitsOfBoth(artifact, model, short, logits_of))
    measure("median error of i8", numpy.median(errors))
    assert numpy.median(errors) <= bound


def checkBits(artifact, ids, logits_of):
    """The same bits for every number of workers, every chunk, and every order of fibers."""
    expected = logits_of(artifact, ids, chunk=64, workers=1).tobytes()
    for workers, chunk in itertools.product((1, 2, 5), (1, 7, 64)):
        found = logits_of(artifact, ids, chunk=chunk, workers=workers)
        assert found.tobytes() == expected, (workers, chunk)
    for fibers in ("forward", "backward", "random:1", "random:2"):
        for chunk in (1, 64):
            found = logits_of(artifact, ids, chunk=chunk, workers=5, fibers=fibers)
            assert found.tobytes() == expected, (fibers, chunk)


@pytest.mark.parametrize("name", MODELS)
def test_logits(name, model_directory, compile_model, logits_of, measure):
    """As the checkpoint says: float weights, or the quantised ones that it stores."""
    directory = model_directory(name)
    artifact = compile_model(directory, "--activations=f32")
    windows = windowsOf(name, directory)
    checkFloats(artifact, reference.loadModel(directory), windows, logits_of, measure)


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("name", FLOAT_MODELS)
def test_quantised_logits(name, spec, model_directory, compile_model, logits_of, measure):
    """Quantised by the compiler, against the test's own quantiser; then int8 activations."""
    if not LONG and name != ALL_SPECS and spec not in SOME_SPECS[name]:
        pytest.skip("slow: TBQ_LONG=1 runs it")
    directory = model_directory(name)
    windows = windowsOf(name, directory)
    model = reference.loadModel(directory, quantiser(spec))
    artifact = compile_model(directory, FAST, f"--quantize={spec}", "--activations=f32")
    floats = checkFloats(artifact, model, windows, logits_of, measure)
    flags = (FAST, f"--quantize={spec}", "--activations=i8", "--kv-cache=f32")
    artifact = compile_model(directory, *flags)
    checkIntegers(name, artifact, model, windows, logits_of, measure, floats)


@pytest.mark.parametrize("spec", SPECS)
def test_first_layers_with_i8(spec, model_directory, compile_model, logits_of, measure):
    """A real model's shapes, weights and outliers, less the depth that makes roundings chance."""
    name = "smollm2-first-layers"
    if not LONG and spec not in SOME_SPECS[name]:
        pytest.skip("slow: TBQ_LONG=1 runs it")
    directory = model_directory(name)
    model = reference.loadModel(directory, quantiser(spec))
    reference.roundActivations(model)
    flags = (f"--quantize={spec}", "--activations=i8", "--kv-cache=f32")
    artifact = compile_model(directory, *flags)
    ids = windowsOf(name, directory)[0]
    checkMostPositions(artifact, model, ids, logits_of, measure, SAME_IN_FIRST_LAYERS)


def test_small_model_with_i8(model_directory, compile_model, logits_of, measure):
    directory = model_directory("tinytales")
    windows = windowsOf("tinytales", directory)
    artifact = compile_model(directory, "--activations=f32")
    floats = numpy.concatenate([logits_of(artifact, ids) for ids in windows])
    artifact = compile_model(directory, "--activations=i8", "--kv-cache=f32")
    model = reference.loadModel(directory)
    checkIntegers("tinytales", artifact, model, windows, logits_of, measure, floats)


@pytest.mark.parametrize("name", ["tied-f32", "tinystories"])
def test_cache_of_halves(name, model_directory, compile_model, logits_of, measure):
    """Keys and values rounded to float16: seen in the logits, and no more than that."""
    directory = model_directory(name)
    artifact = compile_model(directory, "--kv-cache=f16")
    model = reference.loadModel(directory)
    found, expected = logitsOfBoth(artifact, model, windowsOf(name, directory), logits_of)
    error = reference.nmse(found, expected)
    measure("NMSE", error)
    assert 1e-10 < error <= BOUND


@pytest.mark.parametrize("flags", [(), ("--activations=i8",)], ids=["as-is", "i8"])
@pytest.mark.parametrize(
    "name, spec",
    [
        ("odd-biased-linear-rope", "ternary:g128"),
        ("odd-biased-linear-rope", "dual-binary:g64"),
        ("tinystories", "ternary:g128"),
        ("odd-biased-linear-rope", "binary:row,salient=0.3"),
        ("tinystories", "binary:g128,salient=0.1"),
        ("tinytales", None),
        ("opt-post-f16", "ternary:g128"),
        ("smollm2", "ternary:g128"),
    ],
)
def test_bitwise_equal(name, spec, flags, model_directory, compile_model, logits_of):
    directory = model_directory(name)
    if spec:
        flags = (f"--quantize={spec}", *(flags or ("--activations=f32",)))
    artifact = compile_model(directory, *flags)
    ids = windowsOf(name, directory)[0][: 70 if name == "smollm2" else 150]
    checkBits(artifact, ids, logits_of)


@pytest.mark.parametrize("mattr", [(), ("--mattr=-avx512f",)], ids=["wide", "narrow"])
@pytest.mark.parametrize("keys", [1, 2])
def test_bitwise_equal_of_many_keys(keys, mattr, tmp_path, compile_model, logits_of):
    """Workers that divide kv heads unevenly divide keys, by spans of 256; narrow vectors have room for
    three of the five queries that share a key."""
    synthetic.makeCheckpoint(
        tmp_path, hidden_size=100 * keys, num_attention_heads=5 * keys, num_key_value_heads=keys, head_dim=20,
        max_position_embeddings=1040,
    )  # fmt: skip
    artifact = compile_model(tmp_path, "--activations=i8", "--kv-cache=f16", "--context=1040", *mattr)
    ids = [(7 * i) % 60 + 1 for i in range(1040)]
    expected = logits_of(artifact, ids).tobytes()
    for workers in (1, 2, 3, 5, 7):
        assert logits_of(artifact, ids, chunk=1, workers=workers).tobytes() == expected, workers
    for fibers in ("forward", "backward", "random:1"):
        found = logits_of(artifact, ids, chunk=1, workers=3, fibers=fibers)
        assert found.tobytes() == expected, fibers


@pytest.mark.parametrize("name", ["tied-f32", "opt", "opt-post-f16", "stories260k", "tinystories", "tinytales", "smollm2"])
def test_greedy_text(name, model_directory, compile_model):
    """200 greedy tokens of a story, the end of text ignored, as transformers continues it."""
    directory = model_directory(name)
    artifact = compile_model(directory, "--activations=f32")
    model = reference.loadModel(directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    prompt = tokenizer(GREEDY_PROMPT)["input_ids"]
    end = model.config.eos_token_id
    banned = end if isinstance(end, list) else [end]
    flags = (
        "-m", artifact, "-p", GREEDY_PROMPT, "-n", 200, "--temp", 0, "--repeat-penalty", 1,
        "--ignore-eos", "--no-display-prompt", "-t", 2,
    )  # fmt: skip
    tokens = json.loads(runGood("tbq-run", *flags, "--json").stdout)["tokens"]
    assert len(tokens) == 200
    assert tokens == reference.greedyChoices(model, prompt, tokens, banned)
    whole, start = (
        tokenizer.decode(ids, skip_special_tokens=True) for ids in (prompt + tokens, prompt)
    )
    assert whole.startswith(start)
    text = runGood("tbq-run", *flags).stdout
    assert text.rstrip("\n") == whole.removeprefix(start).rstrip("\n")


def test_chat(model_directory, compile_model):
    """The chat template, the end of the turn and the answer of a real model."""
    artifact = compile_model(model_directory("smollm2"), "--activations=f32")
    result = runGood("tbq-run", "-m", artifact, "-cnv", "--temp", 0, input=CHAT_QUESTION + "\n")
    assert CHAT_ANSWER in result.stdout
    assert "<|im_end|>" not in result.stdout


def test_reference_of_chat(model_directory):
    """The conversion of SmolLM2 itself: its greedy answer is the published one."""
    directory = model_directory("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    turn = [{"role": "user", "content": CHAT_QUESTION}]
    prompt = tokenizer.apply_chat_template(turn, add_generation_prompt=True)["input_ids"]
    answer = [504, 3575, 282, 4649, 314, 7042, 30, 2]
    assert answer == reference.greedyChoices(reference.loadModel(directory), prompt, answer)


def test_quantiser_is_least_squares():
    """The test's own closed form against a general solver, and its guard."""
    weights = numpy.random.default_rng(0).normal(0.01, 0.02, (5, 40))
    codes, scale, shift = ternary.fitGroup(weights)
    assert set(numpy.unique(codes)) == {-1, 0, 1}
    for row, code, a, c in zip(weights, codes, scale, shift):
        solved = numpy.linalg.lstsq(numpy.stack([code, numpy.ones(40)], 1), row, rcond=None)[0]
        assert numpy.allclose([a, c], solved, rtol=1e-3, atol=1e-6)
    codes, scale, shift = ternary.fitGroup(numpy.full((1, 8), -0.5))
    assert (codes == -1).all() and scale[0] == 0.5 and shift[0] == 0


def test_quantisers_of_bits():
    """The tests' own: no level is nearer than the one taken, and the ties and zeros."""
    weights = numpy.random.default_rng(1).normal(0.01, 0.02, (4, 70))
    for scheme in ("binary", "dual-binary"):
        bits, (first, second) = binary.fit(weights, scheme, "row")
        taken = numpy.abs(binary.quantise(weights, scheme, "row") - weights)
        levels = [second - first, second + first]
        if scheme == "dual-binary":
            levels = [0 * first, first, second, first + second]
        for level in levels:
            assert (taken <= numpy.abs(level - weights) + 1e-5).all(), scheme
        assert set(numpy.unique(bits)) == {0, 1}
    row = numpy.array([[0.4, 0.02, -0.45, 0.7]])
    found = binary.quantise(row, "binary", 4)
    assert numpy.allclose(found, [[0.55, -0.215, -0.215, 0.55]], atol=5e-4)
    row = numpy.array([[0.75, -0.25, 0.0625, -1.0, 0.5, 0.0, -0.375, 0.625]])
    found = binary.quantise(row, "dual-binary", "row")
    assert found.tolist() == [[0.5, -0.5, 0, -0.5, 0.5, 0, -0.5, 0.5]]


def test_quantiser_of_salient_weights():
    """A vector worked out by hand: of 2 x 4 weights only -1.2 is salient."""
    weights = numpy.array([[0.9, -0.3, 0.05, -1.2], [0.4, 0.02, -0.45, 0.7]])
    fitted = salient.fit(weights, 4, 0.25)
    assert fitted.mask.tolist() == [[False, False, False, True], [False] * 4]
    scale, mean = fitted.coefficients[:, :, 0]
    assert numpy.allclose(scale, [0.455556, 0.3825], rtol=2**-11)
    assert numpy.allclose(mean, [0.216667, 0.1675], rtol=2**-11)
    assert numpy.allclose(fitted.scale, [0.00823529, 1.15 / 255], rtol=2**-11)
    assert fitted.zero.tolist() == [146, 100] and fitted.codes.tolist() == [0]
    found = salient.expand(fitted, 4)
    expected = [[0.672223, -0.238889, -0.238889, -1.202353], [0.55, -0.215, -0.215, 0.55]]
    assert numpy.allclose(found, expected, atol=1e-3)
    # int(8 (1 - r)) + 1 weights are binary, so at most r of them are not.
    for fraction, count in ((0.125, 0), (0.25, 1), (0.26, 2), (0.5, 3)):
        assert salient.fit(weights, "row", fraction).mask.sum() == count, fraction


def test_salient_weights_are_the_closest():
    """Those kept are at least as large as the rest of their block, and within a step."""
    weights = numpy.random.default_rng(2).normal(0.01, 0.02, (6, 70))
    for symmetric in (False, True):
        fitted = salient.fit(weights, 32, 0.2, symmetric)
        for begin in (0, 32, 64):
            block = numpy.abs(weights[:, begin : begin + 32])
            mask = fitted.mask[:, begin : begin + 32]
            assert mask.sum() == block.size - int(block.size * 0.8) - 1
            assert block[mask].min() > block[~mask].max()
        error = numpy.abs(salient.expand(fitted, 32) - weights)[fitted.mask]
        steps = error / fitted.scale.astype(float)[numpy.nonzero(fitted.mask)[0]]
        # At an end both the zero point's and the code's rounding count, and the scale's.
        ends = (fitted.codes == 0) | (fitted.codes == 255)
        assert (steps <= numpy.where(ends, 1.1, 0.51)).all()
        assert not (fitted.bits[0] & fitted.mask).any()
        assert (fitted.zero == 128).all() == symmetric


def test_quantiser_of_the_embedding():
    """Each code is the nearest; the largest weight is 127 steps, or -8."""
    table = numpy.random.default_rng(3).normal(0, 1, (5, 70))
    table[4, 32:64] = 0
    for bits, low, high in ((8, -127, 127), (4, -8, 7)):
        codes, scale = integer.fit(table, bits, 32)
        assert codes.min() == low and codes.max() == high and scale.shape == (5, 3)
        assert (codes[4, 32:64] == 0).all() and scale[4, 1] == 0
        error = numpy.abs(integer.expand(codes, scale, 32) - table)
        steps = numpy.abs(scale.astype(float)).repeat(32, 1)[:, :70]
        # The end of 4 bits that the largest weight does not take is a step short.
        assert (error <= (0.51 if bits == 8 else 1.01) * steps + 1e-9).all()
    row = numpy.array([[0.5, -2.0, 2.0, 0.3]])
    codes, scale = integer.fit(row, 4, "row")
    assert codes.tolist() == [[2, -8, 7, 1]] and scale.tolist() == [[0.25]]
    codes, scale = integer.fit(-row, 4, "row")
    assert codes.tolist() == [[2, -8, 7, 1]] and scale.tolist() == [[-0.25]]
    packed = numpy.array([[0x0A | 0 << 4, 0xF | 9 << 4]], numpy.uint8)
    assert integer.readTable(packed, scale, 4, "row").tolist() == [[-0.5, 2.0, -1.75, -0.25]]
