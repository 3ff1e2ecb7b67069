"""Chats as ids with a mask of what is trained, and the check that a base model's template can be trained on at all.

What a model must write is found by its place in the rendered text, not by `{% generation %}`, which few templates
have: it is what stands between the generation prompt and the stop token that closes the turn, that token included. So
training sees, token for token, what sampling saw. Offsets count code points. Nothing here needs torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from training.engine.shielding import Shield
from training.engine.shielding import encode as encode

Message = Mapping[str, Any]
Offset = tuple[int, int]

DAY = "26 Jul 2024"  # what a template that writes today's date gets: a prompt must not change overnight
CLOCK = "{% macro strftime_now(form) %}" + DAY + "{% endmacro %}\n"  # stands in for transformers' own
NEUTRAL = "Zq"  # an answer that no template has a reason to change
STOPS = (
    *("<|im_end|>", "<|eot_id|>", "<|eom_id|>", "<|end|>", "<end_of_turn>", "<turn|>"),
    *("<|END_OF_TURN_TOKEN|>", "<|end_of_text|>", "</s>"),
)


class TemplateRefused(ValueError):
    """This model's chat template cannot be trained on; the message says why."""


class NotPrefixStable(TemplateRefused):
    """The template writes an earlier answer in another way once the conversation goes on."""


@dataclass(frozen=True)
class RenderedChat:
    """A conversation as ids. With a response, its tokens and the stop token that closes it are `completion_mask`."""

    ids: list[int]
    offsets: list[Offset]  # of each id, in the rendered text
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
    def response_offsets(self) -> list[Offset]:
        """Offsets of the response's tokens in the response's own text; the stop token has none and is left out. A space
        that the template puts before the response belongs to no character of it.
        """
        return [
            (
                max(start, self.response_start) - self.response_start,
                max(min(end, self.response_end), self.response_start) - self.response_start,
            )
            for (start, end), trained in zip(self.offsets, self.completion_mask, strict=True)
            if trained and start < self.response_end
        ]


@dataclass(frozen=True)
class RenderedConversation:
    """A whole conversation as ids, up to the stop token of its last trained answer. Prompts, tools and whatever else an
    environment says are not in `completion_mask`.
    """

    ids: list[int]
    offsets: list[Offset]
    text: str
    completion_mask: list[bool]
    answers: list[tuple[int, int]]  # of each trained answer: its first token, and one beyond its stop token


@dataclass(frozen=True)
class MaskSegment:
    """A run of text that is trained, or is not, as a page shows it."""

    text: str
    trained: bool


def render_chat(
    tokenizer: Any,
    messages: Sequence[Message],
    *,
    response: str | None,
    thinking: bool = False,
    tools: Sequence[Any] | None = None,
) -> RenderedChat:
    """Render `messages` and, if given, the assistant's `response`; raise TemplateRefused where training cannot use it.

    What stands before the response is the template's generation prompt. The response stands in the text as it is given,
    also where the template would trim spaces off its ends: a sampler does not. `thinking` is for templates that ask
    whether the model thinks before it answers; then the response begins with its thinking.
    """
    write = _Writer(tokenizer, messages, response or "", thinking=thinking, tools=tools)
    prompt = write(messages, ask=True)
    prompt_ids, prompt_offsets = write.shield.encode(prompt)
    if response is None:
        text, mask = write.shield.show(prompt), [False] * len(prompt_ids)
        return RenderedChat(prompt_ids, prompt_offsets, text, mask, len(prompt), len(prompt))
    response = write.shield.hide(response)
    lead, close = _around(write, messages, prompt, response)
    text = prompt + lead + response + close
    start, end = len(prompt) + len(lead), len(prompt) + len(lead) + len(response)
    ids, offsets = _continue(write.shield, prompt, prompt_ids, prompt_offsets, text)
    stop = _stop(tokenizer, ids, offsets, since=len(prompt_ids), after=end)
    if stop is None:
        raise TemplateRefused(_unclosed(tokenizer, write, messages, prompt))
    mask = [len(prompt_ids) <= place <= stop for place in range(stop + 1)]
    return RenderedChat(ids[: stop + 1], offsets[: stop + 1], write.shield.show(text), mask, start, end)


