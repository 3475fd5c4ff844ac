# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""The chat model of models/, compiled as its config.json says: what its card prints, and what `make demo` shows."""

import subprocess

import pytest

from conftest import BUILD, REPOSITORY, runGood


@pytest.fixture(scope="module")
def card(model_directory):
    """Answers of the card by question, and of the teacher."""
    text = (model_directory("talker") / "README.md").read_text(encoding="utf-8")
    rows = [line.strip("| \n").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return {row[0]: (row[1], row[2]) for row in rows if len(row) == 3 and row[0].endswith(("?", "."))}


def answer(artifact, question):
    result = runGood("tbq-run", "-m", artifact, "-cnv", "--single-turn", "--temp", "0", "-n", "100", "-p", question)
    return result.stdout.strip()


def mostRuns(text, words=8):
    """How often the most frequent run of `words` words is there."""
    split = text.split()
    runs = [tuple(split[i : i + words]) for i in range(len(split) - words + 1)]
    return max(map(runs.count, runs), default=0)


def test_answers_as_its_card_says(card, model_directory, compile_model):
    artifact = compile_model(model_directory("talker"))
    for question in ("What is the capital of France?", "What is 7 + 5?", 'Translate "good morning" into French.'):
        assert answer(artifact, question) == card[question][1]


def test_the_card_counts_its_loops(card):
    """At most one answer of the ten repeats eight words three times where the teacher's does not."""
    assert len(card) == 10
    loops = [question for question, (teacher, own) in card.items() if mostRuns(own) >= 3 > mostRuns(teacher)]
    assert loops == ["How do I make a cup of tea?"]


def test_demo_asks_it():
    result = subprocess.run(
        [REPOSITORY / "scripts/demo.sh"], capture_output=True, text=True, timeout=300,
        env={"PATH": "/usr/bin:/bin", "TBQ_BUILD": str(), "TOKENS": "16"},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "The capital of France is Paris." in result.stdout
    assert "to chat with it: " in result.stdout
