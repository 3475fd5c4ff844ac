# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Tokenizer and token files of the small model, and batches from them.

Input: documents of tbq.small.corpus. Output: tokenizer.json and little-endian
uint16 files of token ids. Invariants: a story is BOS ... EOS; a novel ends with
EOS and has no BOS, so that a text that starts with BOS is a story. Batch number
n is a function of (seed, n) alone: a restarted run sees what it would have seen.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from tbq.checkpoint import write_json
from tbq.small import corpus

EOS_TOKEN, BOS_TOKEN = "<|endoftext|>", "<|startoftext|>"
EOS, BOS = 0, 1
NOVEL_SAMPLE = 12_000_000  # characters of novels the tokenizer is trained on


def train_tokenizer(stories: list[str], novels: list[str],
                    vocab: int) -> Tokenizer:
    """Byte-level BPE (GPT-2's pattern, digits apart), BOS before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=[EOS_TOKEN, BOS_TOKEN],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False)
    # Stories three times over: they are what the model is to write.
    sample = "\n".join(novels)[:NOVEL_SAMPLE].split("\n")
    tokenizer.train_from_iterator(stories * 3 + sample, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS_TOKEN} $A", pair=f"{BOS_TOKEN} $A {BOS_TOKEN}:1 $B:1",
        special_tokens=[(BOS_TOKEN, BOS)])
    return tokenizer


def write_tokenizer(directory: Path, tokenizer: Tokenizer, context: int) -> None:
    """tokenizer.json and tokenizer_config.json."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(directory / "tokenizer.json"), pretty=False)
    write_json(directory / "tokenizer_config.json", {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": BOS_TOKEN, "eos_token": EOS_TOKEN, "pad_token": EOS_TOKEN,
        "add_bos_token": True, "add_eos_token": False,
        "clean_up_tokenization_spaces": False, "model_max_length": context})


def prepare(corpora: Path, out: Path, vocab: int, context: int) -> dict:
    """Writes the tokenizer and {stories,novels}-{train,held}.u16 to `out`;
    returns, and writes to data.json, what they hold."""
    novels = {"train": corpus.load_novels(corpora / "novels-train.txt.xz"),
              "held": corpus.load_novels(corpora / "novels-valid.txt.xz")}
    names = "\n".join(novels["train"])[:20_000_000]
    all_stories, agreement = corpus.load_stories(corpora, names)
    stories = dict(zip(("train", "held"), corpus.hold_out(all_stories)))
    tokenizer = train_tokenizer(stories["train"], novels["train"], vocab)
    write_tokenizer(out, tokenizer, context)
    facts: dict = {"vocab": tokenizer.get_vocab_size(),
                   "case_agreement": round(agreement, 4)}
    for kind, sets, first in (("stories", stories, [BOS]), ("novels", novels, [])):
        for part, documents in sets.items():
            ids = np.concatenate([
                np.array(first + e.ids + [EOS], dtype="<u2")
                for e in tokenizer.encode_batch(documents,
                                                add_special_tokens=False)])
            ids.tofile(out / f"{kind}-{part}.u16")
            facts[f"{kind}-{part}"] = {
                "documents": len(documents), "tokens": len(ids),
                "bytes": sum(len(d.encode()) for d in documents)}
    write_json(out / "data.json", facts)
    return facts


def load_tokens(path: Path, device: str) -> Tensor:
    """A token file as int32 [tokens]; batches are widened when drawn."""
    return torch.from_numpy(np.fromfile(path, dtype="<u2").astype(np.int32)).to(
        device)


class Stories:
    """Stories in an order that changes; rows begin where a story begins."""

    def __init__(self, tokens: Tensor, seed: int, epoch_batches: int = 50):
        self.tokens, self.seed, self.every = tokens, seed, epoch_batches
        starts = (tokens == BOS).nonzero()[:, 0]
        self.starts = starts
        self.lengths = torch.diff(starts, append=starts.new_tensor([len(tokens)]))
        self.epoch = -1

    def _shuffle(self, epoch: int) -> None:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
        order = torch.randperm(len(self.starts), generator=generator).to(
            self.tokens.device)
        lengths = self.lengths[order]
        self.row_starts = lengths.cumsum(0) - lengths
        offset = torch.repeat_interleave(self.starts[order] - self.row_starts,
                                         lengths)
        self.stream = self.tokens[
            torch.arange(len(offset), device=offset.device) + offset]
        self.epoch = epoch

    def rows(self, batch: int, count: int, length: int,
             generator: torch.Generator) -> Tensor:
        """[count, length] token ids for batch number `batch`."""
        if batch // self.every != self.epoch:
            self._shuffle(batch // self.every)
        pick = torch.randint(len(self.row_starts), (count,), generator=generator)
        at = self.row_starts[pick.to(self.stream.device)]
        span = torch.arange(length, device=at.device)
        return self.stream[(at[:, None] + span) % len(self.stream)].long()


def novel_rows(tokens: Tensor, count: int, length: int,
               generator: torch.Generator) -> Tensor:
    """[count, length] token ids, each row a random window."""
    at = torch.randint(len(tokens) - length, (count,), generator=generator).to(
        tokens.device)
    return tokens[at[:, None] + torch.arange(length, device=at.device)].long()


def held_rows(tokens: Tensor, length: int, most: int) -> Tensor:
    """The first windows of `length` + 1 ids, next to each other, at most
    `most` rows: the last id of one is the first of the next."""
    rows = min(most, (len(tokens) - 1) // length)
    span = torch.arange(length + 1, device=tokens.device)
    at = torch.arange(rows, device=tokens.device) * length
    return tokens[at[:, None] + span].long()


def read_facts(directory: Path) -> dict:
    return json.loads((directory / "data.json").read_text(encoding="utf-8"))
