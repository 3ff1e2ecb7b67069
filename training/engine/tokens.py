"""Text and tokens: chat rendering with the mask of what is trained; marks on characters as weights on tokens, and back.

Character offsets are half-open and count code points. Nothing here needs torch.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Offsets = Sequence[tuple[int, int]]
SignConflict = Literal["negative", "positive", "mean"]


class TemplateRefused(ValueError):
    """This model's chat template cannot be trained on; the message says why."""


@dataclass(frozen=True)
class RenderedChat:
    """A conversation as ids. With a response, its tokens and the stop token that closes it are `completion_mask`."""

    ids: list[int]
    offsets: list[tuple[int, int]]  # of each id, in the rendered text
    text: str
    completion_mask: list[bool]
    response_start: int  # where the response's first character stands (or would stand) in the rendered text
    response_end: int

    @property
    def prompt_ids(self) -> list[int]:
        """What stands before the response: exactly what a sampler is given."""
        return self.ids[: self.completion_mask.index(True)] if True in self.completion_mask else self.ids

    @property
    def completion_ids(self) -> list[int]:
        """The response's tokens and the stop token."""
        return [token for token, trained in zip(self.ids, self.completion_mask, strict=True) if trained]

    @property
    def response_offsets(self) -> list[tuple[int, int]]:
        """Offsets of the response's tokens in the response's own text; the stop token has none and is left out."""
        return [
            (max(start, self.response_start) - self.response_start, min(end, self.response_end) - self.response_start)
            for (start, end), trained in zip(self.offsets, self.completion_mask, strict=True)
            if trained and start < self.response_end
        ]


def render_chat(tokenizer: Any, messages: Sequence[Mapping[str, Any]], *, response: str | None) -> RenderedChat:
    """Render `messages` and, if given, the assistant's `response`; raise TemplateRefused where training cannot use it.

    The response is found by its place in the rendered text, not by `{% generation %}`, which few templates have. What
    stands before it is the template's generation prompt, token for token, so that training sees what sampling saw.
    """
    prompt = _apply_template(tokenizer, messages, add_generation_prompt=True)
    prompt_ids, prompt_offsets = _encode(tokenizer, prompt)
    if response is None:
        return RenderedChat(prompt_ids, prompt_offsets, prompt, [False] * len(prompt_ids), len(prompt), len(prompt))

    text = _apply_template(
        tokenizer, [*messages, {"role": "assistant", "content": response}], add_generation_prompt=False
    )
    if not text.startswith(prompt):
        raise TemplateRefused(
            "The chat template renders a conversation differently before an answer than when it asks for one, "
            "so a model trained on it would never see what it is asked."
        )
    if not text.startswith(response, len(prompt)):
        raise TemplateRefused(
            "The chat template alters the answer (it may trim or rewrite it), so marks on it have no place."
        )
    response_end = len(prompt) + len(response)
    ids, offsets = _encode(tokenizer, text)
    if ids[: len(prompt_ids)] != prompt_ids:
        # The prompt's last token would merge with the answer's first: keep the border that sampling has.
        tail_ids, tail_offsets = _encode(tokenizer, text[len(prompt) :])
        ids = prompt_ids + tail_ids
        offsets = prompt_offsets + [(start + len(prompt), end + len(prompt)) for start, end in tail_offsets]

    stop = next((i for i in range(len(prompt_ids), len(ids)) if offsets[i][0] >= response_end), None)
    if stop is None or ids[stop] not in stop_ids(tokenizer):
        raise TemplateRefused(
            "The chat template closes an answer without a stop token, so a model would never learn to stop."
        )
    mask = [len(prompt_ids) <= i <= stop for i in range(len(ids))]
    return RenderedChat(ids[: stop + 1], offsets[: stop + 1], text, mask[: stop + 1], len(prompt), response_end)


def check_template(tokenizer: Any) -> str | None:
    """Why this tokenizer's chat template cannot be used, or None. Asked once, when a base model is registered."""
    try:
        one = [{"role": "user", "content": "Hello there."}]
        render_chat(tokenizer, one, response="Good day.")
        turns = [*one, {"role": "assistant", "content": "Good day."}, {"role": "user", "content": "How are you?"}]
        render_chat(tokenizer, turns, response="Well, thank you.")
    except TemplateRefused as refusal:
        return str(refusal)
    return None


def stop_ids(tokenizer: Any) -> set[int]:
    """Tokens that end an answer: the tokenizer's end of sequence and the special tokens that templates close a turn
    with.
    """
    found = {tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()
    for name in ("<|im_end|>", "<|eot_id|>", "<|end|>", "<end_of_turn>", "<|end_of_text|>", "</s>"):
        token = tokenizer.convert_tokens_to_ids(name)
        if token is not None and token != tokenizer.unk_token_id:
            found.add(token)
    return found


def _apply_template(tokenizer: Any, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise TemplateRefused(
            "This model has no chat template; choose an instruction-tuned model or add one to its folder."
        )
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages], tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )
    except Exception as error:  # the template is a program of the model's author and may raise anything
        raise TemplateRefused(f"The chat template refuses this conversation: {error}") from error


