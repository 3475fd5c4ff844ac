# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Text and conversations as token shards; the chat template as transformers
renders it."""

import json
import lzma
import sys

import numpy as np
import pytest
import transformers

from some_tokenizer import CHATML, VOCABULARY, write_tokenizer
from tbq.__main__ import main
from tbq.data import text
from tbq.data.errors import DataError
from tbq.data.shards import TokenShards
from tbq.data.template import ChatTemplate

TALK = [{"role": "user", "content": "Hi there"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "And?"},
        {"role": "assistant", "content": "Ünd."}]


def tbq(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["tbq", *map(str, arguments)])
    return main()


def everything(directory):
    shards = TokenShards(directory)
    return (np.concatenate(shards._tokens),
            np.concatenate(shards._masks) if shards.mask else None)


def test_text(tmp_path, monkeypatch, capsys):
    tokenizer = write_tokenizer(tmp_path / "t")
    (tmp_path / "a.txt").write_text("One.\n\nTwo.\n<|endoftext|>\n\n"
                                    "<|endoftext|>\nThree é.\n")
    with lzma.open(tmp_path / "b.txt.xz", "wt", encoding="utf-8") as file:
        file.write("Four.")
    monkeypatch.setattr(text, "_BATCH_CHARACTERS", 12)
    assert tbq(monkeypatch, "prepare", tmp_path / "a.txt",
               tmp_path / "b.txt.xz", "--tokenizer", tmp_path / "t", "--out",
               tmp_path / "out") == 0
    assert "27 tokens in 1 files" in capsys.readouterr().out
    ids, mask = everything(tmp_path / "out")
    assert mask is None
    assert tokenizer.decode(list(ids), skip_special_tokens=False) == (
        "One.\n\nTwo.<|endoftext|>Three é.<|endoftext|>Four.<|endoftext|>")
    facts = json.loads((tmp_path / "out/data.json").read_text())
    assert facts["vocabulary"] == VOCABULARY and facts["type"] == "<u2"
    assert facts["facts"]["documents"] == 3
    assert facts["facts"]["bytes"] == 10 + 9 + 5


def test_the_models_vocabulary_counts(tmp_path):
    write_tokenizer(tmp_path / "t")
    (tmp_path / "t/config.json").write_text('{"vocab_size": 70000}')
    (tmp_path / "a.txt").write_text("a")
    facts = text.prepare_text([tmp_path / "a.txt"], tmp_path / "t",
                              tmp_path / "out")
    assert facts["vocabulary"] == 70000 and facts["type"] == "<u4"


@pytest.mark.parametrize("prompt", [False, True])
def test_template_renders_as_transformers_does(tmp_path, prompt):
    write_tokenizer(tmp_path)
    reference = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for messages in (TALK, TALK[:1], [{"role": "system", "content": "Hm"}]
                     + TALK):
        assert ChatTemplate(tmp_path).render(messages, prompt) == (
            reference.apply_chat_template(messages, tokenize=False,
                                          add_generation_prompt=prompt))


def test_template_in_tokenizer_config(tmp_path):
    write_tokenizer(tmp_path, template=None)
    with pytest.raises(DataError, match="chat_template: the checkpoint has"):
        ChatTemplate(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    for template in ("{{ eos_token }}!", [
            {"name": "tools", "template": "no"},
            {"name": "default", "template": "{{ eos_token }}!"}]):
        path.write_text(json.dumps({"eos_token": {"content": "E"},
                                    "chat_template": template}))
        assert ChatTemplate(tmp_path).render(TALK) == "E!"


def test_turns(tmp_path):
    tokenizer = write_tokenizer(tmp_path)
    turns = ChatTemplate(tmp_path).turns(tokenizer)
    decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=False)
    assert decode(turns.opening) == (
        "<|im_start|>system\nBe kind<|im_end|>\n<|im_start|>user\n")
    assert decode(turns.to_answer) == "\n<|im_start|>assistant\n"
    assert decode(turns.to_question) == "\n<|im_start|>user\n"
    assert turns.end_question == turns.end_answer == 2


@pytest.mark.parametrize("template,message", [
    ("{% for m in messages %}{{ m.content }}\n{% endfor %}",
     "does not end with a special token"),
    ("{{ messages[0].content }}", "repeat the first answer as it is"),
    ("{% for m in messages %}<|im_start|>{{ loop.index }}\n{{ m.content }}"
     "<|im_end|>{% endfor %}", "second answer is not introduced"),
    ("{{ raise_exception('odd roles') }}", "odd roles"),
    ("{{ ''.__class__.__mro__ }}", "unsafe"),
    ("{% for %}", "chat_template: ")])
def test_templates_that_are_refused(tmp_path, template, message):
    tokenizer = write_tokenizer(tmp_path, template)
    with pytest.raises(DataError, match=message):
        ChatTemplate(tmp_path).turns(tokenizer)


def write_talks(path, *talks):
    path.write_text("\n".join(json.dumps({"messages": t}) for t in talks) + "\n")


def test_conversations_on_answers_only(tmp_path, monkeypatch):
    tokenizer = write_tokenizer(tmp_path / "t")
    write_talks(tmp_path / "a.jsonl", TALK, TALK[:2])
    assert tbq(monkeypatch, "prepare", tmp_path / "a.jsonl", "--tokenizer",
               tmp_path / "t", "--out", tmp_path / "out",
               "--answers-only") == 0
    ids, mask = everything(tmp_path / "out")
    decode = lambda x: tokenizer.decode(list(x), skip_special_tokens=False)
    template = ChatTemplate(tmp_path / "t")
    assert decode(ids) == template.render(TALK) + template.render(TALK[:2])
    assert TokenShards(tmp_path / "out").mask == "loss"
    assert decode(ids[mask == 1]) == (
        "Hello<|im_end|>Ünd.<|im_end|>Hello<|im_end|>")
    assert tbq(monkeypatch, "prepare", tmp_path / "a.jsonl", "--tokenizer",
               tmp_path / "t", "--out", tmp_path / "all") == 0
    again, mask = everything(tmp_path / "all")
    assert np.array_equal(again, ids) and mask is None


@pytest.mark.parametrize("name,content,options,message", [
    ("a.jsonl", '{"messages": []}\n', [], "a.jsonl: line 1: is not"),
    ("a.jsonl", '\n{"messages": [{"role": "user"}]}\n', [], "line 2: is not"),
    ("a.jsonl", "[]\n", [], "line 1: is not"),
    ("a.jsonl", "{\n", [], "line 1: "),
    ("a.jsonl", "\n", [], "holds no conversation"),
    ("a.txt", "\n", [], "holds no text"),
    ("a.txt", "a", ["--answers-only"], "text has no answers"),
    ("a.txt.xz", "not xz", [], "a.txt.xz: file: ")])
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, name, content,
                               options, message):
    write_tokenizer(tmp_path / "t")
    (tmp_path / name).write_text(content)
    assert tbq(monkeypatch, "prepare", tmp_path / name, "--tokenizer",
               tmp_path / "t", "--out", tmp_path / "out", *options) == 1
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_kinds_are_not_mixed(tmp_path, monkeypatch, capsys):
    assert tbq(monkeypatch, "prepare", "a.jsonl", "b.txt", "--tokenizer",
               tmp_path, "--out", tmp_path / "out") == 1
    assert "directories of their own" in capsys.readouterr().err
    assert tbq(monkeypatch, "prepare", "b.txt", "--tokenizer", tmp_path,
               "--out", tmp_path / "out") == 1
    assert "tokenizer.json: file: " in capsys.readouterr().err


def test_templates_that_look_back_cannot_mark_answers(tmp_path, monkeypatch,
                                                      capsys):
    write_tokenizer(tmp_path / "t", "{{ messages | length }}" + CHATML)
    write_talks(tmp_path / "a.jsonl", TALK)
    assert tbq(monkeypatch, "prepare", tmp_path / "a.jsonl", "--tokenizer",
               tmp_path / "t", "--out", tmp_path / "out",
               "--answers-only") == 1
    assert "does not render turn after turn" in capsys.readouterr().err


def test_something_must_separate_documents(tmp_path):
    tokenizer = write_tokenizer(tmp_path)
    stored = json.loads((tmp_path / "tokenizer.json").read_text())
    stored["added_tokens"] = []
    for name in ("<|endoftext|>", "<|im_end|>"):
        del stored["model"]["vocab"][name]
    (tmp_path / "tokenizer.json").write_text(json.dumps(stored))
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(DataError, match="nothing separates documents"):
        text.prepare_text([tmp_path / "a.txt"], tmp_path, tmp_path / "out")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "!"}')
    text.prepare_text([tmp_path / "a.txt"], tmp_path, tmp_path / "out")
    ids, _ = everything(tmp_path / "out")
    assert tokenizer.decode(list(ids)) == "a!"
