# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""What a model answers, greedily, and whether it goes round in circles.

Input:  a model as tbq.train.evaluate takes it, its checkpoint's tokenizer and
        chat template, questions. Output: Answers.
Invariant: an answer is the likeliest token, one after another, up to the
template's end of an answer; every pass has one shape, so that compiled code
serves all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer

from tbq.data.template import ChatTemplate


@dataclass(frozen=True)
class Answer:
    """tokens: without the one that ends it; ended: whether that came before
    the limit."""

    question: str
    text: str
    tokens: list[int]
    ended: bool

    @property
    def repeated(self) -> float:
        return repeated_share(self.tokens)


def repeated_share(tokens: Sequence[int], length: int = 8) -> float:
    """The share of runs of `length` tokens that the sequence had before: 0 for
    fresh text, near 1 for a loop; 0 of fewer tokens."""
    runs = [tuple(tokens[i:i + length])
            for i in range(len(tokens) - length + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0


@torch.no_grad()
def greedy_answers(model, tokenizer: Tokenizer, template: ChatTemplate,
                   questions: Sequence[str], most: int = 128,
                   dtype: torch.dtype | None = None) -> list[Answer]:
    """All questions at once, each after the template's own system turn; at most
    `most` tokens each. Rows are padded after their end, which a causal model
    does not see."""
    prompts = [tokenizer.encode(
        template.render([{"role": "user", "content": question}], prompt=True),
        add_special_tokens=False).ids for question in questions]
    end = template.turns(tokenizer).end_answer
    head = model.head()
    lengths = torch.tensor(list(map(len, prompts)), device=head.device)
    ids = torch.zeros(len(prompts), int(lengths.max()) + most,
                      dtype=torch.int64, device=head.device)
    for row, prompt in zip(ids, prompts):
        row[:len(prompt)] = torch.tensor(prompt)
    rows = torch.arange(len(prompts), device=head.device)
    for step in range(most):
        hidden = model.hidden(ids, dtype=dtype)[0][rows, lengths + step - 1]
        ids[rows, lengths + step] = (hidden.float() @ head.float().T).argmax(-1)
        made = [row[n:n + step + 1].tolist() for row, n in
                zip(ids, lengths.tolist())]
        if all(end in tokens for tokens in made):
            break
    answers = []
    for question, tokens in zip(questions, made):
        ended = end in tokens
        if ended:
            tokens = tokens[:tokens.index(end)]
        answers.append(Answer(question, tokenizer.decode(tokens), tokens, ended))
    return answers
