# SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
"""Training text of the small model: stories and novels, as clean documents.

Input: the corpora folder (TinyStories lower-cased 4 MB and 200 kB in original
case, 100 English novels). Output: lists of documents, paragraphs separated by
one newline, ASCII quotes, ordinary capitalisation. Invariant: the restored
case changes letters only, never their number or order (but for white space).

The large TinyStories file is lower-cased. Its first part exists in original
case and is replaced by that; the rest gets its capitals back by fixed rules:
"I", the first word of a sentence or of quoted speech, names (words always
capitalised in original-case text, or introduced by "named"), and "Mom" and the
like where no article or possessive stands before them. `case_agreement`
measures the rules against original-case text.
"""

from __future__ import annotations

import lzma
import random
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

# UTF-8 punctuation once read as Windows-1252, as found in TinyStories, and
# typographic characters, all to ASCII. Longest first.
_MOJIBAKE = [
    ("â€œ", '"'), ("â€™", "'"), ("â€˜", "'"), ("â€¦", "..."), ("â€“", "-"),
    ("â€”", "-"), ("â€", '"'),
]
_TYPOGRAPHY = str.maketrans({
    "“": '"', "”": '"', "‘": "'", "’": "'", "—": "-", "–": "-", "…": "...",
    "\xa0": " ", "\t": " ", "\x0c": " ", "æ": "ae", "œ": "oe", "ſ": "s",
})
_OPENERS = ("once", "one day", "one night", "one morning", "there was",
            "there were", "there lived", "it was a")
_DETERMINERS = frozenset(
    "a an the his her their my your our its this that some any every each no "
    "another other one two little big old new good nice best kind".split())
_KIN = frozenset("mom mommy mama mum mummy dad daddy papa grandma grandpa "
                 "grandmother grandfather granny nana mother father".split())
_SAYING = frozenset(
    "said says say asked asks replied cried shouted yelled exclaimed called "
    "answered whispered thought added screamed laughed announced wondered "
    "begged cheered explained suggested responded agreed sang growled "
    "barked roared squeaked giggled smiled warned continued".split())
_NAMED = re.compile(r"\b(?:named|name is|name was|names were) ([a-z]+)\b")
_WORD = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*")


def clean(text: str) -> str:
    """ASCII punctuation, single spaces, no blanks at the ends of lines."""
    for bad, good in _MOJIBAKE:
        text = text.replace(bad, good)
    text = text.translate(_TYPOGRAPHY)
    text = re.sub(r" +", " ", text)
    return re.sub(r" ?\n ?", "\n", text).strip()


def read_text(path: Path) -> str:
    """A UTF-8 text file, possibly .xz."""
    raw = path.read_bytes()
    if path.suffix == ".xz":
        raw = lzma.decompress(raw)
    return raw.decode("utf-8")


def split_stories(text: str) -> list[str]:
    """Stories of the lower-cased file, paragraphs separated by one newline.

    Between stories there is one newline, between paragraphs of a story usually
    two. Some stories use one newline inside too: a piece that neither opens
    like a story nor is 300 characters long continues the story before it.
    """
    stories: list[str] = []
    for piece in re.split(r"(?<!\n)\n(?!\n)", text):
        piece = re.sub(r"\n+", "\n", clean(piece))
        if not piece:
            continue
        if stories and len(piece) < 300 and not piece.startswith(_OPENERS):
            stories[-1] += "\n" + piece
        else:
            stories.append(piece)
    return stories


def _mid_sentence(text: str):
    """(previous word, word) for words that no rule of position capitalises."""
    for line in text.split("\n"):
        previous = None
        for match in _WORD.finditer(line):
            before = line[:match.start()]
            if previous and (before.endswith(" ")
                             and before[-2:-1] not in '.!?":;'):
                yield previous, match.group()
            previous = match.group()


def _stem(word: str) -> str:
    return word[:-2] if word.endswith("'s") else word


