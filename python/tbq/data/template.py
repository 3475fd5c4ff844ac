# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""A checkpoint's chat template: rendered as transformers does, and taken apart.

Input:  chat_template.jinja, or `chat_template` of tokenizer_config.json; it may
        come from a stranger and runs in jinja2's immutable sandbox.
Output: the text of messages; and TurnTokens, what the template puts before,
        between and after the turns of a conversation, as tokens.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from tbq.data.errors import DataError
from tbq.data.tokenizer import read_json, special_tokens

Messages = list[dict[str, str]]
_PLACES = ("first question", "first answer", "second question",
           "second answer")


def _raise_exception(message: str):
    raise jinja2.TemplateError(message)


def _environment() -> ImmutableSandboxedEnvironment:
    """What chat templates are written for: transformers' settings."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True,
        extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(
        value, ensure_ascii=False, indent=indent)
    environment.globals["raise_exception"] = _raise_exception
    return environment


@dataclass(frozen=True)
class TurnTokens:
    """A conversation is opening, question, [end_question, *to_answer], answer,
    [end_answer, *to_question], question, ...: the model says the end tokens,
    the rest is fed."""

    opening: list[int]
    end_question: int
    to_answer: list[int]
    end_answer: int
    to_question: list[int]


class ChatTemplate:
    def __init__(self, directory: Path):
        self.path = directory / "chat_template.jinja"
        if self.path.exists():
            source = self.path.read_text(encoding="utf-8")
        else:
            self.path = directory / "tokenizer_config.json"
            source = read_json(self.path).get("chat_template")
            if isinstance(source, list):  # several, by name
                source = next((entry["template"] for entry in source
                               if entry["name"] == "default"), None)
        if not isinstance(source, str):
            raise DataError(directory, "chat_template", "the checkpoint has "
                            "none")
        self.tokens = special_tokens(directory)
        try:
            self.template = _environment().from_string(source)
        except jinja2.TemplateError as error:
            raise DataError(self.path, "chat_template", str(error)) from error

    def render(self, messages: Messages, prompt: bool = False) -> str:
        """The text of messages; prompt: and what opens the next answer."""
        try:
            return self.template.render(messages=messages, **self.tokens,
                                        add_generation_prompt=prompt)
        except jinja2.TemplateError as error:
            raise DataError(self.path, "chat_template", str(error)) from error

    def turns(self, tokenizer: Tokenizer) -> TurnTokens:
        """The template taken apart around marks that stand for the turns."""
        text = self.render([
            {"role": role, "content": place} for role, place in
            zip(("user", "assistant") * 2, _PLACES)])
        parts = []
        for place in _PLACES:
            part, mark, text = text.partition(place)
            if not mark:
                raise DataError(self.path, "chat_template", "does not repeat "
                                f"the {place} as it is")
            parts.append(tokenizer.encode(part, add_special_tokens=False).ids)
        opening, to_answer, to_question, again = parts
        special = {number for number, token in
                   tokenizer.get_added_tokens_decoder().items()
                   if token.special}
        for part in (to_answer, to_question):
            if not part or part[0] not in special:
                raise DataError(self.path, "chat_template", "a turn does not "
                                "end with a special token, so nobody could see "
                                "the model end it")
        if again != to_answer:
            raise DataError(self.path, "chat_template", "the second answer is "
                            "not introduced as the first")
        return TurnTokens(opening, to_answer[0], to_answer[1:], to_question[0],
                          to_question[1:])