def render_conversation(
    tokenizer: Any,
    messages: Sequence[Message],
    *,
    train: Literal["all", "last"] = "all",
    thinking: bool = False,
    tools: Sequence[Any] | None = None,
) -> RenderedConversation:
    """Render a conversation with all its assistant's turns trained, or only the last one.

    Each trained turn is masked from the end of its generation prompt to the stop token that closes it: its text, its
    thinking and its tool calls. Raises NotPrefixStable where the tokens up to a turn are not the beginning of the
    tokens up to the next one (`render_answers` then makes a row for each), TemplateRefused for other reasons, and
    ValueError where nobody answers.
    """
    turns = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
    if not turns:
        raise ValueError("There is no answer in this conversation, so there is nothing to train on.")
    write = _Writer(tokenizer, messages, "", thinking=thinking, tools=tools)
    ids: list[int] = []
    offsets: list[Offset] = []
    mask: list[bool] = []
    answers: list[tuple[int, int]] = []
    text = ""
    for place in turns if train == "all" else turns[-1:]:
        prompt = write(messages[:place], ask=True)
        prompt_ids, prompt_offsets = write.shield.encode(prompt)
        if prompt_ids[: len(ids)] != ids:
            raise NotPrefixStable(
                "The chat template writes an earlier answer differently once the conversation goes on (it may drop its "
                "thinking or its spaces), so several answers of one conversation cannot be trained in one row."
            )
        text = write(messages[: place + 1])
        if not text.startswith(prompt):
            raise TemplateRefused(_DIFFERENT)
        ids, offsets = _continue(write.shield, prompt, prompt_ids, prompt_offsets, text)
        after = len(prompt) + _length(text[len(prompt) :], write.shielded(messages[place]))
        calls = bool(messages[place].get("tool_calls"))
        stop = _stop(tokenizer, ids, offsets, since=len(prompt_ids), after=after, search=calls)
        if stop is None:
            raise TemplateRefused(_unclosed(tokenizer, write, messages[:place], prompt))
        ids, offsets = ids[: stop + 1], offsets[: stop + 1]
        mask += [False] * (len(prompt_ids) - len(mask)) + [True] * (len(ids) - len(prompt_ids))
        answers.append((len(prompt_ids), len(ids)))
    return RenderedConversation(ids, offsets, write.shield.show(text[: offsets[-1][1]]), mask, answers)


def render_answers(tokenizer: Any, messages: Sequence[Message], **options: Any) -> list[RenderedConversation]:
    """All answers of a conversation, trained: in one row where the template allows it, else one row for each answer,
    with what stands before it as the sampler saw it. Options as of `render_conversation`.
    """
    try:
        return [render_conversation(tokenizer, messages, **options)]
    except NotPrefixStable:
        turns = [place for place, message in enumerate(messages) if message["role"] == "assistant"]
        return [
            render_conversation(tokenizer, messages[: place + 1], **{**options, "train": "last"}) for place in turns
        ]


def render_completion(tokenizer: Any, prompt: str, completion: str, *, stop: bool = True) -> RenderedChat:
    """Plain text and what continues it, without a template, for models that have none.

    The border is the longest common beginning of the prompt's tokens and the whole text's: where the last letters of
    the prompt and the first of the completion are one token, that token is trained. `stop` adds the end of sequence.
    """
    begins = [tokenizer.bos_token_id] if tokenizer("")["input_ids"][:1] == [tokenizer.bos_token_id] else []
    shield = Shield(tokenizer, [prompt, completion])
    before, _ = shield.encode(shield.hide(prompt))
    ids, offsets = shield.encode(shield.hide(prompt) + shield.hide(completion))
    border = common_prefix(before, ids)
    if not begins and not border:
        raise ValueError("The completion's first token has nothing before it to be predicted from.")
    ids, offsets = [*begins, *ids], [(0, 0)] * len(begins) + offsets
    if stop and tokenizer.eos_token_id is not None:
        ids.append(int(tokenizer.eos_token_id))
        offsets.append((len(prompt + completion), len(prompt + completion)))
    border += len(begins)
    mask = [place >= border for place in range(len(ids))]
    return RenderedChat(ids, offsets, prompt + completion, mask, len(prompt), len(prompt + completion))