@dataclass(frozen=True)
class CaseRules:
    """names: lower-case words written with a capital everywhere.
    part_names: names in the stories that introduce them ("named bunny")."""

    names: frozenset[str]
    part_names: frozenset[str]

    @staticmethod
    def derive(original: str, lower: list[str], novels: str) -> "CaseRules":
        """Names from original-case stories and novels, and from "named X" in
        the lower-cased stories."""
        upper, total = Counter(), Counter()
        for _, word in _mid_sentence(original):
            key = _stem(word).lower()
            total[key] += 1
            upper[key] += word[0].isupper()
        names = {w for w, n in total.items() if upper[w] >= 0.7 * n
                 and w not in _KIN}
        met, met_upper = Counter(), Counter()
        for _, word in _mid_sentence(novels):
            key = _stem(word).lower()
            met[key] += 1
            met_upper[key] += word[0].isupper() and word[1:].islower()
        names |= {w for w, n in met.items() if n >= 5 and len(w) > 2
                  and met_upper[w] >= 0.97 * n and total[w] == 0}
        joined = "\n".join(lower)
        named = Counter(_NAMED.findall(joined))
        introduced = {w for w in named
                      if w not in _DETERMINERS and w not in _KIN}
        after_article, seen = Counter(), Counter()
        for previous, word in _mid_sentence(joined):
            word = _stem(word)
            seen[word] += 1
            after_article[word] += previous in _DETERMINERS
        names |= {w for w in introduced if named[w] >= 2 and total[w] == 0}
        common = {w for w in names if after_article[w] > 0.1 * seen[w] > 0}
        names -= common
        part = common | {w for w in introduced - names if total[w] == 0
                         or upper[w] > 0 or named[w] >= 2}
        return CaseRules(frozenset(names), frozenset(part))

    def restore(self, story: str) -> str:
        """`story` in lower case -> the same letters with capitals."""
        local = self.names | {
            w for w in _NAMED.findall(story) if w in self.part_names}
        return "\n".join(self._line(line, local)
                         for line in story.split("\n"))

    def _line(self, line: str, names: frozenset[str] | set[str]) -> str:
        out, end, previous, quoted = [], 0, "", False
        starts = True  # the next word begins a sentence
        words = list(_WORD.finditer(line))
        for index, match in enumerate(words):
            gap, word = line[end:match.start()], match.group()
            opens = False
            for char in gap:
                if char == '"':
                    quoted = not quoted
                    opens = quoted
            if index and re.search(r"[.!?]", gap):
                starts = True
                if re.search(r"[!?],?\" ?$", gap) and not quoted:
                    # "Come!" she said: the sentence goes on.
                    stop = re.search(r"[.!?\"]", line[match.start():])
                    limit = match.start() + (stop.start() if stop else 999)
                    ahead = [w.group() for w in words[index:index + 5]
                             if w.start() < limit]
                    starts = not _SAYING.intersection(ahead)
                elif re.search(r"[.!?]{2,} ?$", gap) and "..." in gap:
                    starts = False
            if opens and (starts or not re.search(r", \"$", gap)
                          or previous in _SAYING or not index
                          or self._speaks(line, match.start())):
                starts = True
            stem = _stem(word)
            if (starts or stem in ("i",) or word.startswith("i'")
                    or (stem in names and not (
                        stem in self.part_names
                        and previous in _DETERMINERS))
                    or (stem in _KIN and stem not in ("mother", "father")
                        and previous not in _DETERMINERS
                        and not previous.endswith("'s"))):
                word = word[0].upper() + word[1:]
            out += [gap, word]
            end, previous, starts = match.end(), match.group(), False
        return "".join(out) + line[end:]

    @staticmethod
    def _speaks(line: str, at: int) -> bool:
        """Whether the speech opening at `at` is the sentence's first."""
        sentence = re.split(r"[.!?]\"? ", line[:at])[-1]
        return sentence.count('"') <= 1


def align_original(stories: list[str], original: str) -> dict[int, str]:
    """Index of a lower-cased story -> its text in original case."""
    flat = re.sub(r"\n+", "\n", clean(original))
    squeezed = [(c, i) for i, c in enumerate(flat) if not c.isspace()]
    letters = "".join(c for c, _ in squeezed).lower()
    found: dict[int, str] = {}
    for index, story in enumerate(stories):
        key = re.sub(r"\s+", "", story)
        at = letters.find(key)
        if at >= 0 and len(key) > 100:
            found[index] = flat[squeezed[at][1]:
                                squeezed[at + len(key) - 1][1] + 1]
    return found


def case_agreement(rules: CaseRules, originals: list[str]) -> float:
    """Share of words the rules write exactly as the original text does."""
    same = words = 0
    for text in originals:
        guess = rules.restore(text.lower())
        for a, b in zip(_WORD.findall(text), _WORD.findall(guess)):
            words += 1
            same += a == b
    return same / max(words, 1)


def load_stories(corpora: Path, novels: str) -> tuple[list[str], float]:
    """TinyStories in ordinary case, in the file's order without duplicates,
    and the rules' agreement with original case on stories the names were not
    taken from. `novels`: some text of novels, for the names in it."""
    lower = split_stories(read_text(
        corpora / "tinystories-lowercase-4mb.txt.xz"))
    original = read_text(corpora / "tinystories-200kb.txt")
    aligned = align_original(lower, original)
    texts = list(aligned.values())
    half = len(texts) // 2
    agreement = case_agreement(
        CaseRules.derive("\n".join(texts[:half]), lower, novels), texts[half:])
    rules = CaseRules.derive("\n".join(texts), lower, novels)
    stories = [aligned.get(i) or rules.restore(s)
               for i, s in enumerate(lower)]
    return list(dict.fromkeys(stories)), agreement


def load_novels(path: Path) -> list[str]:
    """Novels of one file; page furniture and lines not of prose left out."""
    books = []
    for book in read_text(path).split("<|endoftext|>"):
        lines = []
        for line in clean(book).split("\n"):
            if line and line.isascii() and not re.search(r"[{}|_<>\[\]=]", line):
                lines.append(line)
        books.append("\n".join(lines))
    return [b for b in books if b]


def hold_out(stories: list[str], every: int = 25) -> tuple[list[str], list[str]]:
    """(train, held out): the same pseudo-random choice on every machine."""
    order = list(range(len(stories)))
    random.Random(20261122).shuffle(order)
    held = set(order[:len(stories) // every])
    return ([s for i, s in enumerate(stories) if i not in held],
            [s for i, s in enumerate(stories) if i in held])
