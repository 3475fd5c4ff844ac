# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The teacher's own text: against transformers, the template, the mask."""

import json
import sys
from collections import Counter

import numpy as np
import pytest
import torch

from some_llama import some_llama
from some_tokenizer import VOCABULARY, write_tokenizer
from tbq.__main__ import main
from tbq.data.errors import DataError
from tbq.data.generate import TextGenerator
from tbq.data.sequences import Sequences, Starts
from tbq.data.shards import ShardWriter, TokenShards
from tbq.data.starts import Kind, StartSource, rows_of
from tbq.data.template import TurnTokens
from test_sampler import chi_square, keys

TURNS = TurnTokens([10, 11], 2, [12, 13, 14], 3, [15])


def write(model, starts, temperature, length, seed=1, turns=None, **more):
    batch = len(starts.prefix)
    generator = TextGenerator(model, turns, batch, length, **more)
    return generator.write(starts, np.full(batch, temperature, np.float32),
                           keys(batch, seed).numpy())


def test_greedy_is_transformers_own():
    model = some_llama()
    prefixes = [[5, 6, 7], [9], [4, 40, 41, 42, 8]]
    ids, sampled = write(model, Starts(prefixes, [False] * 3), 0, 30)
    for row, prefix in enumerate(prefixes):
        wanted = model.generate(
            torch.tensor([prefix]), do_sample=False, eos_token_id=None,
            pad_token_id=0, min_length=30, max_length=30)
        assert ids[row].tolist() == wanted[0].tolist()
        assert sampled[row].tolist() == [0] * len(prefix) + [1] * (
            30 - len(prefix))


def test_first_tokens_have_the_models_probabilities():
    model, rows = some_llama(vocab=40), 8000
    ids, _ = write(model, Starts([[7, 3]] * rows, [False] * rows), 1, 3)
    with torch.no_grad():
        right = torch.softmax(model(torch.tensor([[7, 3]])).logits[0, -1], -1)
    counts = torch.bincount(torch.from_numpy(ids[:, 2]), minlength=40).double()
    assert abs(chi_square(counts, right.double())) < 4
    assert chi_square(counts, right.double().roll(1)) > 8


def test_a_sequence_does_not_depend_on_its_batch():
    """The same key and prefix: the same text, in another place."""
    model = some_llama()
    prefixes = [[5, 6, 7], [9], [4, 40, 41]]
    ids, _ = write(model, Starts(prefixes, [False] * 3), 1, 20)
    generator = TextGenerator(model, None, 1, 20)
    alone, _ = generator.write(Starts(prefixes[2:], [False]),
                               np.ones(1, np.float32), keys(3).numpy()[2:])
    assert np.array_equal(ids[2], alone[0])


def test_a_second_batch_forgets_the_first():
    model = some_llama()
    generator = TextGenerator(model, None, 2, 20)
    one = Starts([[5], [6]], [False] * 2)
    arguments = np.ones(2, np.float32), keys(2).numpy()
    first = generator.write(one, *arguments)
    generator.write(Starts([[9, 9, 9], [8]], [True] * 2), *arguments)
    again = generator.write(one, *arguments)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])


def run_machine(choices, prefix, chat, turns=TURNS):
    """ids and mask of one sequence, for scripted choices of the model."""
    machine = Sequences(1, len(choices) + 1, turns, "cpu")
    machine.begin(Starts([prefix], [chat]))
    for at, choice in enumerate(choices, 1):
        machine.advance(torch.tensor([at]), torch.tensor([choice]))
    return machine.ids[0].tolist(), machine.sampled[0].tolist()


def test_the_machine_feeds_the_templates_tokens():
    # 2 ends a question and 3 an answer; while tokens are fed (and in the
    # prefix) what the model would say does not matter, not even an end.
    choices = [2, 20, 3, 21, 2, 9, 2, 9, 30, 2, 3, 9, 22, 2]
    ids, sampled = run_machine(choices, [10, 11], True)
    assert ids == [10, 11, 20, 3, 21, 2, 12, 13, 14, 30, 2, 3, 15, 22, 2]
    #              opening         end  fed         (2 is no answer's end)
    assert sampled == [0, 0, 1, 1, 1, 1, 0, 0, 0, 1, 1, 1, 0, 1, 1]


def test_plain_text_has_no_turns():
    choices = [2, 3, 2, 3]
    assert run_machine(choices, [10], False) == ([10, *choices],
                                                 [0, 1, 1, 1, 1])
    assert run_machine(choices, [10], False, None)[0] == [10, *choices]


def test_nothing_to_feed_between_turns():
    turns = TurnTokens([10], 2, [], 3, [])
    assert run_machine([2, 3, 2, 9], [10], True, turns) == (
        [10, 2, 3, 2, 9], [0, 1, 1, 1, 1])


def test_rows_of_a_mix():
    kinds = [Kind("chat", 1, 0.8), Kind("start", 1, 1), Kind("continue", 2, 1)]
    assert Counter(k.name for k in rows_of(kinds, 10)) == {
        "chat": 2, "start": 3, "continue": 5}
    assert len(rows_of(kinds, 7)) == 7


@pytest.mark.parametrize("text,message", [
    ("talk:1", "'talk' is not one of chat, continue, start"),
    ("chat", "is not KIND:SHARE:TEMP"), ("chat:0", "is not KIND"),
    ("chat:1:-1", "is not KIND"), ("chat:x", "is not KIND"),
    ("chat:1:1:1", "is not KIND"), ("chat:inf", "is not KIND")])
def test_kinds_that_are_refused(text, message):
    with pytest.raises(DataError, match=message):
        Kind.parse(text)
    assert Kind.parse("chat:2") == Kind("chat", 2.0, 1.0)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    directory = tmp_path_factory.mktemp("teacher")
    some_llama(vocab=VOCABULARY).save_pretrained(directory)
    write_tokenizer(directory)
    writer = ShardWriter(directory / "text", VOCABULARY)
    writer.append(np.arange(2000) % 200 + 50)
    writer.close({})
    return directory