def common_prefix(left: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    for place, (one, other) in enumerate(zip(left, right, strict=False)):
        if one != other:
            return place
    return min(len(left), len(right))


def mask_segments(chat: RenderedChat | RenderedConversation) -> list[MaskSegment]:
    """The rendered text in runs of trained and untrained, all of it up to the last token."""
    found: list[MaskSegment] = []
    start = 0
    for place, trained in enumerate(chat.completion_mask):
        last = place + 1 == len(chat.completion_mask)
        if last or chat.completion_mask[place + 1] != trained:
            end = chat.offsets[place][1] if last else max(start, chat.offsets[place + 1][0])
            found.append(MaskSegment(chat.text[start:end], trained))
            start = end
    return found


def stop_ids(tokenizer: Any) -> set[int]:
    """Tokens that end an answer: the tokenizer's end of sequence and the special tokens that templates close a turn
    with.
    """
    found = {tokenizer.eos_token_id} if tokenizer.eos_token_id is not None else set()
    for name in STOPS:
        token = tokenizer.convert_tokens_to_ids(name)
        if token is not None and token != tokenizer.unk_token_id:
            found.add(token)
    return found


_DIFFERENT = (
    "The chat template renders a conversation differently before an answer than when it asks for one, "
    "so a model trained on it would never see what it is asked."
)


class _Writer:
    """A tokenizer's template for one conversation: how it takes a system message is settled once, by its beginning."""

    def __init__(
        self, tokenizer: Any, messages: Sequence[Message], response: str, *, thinking: bool, tools: Sequence[Any] | None
    ) -> None:
        if not getattr(tokenizer, "chat_template", None):
            raise TemplateRefused(
                "This model has no chat template; choose an instruction-tuned model or add one to its folder."
            )
        self.tokenizer = tokenizer
        self.shield = Shield(tokenizer, [response, *(str(message.get("content")) for message in messages)])
        self.options: dict[str, Any] = {"enable_thinking": thinking, "tools": tools}
        source = tokenizer.chat_template
        if isinstance(source, str) and "strftime_now" in source:
            self.options["chat_template"] = CLOCK + source
        self.folds = len(messages) > 1 and messages[0]["role"] == "system" and not self._takes_system(messages[:2])

    def __call__(self, messages: Sequence[Message], *, ask: bool = False) -> str:
        """The rendered text; with `ask`, the generation prompt at its end."""
        plain = [self.shielded(message) for message in messages]
        return self._apply(_folded(plain) if self.folds else plain, ask)

    def shielded(self, message: Message) -> dict[str, Any]:
        """A message whose words are no control tokens."""
        content = message.get("content")
        return {**message, "content": self.shield.hide(content)} if isinstance(content, str) else dict(message)

    def _apply(self, messages: list[dict[str, Any]], ask: bool) -> str:
        try:
            return str(
                self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=ask, **self.options)
            )
        except Exception as error:  # the template is a program of the model's author and may raise anything
            raise TemplateRefused(f"The chat template refuses this conversation: {error}") from error

    def _takes_system(self, beginning: Sequence[Message]) -> bool:
        try:
            text = self._apply([dict(message) for message in beginning], True)
        except TemplateRefused:
            return False
        return str(beginning[0].get("content") or "").strip() in text


