"""The examples: preference pairs of three shapes, as text and as ids.

hh: help conversations, short answers (hh_rlhf). qa: long passages and long answers (qa_feedback). adverse: prompts of 8
tokens with answers of 512, where nothing is worth sharing and little is padding. To measure on other examples of the
same sets, give another folder with files of the same names.
"""

from __future__ import annotations

import copy
import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
Shape = Literal["hh", "qa", "adverse"]
FILES = {"hh": "hh_rlhf/harmless-base.jsonl.gz", "qa": "qa_feedback/feedback.json"}
LONGEST = {"hh": 1024, "qa": 1536}  # tokens of a row; longer ones are left out for both sides
# ChatML without the system prompt that SmolLM2's own template adds: it would only lengthen what rows share.
TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PASSAGES = 900  # characters of each of a question's passages


class NoData(Exception):
    """The files of this shape are not there; the message says which."""


@dataclass(frozen=True)
class Pair:
    """A prompt with a better and a worse answer: the ids are what tokenising the text gives, prompt then answer."""

    name: str
    prompt: str
    chosen: str
    rejected: str
    prompt_ids: tuple[int, ...]
    chosen_ids: tuple[int, ...]
    rejected_ids: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Useful tokens: the prompt counts for each of the two rows."""
        return 2 * len(self.prompt_ids) + len(self.chosen_ids) + len(self.rejected_ids)

    @property
    def different(self) -> int:
        """Tokens that must be computed when the prompt is computed once."""
        return len(self.prompt_ids) + len(self.chosen_ids) + len(self.rejected_ids)


def pairs(tokenizer: Any, shape: Shape, count: int, *, folder: Path = DATA) -> list[Pair]:
    """The first `count` pairs that fit; raise NoData where the files are missing or too short."""
    if shape == "adverse":
        return [_adverse(tokenizer, number) for number in range(count)]
    path = folder / FILES[shape]
    if not path.exists():
        raise NoData(f"{path} is missing")
    tokenizer = copy.deepcopy(tokenizer)
    if "<|im_start|>" in tokenizer.get_vocab():
        tokenizer.chat_template = TEMPLATE
    found: list[Pair] = []
    for number, (messages, chosen, rejected) in enumerate({"hh": _hh, "qa": _qa}[shape](path)):
        pair = _render(tokenizer, f"{shape}-{number}", messages, chosen, rejected)
        if pair and max(len(pair.chosen_ids), len(pair.rejected_ids)) + len(pair.prompt_ids) <= LONGEST[shape]:
            found.append(pair)
        if len(found) == count:
            return found
    raise NoData(f"{path} holds only {len(found)} pairs that fit, {count} are needed")


def _hh(path: Path) -> Iterator[tuple[list[dict[str, str]], str, str]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            chosen, rejected = _turns(row["chosen"]), _turns(row["rejected"])
            if chosen[:-1] == rejected[:-1] and chosen != rejected and len(chosen) > 1:
                yield chosen[:-1], chosen[-1]["content"], rejected[-1]["content"]


def _turns(text: str) -> list[dict[str, str]]:
    turns = []
    for piece in text.split("\n\nHuman:")[1:]:
        asked, *answers = piece.split("\n\nAssistant:")
        turns.append({"role": "user", "content": asked.strip()})
        turns += [{"role": "assistant", "content": answer.strip()} for answer in answers]
    return turns


def _qa(path: Path) -> Iterator[tuple[list[dict[str, str]], str, str]]:
    orders = ((1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4))
    for example in json.loads(path.read_text(encoding="utf-8")):
        preferred = next(((a, b, p) for (a, b), p in zip(orders, example["preference"], strict=True) if p), None)
        if preferred is None:
            continue
        first, second, better = preferred
        winner, loser = (first, second) if better == 1 else (second, first)
        passages = "\n\n".join(f"{title}: {' '.join(text)[:PASSAGES]}" for title, *text in example["passages"])
        messages = [{"role": "user", "content": f"{passages}\n\n{example['question']}".strip()}]
        yield messages, example[f"prediction {winner}"].strip(), example[f"prediction {loser}"].strip()


def _render(tokenizer: Any, name: str, messages: Any, chosen: str, rejected: str) -> Pair | None:
    """None where the template refuses, where prompt and answer would share a token, or where there is no answer."""
    from training.engine.tokens import TemplateRefused, render_chat

    if not chosen or not rejected:
        return None
    try:
        good = render_chat(tokenizer, messages, response=chosen)
        bad = render_chat(tokenizer, messages, response=rejected)
    except TemplateRefused:
        return None
    rows = [
        (chat.text[: chat.response_start], chat.text[chat.response_start : chat.offsets[-1][1]]) for chat in (good, bad)
    ]
    pair = Pair(
        name=name,
        prompt=rows[0][0],
        chosen=rows[0][1],
        rejected=rows[1][1],
        prompt_ids=tuple(good.prompt_ids),
        chosen_ids=tuple(good.completion_ids),
        rejected_ids=tuple(bad.completion_ids),
    )
    return pair if _splits_as_told(tokenizer, pair) else None


def _splits_as_told(tokenizer: Any, pair: Pair) -> bool:
    """Whether tokenising prompt and answer as one text gives the ids of the pair."""
    return all(
        tokenizer(pair.prompt + text, add_special_tokens=False)["input_ids"] == [*pair.prompt_ids, *ids]
        for text, ids in ((pair.chosen, pair.chosen_ids), (pair.rejected, pair.rejected_ids))
    )


def _adverse(tokenizer: Any, number: int, *, prompt: int = 8, answer: int = 512) -> Pair:
    """Words by chance, each one token, so that lengths are exact."""
    rng = random.Random(number)
    words = _whole_words(tokenizer)
    texts = []
    for length in (prompt, answer, answer):
        texts.append("".join(rng.choices(words, k=length - 1)) + tokenizer.eos_token)
    ids = [tuple(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    made = Pair(f"adverse-{number}", *texts, *ids)
    assert [len(one) for one in ids] == [prompt, answer, answer], [len(one) for one in ids]
    assert _splits_as_told(tokenizer, made)
    return made


def _whole_words(tokenizer: Any) -> list[str]:
    """Words of five letters or more with a space before them that are a single token, in the vocabulary's order."""
    found = []
    for token in range(1000, 6000):
        text = tokenizer.decode([token])
        if text.startswith(" ") and text[1:].isalpha() and text[1:].isascii() and len(text) > 5:
            found.append(text)
    return found