def tbq(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tbq", *map(str, arguments)])
    return main()


MIX = ("--mix", "chat:0.5:0.8", "continue:0.25:1", "start:0.25:1")


def generated(monkeypatch, teacher, out, *options):
    assert tbq(monkeypatch, "generate", teacher, "--out", out, "--text",
               teacher / "text", "--length", 96, "--batch", 8,
               *MIX, "--device", "cpu", *options) == 0
    shards = TokenShards(out)
    return shards, *shards.read(np.arange(shards.windows(96)), 96)


def test_command(teacher, tmp_path, monkeypatch, capsys):
    shards, ids, sampled = generated(monkeypatch, teacher, tmp_path / "a",
                                     "--sequences", 20)
    assert ids.shape == (20, 96) and shards.mask == "sampled"
    output = capsys.readouterr()
    assert "tokens/s" in output.err and "20 of 20 sequences" in output.err
    assert "1920 tokens" in output.out
    facts = shards.facts
    assert list(facts["teacher"]) == ["model.safetensors"]
    assert facts["seed"] == 1 and facts["tokens_per_second"] > 0
    assert facts["sampled_share"] == round(sampled.mean(), 4)
    assert facts["mix"][0] == {"kind": "chat", "share": 0.5,
                               "temperature": 0.8}

    source = StartSource(teacher, [Kind("chat", 1, 1)])
    opening, first = source.turns.opening, Counter()
    for row, own in zip(ids, sampled):
        fed = int(own.argmax())
        if row[:fed].tolist() == opening:
            first["chat"] += 1
        elif fed == 1:
            first["start"] += 1
            assert row[0] == 0  # <|endoftext|>
        else:
            first["continue"] += 1
            assert 8 <= fed <= 32
            assert np.all(np.diff(row[:fed]) % 200 == 1)
            assert own[fed:].all()
    # Batches of 8, the last of which gave 4 of its rows.
    assert 8 <= first["chat"] <= 12 and sum(first.values()) == 20


def test_seeds_and_ranks_write_other_text(teacher, tmp_path, monkeypatch):
    same = [generated(monkeypatch, teacher, tmp_path / name, "--sequences", 8)
            for name in "ab"]
    assert np.array_equal(same[0][1], same[1][1])
    _, other, _ = generated(monkeypatch, teacher, tmp_path / "c",
                            "--sequences", 8, "--seed", 2)
    assert not np.array_equal(other, same[0][1])
    assert not {tuple(r) for r in other} & {tuple(r) for r in same[0][1]}
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank in (1, 0):
        monkeypatch.setenv("RANK", str(rank))
        arguments = ["generate", teacher, "--out", tmp_path / "d", "--length",
                     96, "--mix", "start:1:1", "--device", "cpu"]
        assert tbq(monkeypatch, *arguments, "--sequences", 5) == 0
    shards = TokenShards(tmp_path / "d")
    ids, _ = shards.read(np.arange(5), 96)
    assert len({tuple(row) for row in ids}) == 5
    assert json.loads((tmp_path / "d/rank-1/data.json").read_text())[
        "tokens"] == 2 * 96


def test_a_first_token_stands_before_all(teacher, tmp_path):
    from tokenizers import processors
    tokenizer = write_tokenizer(tmp_path)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    source = StartSource(tmp_path, [Kind("start", 1, 1), Kind("continue", 1, 1)],
                         TokenShards(teacher / "text"))
    starts, _ = source.draw(10, np.random.default_rng(1))
    assert all(prefix[0] == 1 for prefix in starts.prefix)
    assert sum(len(prefix) == 1 for prefix in starts.prefix) == 5


def test_bad_input_is_one_line(teacher, tmp_path, monkeypatch, capsys):
    def refused(message, *options, code=1):
        assert tbq(monkeypatch, "generate", teacher, "--out", tmp_path / "x",
                   "--sequences", 2, "--device", "cpu", *options) == code
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    refused("needs --text DIR", "--mix", "continue:1")
    refused("--length: 20: is no longer than a start can be", "--length", 20)
    writer = ShardWriter(tmp_path / "t", 40)
    writer.append(np.arange(40))
    writer.append(np.arange(40))
    writer.close({})
    refused("vocabulary: 40, but the teacher's is 259", "--mix", "continue:1",
            "--text", tmp_path / "t")
    with pytest.raises(SystemExit) as exit_:
        tbq(monkeypatch, "generate", teacher, "--out", tmp_path / "x",
            "--sequences", 0)
    assert exit_.value.code == 2
    assert "'0' is not a positive integer" in capsys.readouterr().err
    (tmp_path / "x").mkdir()
    monkeypatch.setattr(sys, "argv", [
        "tbq", "generate", str(tmp_path / "x"), "--out", str(tmp_path / "y"),
        "--sequences", "1"])
    assert main() == 1
    assert "tokenizer.json: file: " in capsys.readouterr().err
    write_tokenizer(tmp_path / "x")
    assert main() == 1
    assert "x: teacher: " in capsys.readouterr().err
    (tmp_path / "x/config.json").write_text(json.dumps({
        "model_type": "gpt2", "n_embd": 8, "n_layer": 1, "n_head": 1,
        "vocab_size": 20}))
    import transformers
    transformers.GPT2LMHeadModel(transformers.GPT2Config(
        n_embd=8, n_layer=1, n_head=1, vocab_size=20)).save_pretrained(
            tmp_path / "x")
    assert main() == 1
    assert "model_type: 'gpt2' is not supported" in capsys.readouterr().err
