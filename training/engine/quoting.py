"""Decoding that can only quote: a critique (`critiques`) whose phrases are parts of the answer, letter by letter.

The form is walked byte by byte. In the words everything may be written but a quotation mark, which ends them; after an
opening quotation mark of a phrase only what goes on from one of the answer's own places; all else is given. Which
tokens may come next follows from a tree of the vocabulary's bytes, so that no tokenizer has to cut a quote as it cuts
the answer. Quotes begin and end between words. Where a token limit cuts the critique off, it stays unfinished.
"""

from __future__ import annotations

import json
import re
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from training.engine.critiques import GOOD, POOR, WORDS
from training.engine.tokens import stop_ids

OPENING = f'{{"{WORDS}": "'.encode()
LISTS = (f', "{GOOD}": ['.encode(), f', "{POOR}": ['.encode())
CLOSING = b"}"
MARK, BACK, SPACE = ord('"'), ord("\\"), ord(" ")
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")

State = tuple[
    Any, ...
]  # ("given", bytes, place, next) | ("words",) | ("list", n, count, first) | ("quote", n, count, places)
END: State = ("end",)
IN_WORDS: State = ("words",)


class Vocabulary:
    """A tokenizer's tokens as bytes, in a tree; special tokens are not in it. Made once a tokenizer (`of`)."""

    _known: weakref.WeakKeyDictionary[Any, Vocabulary] = weakref.WeakKeyDictionary()

    def __init__(self, tokenizer: Any) -> None:
        special = set(tokenizer.all_special_ids) | stop_ids(tokenizer)
        level = _byte_level(tokenizer)
        self.bytes: dict[int, bytes] = {}
        self.tree: dict[int, Any] = {}
        self.stops = sorted(stop_ids(tokenizer))
        self.spaces = level is None
        for token, number in tokenizer.get_vocab().items():
            if number in special:
                continue
            spelled = _spelled(token, level)
            if not spelled:
                continue
            self.bytes[number] = spelled
            node = self.tree
            for byte in spelled:
                node = node.setdefault(byte, {})
            node.setdefault(-1, []).append(number)
        self.spaces = self.spaces and SPACE in self.tree
        self.in_words = [number for number, spelled in self.bytes.items() if _fits_words(spelled)]
        self.ends_words = [number for number in self.in_words if self.bytes[number][0] == MARK]

    @classmethod
    def of(cls, tokenizer: Any) -> Vocabulary:
        """That of this tokenizer."""
        if tokenizer not in cls._known:
            cls._known[tokenizer] = cls(tokenizer)
        return cls._known[tokenizer]


@dataclass(frozen=True)
class Answer:
    """An answer as it stands within JSON."""

    spelled: bytes
    starts: frozenset[int]  # where a quote may begin
    ends: frozenset[int]  # where it may end: one beyond its last byte

    @classmethod
    def of(cls, text: str) -> Answer:
        """Its places between words."""
        spelled = b""
        starts, ends = set(), set()
        for place, letter in enumerate(text):
            before = text[place - 1] if place else " "
            if not letter.isspace() and not _in_a_word(before, letter):
                starts.add(len(spelled))
            if not before.isspace() and not _in_a_word(before, letter):
                ends.add(len(spelled))
            spelled += json.dumps(letter, ensure_ascii=False)[1:-1].encode("utf-8", "replace")
        if text and not text[-1].isspace():
            ends.add(len(spelled))
        return cls(spelled, frozenset(starts), frozenset(ends))


class Quoting:
    """One critique that is being written: which tokens may come next (a `rollouts.Walk`)."""

    def __init__(self, tokenizer: Any, answer: str, *, words: int = 200, quotes: int = 6) -> None:
        """`words` is how many tokens they may take, `quotes` how many phrases a list may have."""
        self.vocabulary = Vocabulary.of(tokenizer)
        self.answer = Answer.of(answer)
        self.left, self.most = words, quotes
        self.state: State = ("given", OPENING, 0, IN_WORDS)
        self.spaced = not self.vocabulary.spaces  # some tokenizers put a space before all that they write

    def allowed(self) -> Sequence[int]:
        """The ids of the tokens that may come next; at the end, those that stop."""
        if self.state == END:
            return self.vocabulary.stops
        if self.state == IN_WORDS:
            return self.vocabulary.in_words if self.left > 0 else self.vocabulary.ends_words
        found = list(self._tokens(self.vocabulary.tree, self.state))
        if not self.spaced:
            found += self._tokens(self.vocabulary.tree[SPACE], self.state)
        return found

    def take(self, token: int) -> None:
        """Go on with this token, which was allowed."""
        if self.state == END:
            return
        if self.state == IN_WORDS:
            self.left -= 1
        for byte in self.vocabulary.bytes[token]:
            if not self.spaced and byte == SPACE:
                self.spaced = True
                continue
            self.spaced = True
            state = self._next(self.state, byte)
            assert state is not None, "a token that was not allowed"
            self.state = state

    def _tokens(self, node: dict[int, Any], state: State) -> Iterator[int]:
        for byte, below in node.items():
            if byte == -1:
                yield from below
            elif (following := self._next(state, byte)) is not None:
                yield from self._tokens(below, following)

    def _next(self, state: State, byte: int) -> State | None:
        kind = state[0]
        if kind == "given":
            _, literal, place, then = state
            if byte != literal[place]:
                return None
            return then if place + 1 == len(literal) else ("given", literal, place + 1, then)
        if kind == "words":
            if byte == MARK:
                return "given", LISTS[0], 0, ("list", 0, 0)
            return None if byte == BACK or byte < SPACE else state
        if kind == "list":
            _, number, count = state
            if byte == ord("]"):
                return ("given", CLOSING, 0, END) if number else ("given", LISTS[1], 0, ("list", 1, 0))
            if count >= self.most or not self.answer.starts:
                return None
            quote: State = ("quote", number, count + 1, self.answer.starts, True)
            if count == 0:
                return quote if byte == MARK else None
            return ("given", b' "', 0, quote) if byte == ord(",") else None
        if kind == "quote":
            _, number, count, places, empty = state
            if byte == MARK and not empty and places & self.answer.ends:
                return "list", number, count
            spelled = self.answer.spelled
            further = frozenset(at + 1 for at in places if at < len(spelled) and spelled[at] == byte)
            return ("quote", number, count, further, False) if further else None
        return None


def _fits_words(spelled: bytes) -> bool:
    """Whether a token may stand in the words: no quotation mark, or one that ends them and goes on as the form does."""
    head, mark, tail = spelled.partition(b'"')
    if any(byte == BACK or byte < SPACE for byte in head):
        return False
    return not mark or LISTS[0].startswith(tail)


def _in_a_word(before: str, letter: str) -> bool:
    """Whether no word ends between two characters: both are digits or letters of a script that has cases."""
    return all(one.isdigit() or one.lower() != one.upper() for one in (before, letter))


def _byte_level(tokenizer: Any) -> dict[str, int] | None:
    """The byte of each character, where the tokenizer spells bytes with characters; else None."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or "ByteLevel" not in str(backend.decoder) + str(type(backend.decoder)):
        return None
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(256 + place): byte for place, byte in enumerate(others)},
    }


def _spelled(token: str, level: dict[str, int] | None) -> bytes:
    if level is not None:
        return bytes(level[letter] for letter in token) if all(letter in level for letter in token) else b""
    if match := _BYTE.fullmatch(token):
        return bytes([int(match[1], 16)])
    return token.replace("▁", " ").encode("utf-8", "replace")
