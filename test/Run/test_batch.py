# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A step that carries several sequences, a token of each: the logits of a sequence are, bit for bit,
those it has alone, wherever the others stand. tbq-logits --batch puts each a token behind the one
before it, so some are at their end while others begin. GPUs: test_gpu_step.py.
"""

import json

import pytest

from conftest import runGood, runTool

IDS = [(7 * i) % 60 + 1 for i in range(37)]  # more than two blocks of 16 keys
CASES = [("stored-ternary-g128", "i8"), ("stored-odd-salient-g64", "i16"), ("stored-odd-binary-row", "f32"),
         ("opt", "i8"), ("tinytales", "i8")]  # fmt: skip


@pytest.mark.parametrize("name, activations", CASES)
def test_each_sequence_has_its_own_logits(name, activations, model_directory, compile_model, logits_of):
    """More than one token's kernel is for, with a rest behind tiles of eight and without; and few."""
    artifact = compile_model(model_directory(name), f"--activations={activations}", "--max-batch=11")
    alone = logits_of(artifact, IDS)
    for batch, workers, fibers in ((11, 1, None), (9, 3, "forward"), (8, 3, None), (4, 2, "backward"),
                                   (2, 3, "random:1")):  # fmt: skip
        found = logits_of(artifact, IDS, batch=batch, workers=workers, fibers=fibers)
        for sequence in range(batch):
            assert found[sequence].tobytes() == alone.tobytes(), (batch, workers, sequence)


def test_many_sequences(model_directory, compile_model, logits_of):
    """As many as a step can carry at most: more than the tokens of a block of a prefill."""
    artifact = compile_model(model_directory("stored-ternary-g128"), "--activations=i8", "--max-batch=128")
    alone = logits_of(artifact, IDS)
    found = logits_of(artifact, IDS, batch=128, workers=2)
    assert all(sequence.tobytes() == alone.tobytes() for sequence in found)


def test_sequences_beside_each_other(tbq_runtime, model_directory, compile_model):
    """From Python: prompts of their own, one rolled back, others not part of a step."""
    artifact = compile_model(model_directory("stored-ternary-g128"), "--activations=i16", "--max-batch=3")
    model = tbq_runtime.Model(str(artifact))
    assert model.max_batch == 3
    session = tbq_runtime.Session(model, threads=2, sequences=3)
    texts = [IDS[:9], [5], IDS[3:30]]
    for number, text in enumerate(texts):
        session.select(number)
        session.eval(text)
    session.select(2)
    session.rollback(20)
    texts[2] = texts[2][:20]
    for numbers, tokens in (([2, 0], [7, 8]), ([1], [9]), ([0, 1, 2], [1, 2, 3])):
        rows = session.eval_batch(numbers, tokens)
        for row, number, token in zip(rows, numbers, tokens):
            texts[number] = texts[number] + [token]
            session.select(number)
            assert session.position == len(texts[number])
            assert (session.logits == row).all()
            assert (row == tbq_runtime.evaluate(model, texts[number])[-1]).all()
    with pytest.raises(tbq_runtime.Error, match="sequences\\[1\\]: is 2 again"):
        session.eval_batch([2, 2], [1, 1])
    with pytest.raises(tbq_runtime.Error, match="tokens: must be one a sequence, 2"):
        session.eval_batch([0, 1], [1])
    with pytest.raises(tbq_runtime.Error, match="sequences: must be 1 to 3"):
        tbq_runtime.Session(model, sequences=4)


def test_what_an_artifact_says_of_it(model_directory, compile_model):
    """A step of one sequence is the rule, and has no entry for more."""
    directory = model_directory("stored-ternary-g128")
    for flags, most in (((), 1), (("--max-batch=2",), 2)):
        artifact = compile_model(directory, "--activations=i8", *flags)
        assert json.loads(runGood("tbq-inspect", "--json", artifact).stdout)["steps"]["batch_tokens"] == most
        assert (f", batch {most} sequences\n" in runGood("tbq-inspect", artifact).stdout) == (most > 1)
        result = runTool("tbq-logits", artifact, "--tokens", "1 2 3", "--batch", most + 1, "--hash")
        assert result.returncode == 1 and f"sequences: must be 1 to {most}" in result.stderr
        result = runTool("tbq-logits", artifact, "--tokens", "1 2 3", "--batch", most, "--chunk", 2, "--hash")
        assert result.returncode == 1 and "--chunk excludes --batch" in result.stderr
        result = runTool("tbq-bench", "-m", artifact, "-p", 0, "-n", 4, "--batch", f"1,{most + 1}")
        assert result.returncode == 1 and f"--batch: is at most {most}" in result.stderr
    result = runGood("tbq-bench", "-m", artifact, "-p", 0, "-n", 4, "-r", 1, "-t", 1, "--batch", "1,2", "-o", "json",
                     "--limit-seconds", 0.01)  # fmt: skip
    assert [(row["test"], row["batch"]) for row in json.loads(result.stdout)] == [("tg4", 1), ("tg4 x 2", 2)]


def test_one_sequence_is_shown(model_directory, compile_model, logits_of):
    """What shows its operations shows those of one sequence, and carries several."""
    directory = model_directory("stored-ternary-g128")
    artifact = compile_model(directory, "--activations=i8", "--max-batch=3", "--dump-tensors")
    assert runTool("tbq-verify", "-m", artifact, directory).returncode == 0
    alone = logits_of(artifact, IDS)
    assert all(sequence.tobytes() == alone.tobytes() for sequence in logits_of(artifact, IDS, batch=3))
