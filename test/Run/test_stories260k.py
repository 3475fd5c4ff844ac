# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""stories260K, converted from llama2.c: its tokens are those of llama2.c, and it tells its story.

test_models.py and test_tokenizer.py test it among the other models.
"""

import pytest
from transformers import AutoTokenizer

import stories260k
from conftest import DATA, runGood
from stories260k import SPACE

# What llama2.c's own test expects of 200 steps at temperature 0.
STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball. She wanted to play with it, but it was too high.\n"
    "Lily's mom said, \"Lily, let's go to the park.\" Lily was sad and didn't know what to do. "
    "She said, \"I want to play with your ball, but I can't find it.\"\n"
    "Lily was sad and didn't know what to do. She said, \"I'm sorry, Lily. I didn't know what to do."
    "\"\nLily didn't want to help her mom, so she"
)


@pytest.fixture(scope="module")
def directory(model_directory):
    return model_directory("stories260k")


def encodeLikeRunC(text, idOf, scores):
    """run.c's encode(): a token a character or its bytes, then always the best pair's merge."""
    tokens = []
    for character in SPACE + text.replace(" ", SPACE):
        byBytes = [idOf[f"<0x{byte:02X}>"] for byte in character.encode()]
        tokens += [idOf[character]] if character in idOf else byBytes
    texts = {token: piece for piece, token in idOf.items()}
    while True:
        pairs = [texts[a] + texts[b] for a, b in zip(tokens, tokens[1:])]
        known = [(-scores[idOf[pair]], i) for i, pair in enumerate(pairs) if pair in idOf]
        if not known:
            return [1, *tokens]
        _, i = min(known)
        tokens[i : i + 2] = [idOf[pairs[i]]]


def test_tokens_of_llama2c(directory, measure):
    """The merges in tokenizer.json, against the scores themselves."""
    pieces, scores = stories260k.readPieces(DATA / "models/stories260K/tok512.bin")
    idOf = {piece: token for token, piece in enumerate(pieces)}
    tokenizer = AutoTokenizer.from_pretrained(directory)
    lines = (DATA / "corpora/tinystories-200kb.txt").read_text(encoding="utf-8").splitlines()
    lines = [line for line in lines if line and "<|" not in line][:500]
    lines += ["a  b   c ", "Ünïcödé 日本 😀", "\ttab\nline", "0123456789", "thethethethe" * 9]
    for line in lines:
        assert tokenizer(line)["input_ids"] == encodeLikeRunC(line, idOf, scores), line
    measure("lines compared", len(lines))


def test_it_tells_its_story(directory, compile_model):
    artifact = compile_model(directory, "--activations=f32")
    flags = ("--temp", 0, "--repeat-penalty", 1, "-n", 200)
    text = runGood("tbq-run", "-m", artifact, "-p", "Once upon a time", *flags).stdout
    assert text.startswith(STORY)