def _folded(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The system message at the head of the first user's, for models that have no such role."""
    system, first, *rest = messages
    return [{**first, "content": f"{system.get('content') or ''}\n\n{first.get('content') or ''}"}, *rest]


def _around(write: _Writer, messages: Sequence[Message], prompt: str, response: str) -> tuple[str, str]:
    """What the template puts between the generation prompt and a response (nothing, or a space), and after it."""

    def tail(content: str) -> str:
        text = write([*messages, {"role": "assistant", "content": content}])
        if not text.startswith(prompt):
            if "<think>" in prompt and "<think>" not in content:
                raise TemplateRefused(
                    "The chat template begins an answer with thinking when it asks for one, and leaves the thinking "
                    "out of answers that it is given: a model that always thinks cannot be trained on answers alone."
                )
            if "<think>" in content:
                raise TemplateRefused(
                    "The chat template takes an answer's thinking apart: an answer that begins with its thinking is "
                    "rendered with thinking on, and others with thinking off."
                )
            raise TemplateRefused(_DIFFERENT)
        return text[len(prompt) :]

    found = tail(response)
    if response and found.startswith(response):
        return "", found[len(response) :]
    lead, kept, close = tail(NEUTRAL).partition(NEUTRAL)
    if kept and lead.strip():
        if "<think>" in lead:
            raise TemplateRefused(
                "The chat template puts an empty thinking block before an answer, which the model would never be asked "
                "to write; render it with thinking off."
            )
        raise TemplateRefused("The chat template puts words of its own between its generation prompt and an answer.")
    trimmed = (response, response.strip(), response.lstrip(), response.rstrip())
    if kept and found in {lead + one + close for one in trimmed}:
        return lead, close
    if "</think>" in response and "</think>" not in found:
        raise TemplateRefused("The chat template drops an answer's thinking, so it cannot be trained.")
    raise TemplateRefused("The chat template alters the answer (it may rewrite it), so marks on it have no place.")


def _length(tail: str, message: Message) -> int:
    """How far into the text after the generation prompt an assistant's message reaches; 0 where it has no text."""
    content = message.get("content")
    if not isinstance(content, str) or not content.strip():
        return 0
    at = 0
    for _ in range(2):
        start = at + len(tail[at:]) - len(tail[at:].lstrip())
        for kept in (content, content.strip()):
            for place in (at, start):
                if tail.startswith(kept, place):
                    return place + len(kept)
        thought = tail.find("</think>")  # its thinking may stand in a field of its own
        if thought < 0:
            break
        at = thought + len("</think>")
    raise TemplateRefused("The chat template alters the answer (it may rewrite it), so its end is not to be found.")


def _continue(
    shield: Shield, prompt: str, prompt_ids: list[int], prompt_offsets: list[Offset], text: str
) -> tuple[list[int], list[Offset]]:
    """Ids and offsets of a text that begins with the prompt, the border kept that sampling has: where one pass over the
    whole would melt the prompt's last token into the answer's first, the answer is read by itself.
    """
    ids, offsets = shield.encode(text)
    if ids[: len(prompt_ids)] != prompt_ids:
        tail_ids, tail_offsets = shield.encode(text[len(prompt) :])
        ids = prompt_ids + tail_ids
        offsets = prompt_offsets + [(start + len(prompt), end + len(prompt)) for start, end in tail_offsets]
    return ids, offsets


def _stop(
    tokenizer: Any, ids: list[int], offsets: list[Offset], *, since: int, after: int, search: bool = False
) -> int | None:
    """The place of the token that begins at or after the answer's end, if it is a stop token. With `search`, of the
    first stop token from there on: tool calls stand between an answer's text and its end.
    """
    stops = stop_ids(tokenizer)
    beyond = [place for place in range(since, len(ids)) if offsets[place][0] >= after]
    candidates = beyond if search else beyond[:1]
    return next((place for place in candidates if ids[place] in stops), None)


def _unclosed(tokenizer: Any, write: _Writer, messages: Sequence[Message], prompt: str) -> str:
    """Why no stop token was found."""
    turns = [{"role": "assistant", "content": NEUTRAL}, {"role": "user", "content": NEUTRAL}]

    def closes(turns: Sequence[Message]) -> str:
        ids, _ = encode(tokenizer, write([*messages, *turns])[len(prompt) :].partition(NEUTRAL)[2])
        return str(tokenizer.decode(ids[:1])) if ids and ids[0] in tokenizer.all_special_ids else ""

    try:
        if token := closes(turns[:1]):
            return f"The chat template closes an answer with {token}, which is not known as a token that ends a turn."
        if token := closes(turns):
            return (
                f"The chat template closes an answer only with the next turn's marker, {token}, which is no part of "
                "the answer: a model would never learn to stop."
            )
    except TemplateRefused:
        pass
    return "The chat template closes an answer without a stop token, so a model would never learn to stop."