def _encode(tokenizer: Any, text: str) -> tuple[list[int], list[tuple[int, int]]]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return list(encoded["input_ids"]), [(int(start), int(end)) for start, end in encoded["offset_mapping"]]


@dataclass(frozen=True)
class Span:
    """A mark: `score` in [-1, 1] on [start, end); empty (start = end) says that something is missing there."""

    start: int
    end: int
    score: float = 1.0
    author: str | None = None


def spans_to_token_weights(
    text: str,
    offsets: Offsets,
    spans: Sequence[Span],
    *,
    words_only: bool = True,
    sign_conflict: SignConflict = "negative",
    annotators: int | None = None,
) -> list[float]:
    """One weight in [-1, 1] for each token of `text` and one more, the last, for the stop token.

    A token belongs to a span when it holds at least one character of it that is not a space. With `words_only`,
    tokens without a letter or digit get 0. Where signs meet, in one annotator's marks or within one token,
    `sign_conflict` says who wins. Several annotators: the mean of their scores per character, first; `annotators`
    counts those who marked nothing too (by default, only those who marked). An empty span goes to the token that
    follows it, at the end to the stop token.
    """
    by_author: dict[str | None, list[Span]] = {}
    for span in spans:
        if not 0 <= span.start <= span.end <= len(text):
            raise ValueError(f"The span {span.start}-{span.end} does not lie in a text of {len(text)} characters.")
        by_author.setdefault(span.author, []).append(span)
    people = max(annotators or 0, len(by_author), 1)

    characters = [0.0] * len(text)
    missing = [0.0] * (len(offsets) + 1)
    for marks in by_author.values():
        marked: dict[int, list[float]] = {}
        absent: dict[int, list[float]] = {}
        for span in marks:
            if span.start == span.end:
                absent.setdefault(_following_token(text, offsets, span.start), []).append(span.score)
            for place in range(span.start, span.end):
                marked.setdefault(place, []).append(span.score)
        for place, scores in marked.items():
            characters[place] += _settle(scores, sign_conflict) / people
        for token, scores in absent.items():
            missing[token] += _settle(scores, sign_conflict) / people

    weights = []
    for token, (start, end) in enumerate(offsets):
        scores = [characters[place] for place in range(start, end) if not text[place].isspace()]
        if words_only and not any(_in_a_word(text[place]) for place in range(start, end)):
            scores = []
        weights.append(_settle([*scores, *([missing[token]] if missing[token] else [])], sign_conflict))
    return [*weights, missing[len(offsets)]]


def token_weights_to_spans(
    text: str, offsets: Offsets, weights: Sequence[float], *, threshold: float = 0.0
) -> list[Span]:
    """The phrases that neighbouring tokens of one sign make, without spaces at their ends; their score is the tokens'
    mean.

    Weights within `threshold` of 0 mark nothing. A weight beyond the last token (the stop token's) is an empty span
    at the end.
    """
    spans: list[Span] = []
    start = end = 0
    scores: list[float] = []

    def close() -> None:
        if scores:
            phrase = text[start:end]
            left = start + len(phrase) - len(phrase.lstrip())
            spans.append(Span(left, max(left, start + len(phrase.rstrip())), sum(scores) / len(scores)))
            scores.clear()

    for (token_start, token_end), weight in zip(offsets, weights, strict=False):
        if not text[token_start:token_end].strip():
            continue  # a token of spaces neither marks nor parts
        if abs(weight) <= threshold:
            close()
            continue
        if scores and (weight > 0) != (scores[-1] > 0):
            close()
        if not scores:
            start = token_start
        end = max(end, token_end) if scores else token_end
        scores.append(weight)
    close()
    if len(weights) > len(offsets) and abs(weights[len(offsets)]) > threshold:
        spans.append(Span(len(text), len(text), weights[len(offsets)]))
    return spans


def _settle(scores: Sequence[float], sign_conflict: SignConflict) -> float:
    """One score from several on one place."""
    marked = [score for score in scores if score]
    if not marked:
        return 0.0
    if sign_conflict == "mean":
        return sum(marked) / len(marked)
    low, high = min(marked), max(marked)
    if sign_conflict == "negative":
        return low if low < 0 else high
    return high if high > 0 else low


def _following_token(text: str, offsets: Offsets, place: int) -> int:
    """The first token whose first character that is not a space stands at or after `place`; beyond the last: the stop
    token.
    """
    for token, (start, end) in enumerate(offsets):
        first = next((at for at in range(start, end) if not text[at].isspace()), None)
        if first is not None and first >= place:
            return token
    return len(offsets)


def _in_a_word(character: str) -> bool:
    """Letters, digits and the marks that belong to letters; not the selectors that dress emoji."""
    return unicodedata.category(character)[0] in "LNM" and not unicodedata.name(character, "").startswith("VARIATION")
