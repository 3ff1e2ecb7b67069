"""Control tokens that stand in what people write. A message that says `<|im_end|>` quotes a word: it ends no turn and
opens none, and must not teach a model to stop in the middle.

Inside messages each such word is replaced by as many characters of a private plane of Unicode, which nobody has used
there, so that templates and offsets see a text of the same length; `encode` reads those as the plain letters that they
stand for.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

PRIVATE = range(0xF0000, 0x10FFFE)  # planes 15 and 16


class Shield:
    """For some texts and one tokenizer: which characters stand for which of its control tokens."""

    def __init__(self, tokenizer: Any, texts: Iterable[str]) -> None:
        self.tokenizer = tokenizer
        whole = "".join(texts)
        words = sorted({str(word) for word in tokenizer.all_special_tokens if word in whole}, key=len, reverse=True)
        used = set(whole)
        free = (chr(place) for place in PRIVATE if chr(place) not in used)
        self.signs = dict(zip(words, free, strict=False))  # the longest token first: one may hold another
        self._words = re.compile("|".join(map(re.escape, words))) if words else None
        pieces = (f"{sign}{{{len(word)}}}" for word, sign in self.signs.items())
        self._hidden = re.compile("|".join(pieces)) if words else None

    def hide(self, text: str) -> str:
        """The text with its control tokens as private characters, each as long as the token."""
        if self._words is None:
            return text
        return self._words.sub(lambda found: self.signs[found[0]] * len(found[0]), text)

    def show(self, text: str) -> str:
        """The text as it was."""
        return text if self._hidden is None else self._hidden.sub(lambda found: self._word(found[0]), text)

    def encode(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Ids and offsets of a text: nothing is added, and what is hidden is read as plain letters."""
        if self._hidden is None:
            return encode(self.tokenizer, text)
        ids: list[int] = []
        offsets: list[tuple[int, int]] = []
        place = 0

        def add(piece: str, **options: Any) -> None:
            more, where = encode(self.tokenizer, piece, **options)
            ids.extend(more)
            offsets.extend((start + place, end + place) for start, end in where)

        for found in self._hidden.finditer(text):
            add(text[place : found.start()])
            place = found.start()
            add(self._word(found[0]), split_special_tokens=True)
            place = found.end()
        add(text[place:])
        return ids, offsets

    def _word(self, hidden: str) -> str:
        return next(word for word, sign in self.signs.items() if sign == hidden[0])


def encode(tokenizer: Any, text: str, **options: Any) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids of a text and their offsets; nothing is added."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, **options)
    return list(encoded["input_ids"]), [(int(start), int(end)) for start, end in encoded["offset_mapping"]]
