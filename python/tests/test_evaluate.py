# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Held-out figures, perplexity and answers against plain transformers."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from some_llama import some_ids, some_llama
from some_tokenizer import VOCABULARY, write_tokenizer
from tbq.data.errors import DataError
from tbq.data.shards import ShardWriter, TokenShards
from tbq.data.template import ChatTemplate
from tbq.decoder import Decoder
from tbq.train import evaluate
from tbq.train.answers import greedy_answers, repeated_share
from tbq.train.evaluate import Evaluator, perplexity, token_divergence

LENGTH = 10


class World:
    """One of `size` ranks, whose sums are taken by the test."""

    def __init__(self, rank=0, size=1):
        self.rank, self.size, self.device = rank, size, torch.device("cpu")
        self.totals = []

    def sum_(self, tensor):
        self.totals.append(tensor.clone())
        return tensor


def options(tokens=1000, rows=2, chunk=7):
    return SimpleNamespace(eval_tokens=tokens, length=LENGTH, chunk=chunk,
                           rows_of_rank=lambda ranks: (rows, rows))


@pytest.fixture(scope="module")
def models():
    return some_llama(seed=1), some_llama(tied=False, seed=4)


@pytest.fixture
def rows(tmp_path):
    ids = some_ids(9, LENGTH).numpy()
    sampled = (np.arange(90).reshape(9, LENGTH) % 3 != 0).astype(np.uint8)
    writer = ShardWriter(tmp_path, 50, row_length=LENGTH, mask="sampled")
    writer.append(ids, sampled)
    writer.close({})
    return TokenShards(tmp_path), torch.from_numpy(ids), torch.from_numpy(
        sampled).bool()


def plain(models, ids, scored):
    """(KL, agreement) in float64 from transformers' whole logits."""
    with torch.no_grad():
        log_p, log_q = (F.log_softmax(m(ids).logits.double(), -1)[scored]
                        for m in models)
    kl = (log_p.exp() * (log_p - log_q)).sum(-1).mean().item()
    return kl, (log_p.argmax(-1) == log_q.argmax(-1)).double().mean().item()


def test_held_out_is_scored_where_the_teacher_chose(models, rows):
    shards, ids, sampled = rows
    teacher, student = map(Decoder, models)
    got = Evaluator(teacher, shards, options(), World())(student)
    # 9 rows in passes of 2: 8 are whole passes.
    scored = torch.zeros(8, LENGTH, dtype=torch.bool)
    scored[:, :-1] = sampled[:8, 1:]
    kl, agreement = plain(models, ids[:8], scored)
    assert got["kl"] == pytest.approx(kl, rel=1e-5)
    assert got["agreement"] == pytest.approx(agreement, abs=1e-12)
    everywhere, _ = plain(models, ids[:8], torch.ones_like(scored))
    assert abs(everywhere - kl) > 1e-3


def test_shards_without_a_mask_are_scored_whole(models, tmp_path):
    ids = some_ids(4, LENGTH)
    writer = ShardWriter(tmp_path, 50, row_length=LENGTH)
    writer.append(ids.numpy())
    writer.close({})
    teacher, student = map(Decoder, models)
    got = Evaluator(teacher, TokenShards(tmp_path), options(),
                    World())(student)
    scored = torch.ones(4, LENGTH, dtype=torch.bool)
    scored[:, -1] = False
    assert got["kl"] == pytest.approx(plain(models, ids, scored)[0], rel=1e-5)


def test_a_model_is_not_far_from_itself(models, rows):
    teacher = Decoder(models[0])
    got = Evaluator(teacher, rows[0], options(), World())(teacher)
    assert got["kl"] == pytest.approx(0, abs=1e-6) and got["agreement"] == 1


def test_ranks_share_the_rows(models, rows):
    teacher, student = map(Decoder, models)
    whole, parts = World(), [World(r, 2) for r in range(2)]
    for world in (whole, *parts):
        Evaluator(teacher, rows[0], options(rows=2), world)(student)
    together = parts[0].totals[0] + parts[1].totals[0]
    torch.testing.assert_close(together, whole.totals[0], rtol=1e-6, atol=0)
    assert parts[0].totals[0][2] < together[2]


