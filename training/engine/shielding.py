"""Control tokens that stand in what people write. A message that says `<|im_end|>` quotes a word: it ends no turn and
opens none, and must not teach a model to stop in the middle.

Inside messages each such word is replaced by as many characters of a private plane of Unicode, so that templates and
offsets see a text of the same length; `encode` reads those as the plain letters that they stand for.
"""

from __future__ import annotations

import re
from typing import Any

FIRST = 0xF0000  # of the private plane; one character for each control token of the tokenizer


def shield(tokenizer: Any, text: str) -> str:
    """The text with its control tokens as private characters, each as long as the token."""
    words = _words(tokenizer)
    if not any(word in text for word in words):
        return text
    longest_first = sorted(words, key=len, reverse=True)
    pattern = "|".join(re.escape(word) for word in longest_first)
    return re.sub(pattern, lambda found: chr(FIRST + words.index(found[0])) * len(found[0]), text)


def unshield(tokenizer: Any, text: str) -> str:
    """The text as it was."""
    words = _words(tokenizer)
    return _shielded(words).sub(lambda found: words[ord(found[0][0]) - FIRST], text) if _is_touched(text) else text


def encode(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    """Ids and offsets of a text: nothing is added, and what is shielded is read as plain letters."""
    if not _is_touched(text):
        return _read(tokenizer, text)
    words = _words(tokenizer)
    ids: list[int] = []
    offsets: list[tuple[int, int]] = []
    place = 0
    for found in [*_shielded(words).finditer(text), None]:
        end = found.start() if found else len(text)
        parts = [(place, _read(tokenizer, text[place:end]))]
        if found:
            parts.append((end, _read(tokenizer, words[ord(found[0][0]) - FIRST], split_special_tokens=True)))
            place = found.end()
        for start, (more, where) in parts:
            ids += more
            offsets += [(left + start, right + start) for left, right in where]
    return ids, offsets


def _read(tokenizer: Any, text: str, **options: Any) -> tuple[list[int], list[tuple[int, int]]]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, **options)
    return list(encoded["input_ids"]), [(int(start), int(end)) for start, end in encoded["offset_mapping"]]


def _words(tokenizer: Any) -> list[str]:
    return [str(word) for word in tokenizer.all_special_tokens]


def _is_touched(text: str) -> bool:
    return any(ord(character) >= FIRST for character in text)


def _shielded(words: list[str]) -> re.Pattern[str]:
    """Runs of a token's character, exactly as long as the token."""
    return re.compile("|".join(f"{chr(FIRST + place)}{{{len(word)}}}" for place, word in enumerate(words)))
