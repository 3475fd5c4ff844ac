# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Cleaning and case restoration of training text, and the tokenizer."""

from tokenizers import Tokenizer

from tbq.small import corpus, data


def test_wrongly_decoded_punctuation_becomes_ascii():
    assert corpus.clean("â€œHiâ€ she  said.\xa0â€™Tis\u2014so ") == (
        '"Hi" she said. \'Tis-so')


def test_stories_are_told_apart_by_single_newlines():
    long = "word " * 80
    text = (f"once upon a time a.\n\nb.\none day c.\nshort line.\n{long}\n"
            "there was d.")
    assert corpus.split_stories(text) == [
        "once upon a time a.\nb.", "one day c.\nshort line.", long.strip(),
        "there was d."]


def test_case_is_restored_by_rule():
    rules = corpus.CaseRules(frozenset({"lily", "tom"}), frozenset({"spot"}))
    restored = rules.restore(
        'once, lily had a dog named spot. spot saw a spot. "can i come?" lily\'s '
        'mom asked. "yes," said mom, "i\'m here!" tom ran. they hugged.\nthe end.')
    assert restored == (
        'Once, Lily had a dog named Spot. Spot saw a spot. "Can I come?" Lily\'s '
        'mom asked. "Yes," said Mom, "I\'m here!" Tom ran. They hugged.\nThe end.')


def test_names_come_from_capitals_inside_sentences():
    original = "The boy saw Lily. He gave Lily a ball. Ball games are fun."
    rules = corpus.CaseRules.derive(original, ["a boy named bo ran."] * 2, "")
    assert "lily" in rules.names and "bo" in rules.names
    assert "ball" not in rules.names | rules.part_names


def test_tokenizer_puts_bos_first_and_digits_apart(tmp_path):
    tokenizer = data.train_tokenizer(["Once upon a time 1234. " * 5], ["x"], 300)
    data.write_tokenizer(tmp_path, tokenizer, 64)
    read = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    ids = read.encode("Once é 1234").ids
    assert ids[0] == data.BOS and read.encode("").ids == [data.BOS]
    assert read.decode(ids) == "Once é 1234"
    assert [read.id_to_token(i) for i in ids[-4:]] == list("1234")
    assert read.token_to_id(data.EOS_TOKEN) == data.EOS
