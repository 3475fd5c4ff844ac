# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The Python package of the runtime against the tools, which use the same interface from C."""

import concurrent.futures
import json

import numpy
import pytest
from transformers import AutoTokenizer

from conftest import REPOSITORY, runGood

PROMPT = "Once upon a time"


@pytest.fixture
def artifact(model_directory, compile_model):
    return compile_model(model_directory("tinytales"), "--activations=f32")


@pytest.fixture
def model(tbq_runtime, artifact):
    return tbq_runtime.Model(str(artifact))


@pytest.fixture
def ids(model):
    tokens = model.tokenize((REPOSITORY / "LICENSE").read_text(encoding="utf-8")[:2000])
    assert len(tokens) >= 150
    return tokens[:150]


def test_sidecar(tbq_runtime, model_directory, tmp_path, artifact, ids):
    """Weights beside the artifact give the same logits; without them it does not open."""
    path = tmp_path / "model.so"
    flags = ("--activations=f32", "--weights=sidecar")
    runGood("tbqc", model_directory("tinytales"), "-o", path, *flags)
    expected = tbq_runtime.evaluate(tbq_runtime.Model(str(artifact)), ids)
    for options in ({"verify_weights": True}, {"huge_pages": True}):
        found = tbq_runtime.evaluate(tbq_runtime.Model(str(path), **options), ids)
        assert found.tobytes() == expected.tobytes()
    (tmp_path / "model.so.weights").unlink()
    with pytest.raises(tbq_runtime.Error, match="model.so.weights: cannot open"):
        tbq_runtime.Model(str(path))


def test_logits(tbq_runtime, model, artifact, ids, logits_of):
    """Bit for bit those of tbq-logits: all at once, in parts, and after a rollback."""
    expected = logits_of(artifact, ids)
    found = tbq_runtime.evaluate(model, ids, threads=2)
    assert found.dtype == numpy.float32 and found.shape == (len(ids), model.vocab)
    assert found.tobytes() == expected.tobytes()

    session = tbq_runtime.Session(model, threads=2)
    assert session.logits is None and session.threads == 2
    parts = [session.eval_all(part) for part in (ids[:1], ids[1:80], numpy.array(ids[80:]))]
    assert numpy.array_equal(numpy.concatenate(parts), expected)
    session.rollback(100)
    assert session.logits is None and session.position == 100
    session.eval(ids[100:])
    assert numpy.array_equal(session.logits, expected[-1])


def test_arrays_outlive_what_made_them(tbq_runtime, model, ids):
    session = tbq_runtime.Session(model, threads=1)
    rows = session.eval_all(ids[:8])
    last = session.logits
    kept = rows.copy()
    session.eval(ids[8:16])
    del session
    assert numpy.array_equal(rows, kept) and numpy.array_equal(last, kept[-1])


def test_sessions_outlive_their_model(tbq_runtime, artifact, ids):
    session = tbq_runtime.Session(tbq_runtime.Model(str(artifact)), threads=1)
    assert session.eval_all(ids[:4]).shape[0] == 4


def test_sessions_run_side_by_side(tbq_runtime, model, ids):
    """Python threads with a session each, and with one that they share."""
    expected = tbq_runtime.evaluate(model, ids, threads=1)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: tbq_runtime.evaluate(model, ids, threads=1), range(4)):
            assert numpy.array_equal(found, expected)
        shared = tbq_runtime.Session(model, threads=1)
        list(pool.map(lambda token: shared.eval([token]), ids))
    assert shared.position == len(ids)


@pytest.mark.parametrize(
    "sampling",
    [{"temperature": 0}, {"temperature": 0.75, "top_k": 30, "repeat_penalty": 1.25, "seed": 7}],
    ids=["greedy", "seed"],
)
def test_generates_what_tbq_run_does(tbq_runtime, model, artifact, sampling):
    names = {"temperature": "--temp", "repeat_penalty": "--repeat-penalty"}
    flags = [
        flag
        for name, value in sampling.items()
        for flag in (names.get(name, "--" + name.replace("_", "-")), value)
    ]
    expected = json.loads(
        runGood("tbq-run", "-m", artifact, "-p", PROMPT, "-n", 100, "--json", *flags).stdout
    )
    tokens = list(tbq_runtime.choose(model, PROMPT, limit=100, threads=2, **sampling))
    assert tokens == expected["tokens"] and len(tokens) > 50
    text = "".join(tbq_runtime.generate(model, PROMPT, limit=100, threads=1, **sampling))
    assert text == expected["text"].removeprefix(PROMPT)


def test_text(model, model_directory):
    """Tokens as transformers gives them, and back."""
    tokenizer = AutoTokenizer.from_pretrained(model_directory("tinytales"))
    text = "Naïve, “quoted” 你好 🙂\n"
    assert model.tokenize(text) == tokenizer(text)["input_ids"]
    bare = model.tokenize(text, add_special=False)
    assert bare == tokenizer(text, add_special_tokens=False)["input_ids"]
    assert model.detokenize(bare) == tokenizer.decode(bare)
    assert model.tokenize("", add_special=False) == [] and model.detokenize([]) == ""


def test_model_says_what_it_is(model):
    described = json.loads(model.manifest_json)["model"]
    assert (model.vocab, model.context) == (described["vocab"], described["context"])
    assert model.has_tokenizer and not model.has_chat
    assert model.tokenize("x")[0] == model.first_token
    ends = [token for token in range(model.vocab) if model.is_end(token)]
    assert ends == json.loads(model.manifest_json)["generation"]["eos"]


def test_errors(tbq_runtime, model, tmp_path):
    """The interface's own message and status; nothing of the session changes."""
    status = tbq_runtime.Status
    session = tbq_runtime.Session(model, threads=1, context=16)
    bad = tmp_path / "bad.so"
    bad.write_text("no model")
    cases = [
        (lambda: tbq_runtime.Model(str(bad)), status.ARTIFACT, str(bad)),
        (lambda: tbq_runtime.Model(str(tmp_path / "none")), status.FILE, "none"),
        (lambda: session.eval_all([1] * 17), status.CONTEXT_FULL, "17"),
        (lambda: session.eval([]), status.ARGUMENT, "count"),
        (lambda: session.eval([1, model.vocab]), status.ARGUMENT, "tokens[1]"),
        (lambda: session.rollback(1), status.ARGUMENT, "position"),
        (lambda: tbq_runtime.Sampler(model, top_p=2), status.ARGUMENT, "top_p"),
        (
            lambda: tbq_runtime.Sampler(model).sample(numpy.zeros(5, numpy.float32)),
            status.ARGUMENT,
            "logits",
        ),
        (lambda: model.render_chat([("user", "hi")]), status.UNSUPPORTED, "chat"),
    ]
    for call, expected, named in cases:
        with pytest.raises(tbq_runtime.Error) as caught:
            call()
        assert caught.value.status == expected and named in str(caught.value)
    assert session.position == 0
    with pytest.raises(TypeError):
        session.eval([2**31])