def test_as_many_tokens_as_asked_for(models, rows):
    teacher = Decoder(models[0])
    count = lambda tokens, passes: len(Evaluator(
        teacher, rows[0], options(tokens, passes), World()).ids)
    assert count(45, 2) == 4 and count(1000, 4) == 8
    assert count(1000, 20) == 9 and count(1, 2) == 1
    with pytest.raises(DataError, match="no window of 10 for each of 10 ranks"):
        Evaluator(teacher, rows[0], options(), World(0, 10))


def test_nothing_sampled_is_an_error(models, tmp_path):
    writer = ShardWriter(tmp_path, 50, row_length=LENGTH, mask="sampled")
    writer.append(some_ids(2, LENGTH).numpy(), np.zeros((2, LENGTH)))
    writer.close({})
    teacher = Decoder(models[0])
    with pytest.raises(ValueError, match="without a sampled token"):
        Evaluator(teacher, TokenShards(tmp_path), options(), World())(teacher)


def test_logits_exist_for_a_chunk_at_a_time(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    make = lambda *shape: torch.randn(*shape, generator=generator)
    hidden, head = make(20, 6), make(30, 6)
    seen, real = [], evaluate._log_probabilities
    monkeypatch.setattr(evaluate, "_log_probabilities",
                        lambda h, e: seen.append(len(h)) or real(h, e))
    kl, same = token_divergence(hidden, head, hidden.bfloat16(), head, chunk=8)
    assert seen == [8, 8, 8, 8, 4, 4] and kl.shape == same.shape == (20,)
    assert kl.dtype == torch.float32 and 0 < kl.mean() < 1e-3


@pytest.mark.parametrize("everything,first_token", [
    (False, None), (False, 1), (True, None)])
def test_perplexity(models, everything, first_token):
    model = models[0]
    text = some_ids(1, 53)[0]
    got = perplexity(Decoder(model), text, 12, everything, first_token, rows=3,
                     chunk=5)
    losses = []
    for at in range(0, 48, 12):
        window = text[at:at + 12].clone()
        targets = window.clone()
        if first_token is not None:
            window[0] = first_token
        with torch.no_grad():
            logits = model(window[None]).logits[0]
        first = 0 if everything else 6
        losses.append(F.cross_entropy(logits[first:-1], targets[first + 1:],
                                      reduction="none"))
    loss = torch.cat(losses).double()
    assert got.tokens == len(loss) == (44 if everything else 20)
    assert got.value == pytest.approx(math.exp(loss.mean()), rel=1e-5)
    wanted = got.value * math.sqrt(
        (loss.square().mean() - loss.mean()**2) / (len(loss) - 1))
    assert got.error == pytest.approx(wanted, rel=1e-5)


def test_a_text_without_a_window_is_an_error(models):
    with pytest.raises(ValueError, match="9 tokens are no window of 10"):
        perplexity(Decoder(models[0]), torch.zeros(9, dtype=torch.long), 10)


@pytest.mark.parametrize("seed", [1, 3])
def test_greedy_answers_are_transformers_own(tmp_path, seed):
    tokenizer = write_tokenizer(tmp_path)
    template = ChatTemplate(tmp_path)
    model = some_llama(vocab=VOCABULARY, seed=seed)
    with torch.no_grad():  # so that answers do end
        model.model.embed_tokens.weight[2] *= 6 if seed == 3 else 0.1
    questions = ["Why?", "What is the capital of France?"]
    answers = greedy_answers(Decoder(model), tokenizer, template, questions, 24)
    ended = 0
    for question, answer in zip(questions, answers):
        prompt = tokenizer.encode(template.render(
            [{"role": "user", "content": question}], prompt=True)).ids
        made = model.generate(
            torch.tensor([prompt]), do_sample=False, max_new_tokens=24,
            eos_token_id=2, pad_token_id=2)[0, len(prompt):].tolist()
        assert answer.ended == (2 in made)
        if answer.ended:
            made = made[:made.index(2)]
        assert answer.tokens == made
        assert answer.text == tokenizer.decode(made)
        ended += answer.ended
    assert (ended > 0) == (seed == 3)


def test_repeated_share():
    assert repeated_share(list(range(100))) == 0
    assert repeated_share([1, 2, 3]) == 0
    loop = [5, 6, 7] * 20
    # 53 runs of 8, of which the first three are new.
    assert repeated_share(loop) == pytest.approx(50 / 53)
    assert repeated_share(list(range(8)) * 2) == pytest.approx(1 / 9)
    assert repeated_share(loop, 3) == pytest.approx(55 / 58)
