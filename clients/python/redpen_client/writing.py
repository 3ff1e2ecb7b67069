"""What can be sent, with the API's own names. `send` and the like only put into the buffer and return at once.

`Named` and `Sent` are what they return: the item's id and nothing, or awaitables of these in the asynchronous client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from redpen_client.items import Item, moment, new_id

Named = TypeVar("Named")
Sent = TypeVar("Sent")
Object = Mapping[str, Any]


class ResponseWriter(Generic[Named]):
    """Answers of your model."""

    def __init__(self, put: Callable[[Item], Named]) -> None:
        self._put = put

    def send(
        self,
        messages: Sequence[Object],
        text: str = "",
        *,
        id: str | None = None,
        context: Sequence[Object] = (),
        thinking: str = "",
        steps: Sequence[Object] | None = None,
        model: str = "",
        model_version: str | None = None,
        sampling: Object | None = None,
        metadata: Object | None = None,
        user: str = "",
        conversation: str = "",
        turn: int | None = None,
        parent: str = "",
        language: str = "",
        at: datetime | None = None,
    ) -> Named:
        """An answer with the messages that it answers. Gives its id, yours or a new one: reactions name it.

        `text` is stored as it is: offsets of marked phrases count its code points. `parent` is the answer that this one
        replaces; `user` a pseudonym.
        """
        fields = {
            "id": id or new_id(),
            "messages": list(messages),
            "context": list(context),
            "text": text,
            "thinking": thinking,
            "steps": None if steps is None else list(steps),
            "model": model,
            "model_version": model_version,
            "sampling": sampling,
            "metadata": metadata,
            "user": user,
            "conversation": conversation,
            "turn": turn,
            "parent": parent,
            "language": language,
            "at": moment(at),
        }
        return self._put(Item.of("responses", fields))


class ReactionWriter(Generic[Sent]):
    """What users do with an answer."""

    def __init__(self, put: Callable[[Item], Sent]) -> None:
        self._put = put

    def send(
        self,
        response: str,
        kind: str,
        *,
        user: str = "",
        id: str | None = None,
        at: datetime | None = None,
        text: str = "",
        spans: Sequence[Object] = (),
        metadata: Object | None = None,
    ) -> Sent:
        """A tap: `like`, `love`, `dislike`, `copy`, `regenerate`, `shown` or a kind that your project declared.

        Without an `id` the tap is named by answer, user, kind and time: repeats count once, and of several taps of a
        user on an answer the latest counts. Taps with ids count each for itself, until they are taken back. `spans`
        are phrases that the user marked: start, end, quote, and sentiment, severity, label, critique as you like.
        """
        if not id and (spans or not user):  # nothing else would tell them apart
            id = new_id()
        fields = {
            "id": id,
            "response": response,
            "kind": kind,
            "user": user,
            "at": moment(at),
            "text": text,
            "spans": list(spans),
            "metadata": metadata,
        }
        return self._put(Item.of("reactions", fields))

    def shown(self, response: str, *, user: str, at: datetime | None = None) -> Sent:
        """The user saw the answer. Without this, a missing tap means nothing."""
        return self.send(response, "shown", user=user, at=at)

    def retract(
        self,
        id: str | None = None,
        *,
        response: str | None = None,
        kind: str | None = None,
        user: str | None = None,
        at: datetime | None = None,
    ) -> Sent:
        """Take back one reaction by the id it was sent with, or what `user` said of this kind on this answer so far."""
        if id:
            return self._put(Item(path="reactions", body=b"", id=id, withdraws=True))
        if not (response and kind and user):
            raise ValueError("Name the reaction by its id, or by response, kind and user.")
        fields = {"response": response, "kind": kind, "user": user, "at": moment(at), "retract": True}
        return self._put(Item.of("reactions", fields))


class FeedbackWriter(Generic[Named]):
    """What users say beyond a tap. `response` is an answer's id, yours or ours; unlike for reactions, it must have come
    before. What this client sends keeps that order.
    """

    def __init__(self, put: Callable[[Item], Named]) -> None:
        self._put = put

    def span(
        self,
        response: str,
        start: int,
        end: int,
        quote: str,
        *,
        sentiment: int | None = None,
        severity: int | None = None,
        label: str = "",
        critique: str = "",
        replacement: str | None = None,
        part: str = "",
        **shared: Any,
    ) -> Named:
        """A phrase that is wrong or good (sentiment -1, 0, 1), and why. Offsets are half-open and count code points of
        the stored text; the quote must be what stands there. An empty one says that something is missing; an empty
        replacement, that the phrase should go.
        """
        said = {"sentiment": sentiment, "severity": severity, "label": label, "critique": critique}
        where = {"response": response, "part": part, "start": start, "end": end, "quote": quote}
        return self.send("span", {**where, **said, "replacement": replacement}, **shared)

    def critique(self, response: str, text: str, *, verdict: str = "", **shared: Any) -> Named:
        """Words on the whole answer; the verdict is good or bad."""
        return self.send("critique", {"response": response, "text": text, "verdict": verdict}, **shared)

    def rating(self, response: str, dimension: str, value: float, **shared: Any) -> Named:
        """A number on a dimension of yours."""
        return self.send("rating", {"response": response, "dimension": dimension, "value": value}, **shared)

    def rewrite(self, response: str, text: str, **shared: Any) -> Named:
        """How the answer should have read."""
        return self.send("rewrite", {"response": response, "text": text}, **shared)

    def preference(
        self,
        a: str,
        b: str,
        choice: str,
        *,
        strength: int | None = None,
        dimension: str = "",
        reason: str = "",
        shown_first: str = "",
        **shared: Any,
    ) -> Named:
        """Of two answers to one prompt, which is better: choice is a, b, tie or neither."""
        compared = {"strength": strength, "dimension": dimension, "reason": reason, "shown_first": shown_first}
        return self.send("preference", {"a": a, "b": b, "choice": choice, **compared}, **shared)

    def outcome(
        self,
        response: str,
        stage: str,
        *,
        action: str = "",
        result: str = "",
        value: float | None = None,
        **shared: Any,
    ) -> Named:
        """What happened afterwards; the stage is at_once or hindsight."""
        fields = {"response": response, "stage": stage, "action": action, "result": result, "value": value}
        return self.send("outcome", fields, **shared)

    def send(
        self,
        type: str,
        fields: Object,
        *,
        id: str | None = None,
        user: str = "",
        at: datetime | None = None,
        metadata: Object | None = None,
    ) -> Named:
        """Feedback of any type of the API (a ranking, choice or report, say). The methods above take id, user, at and
        metadata too. Gives its id.
        """
        shared = {"id": id or new_id(), "user": user, "at": moment(at), "metadata": metadata}
        return self._put(Item.of("feedback", {"type": type, **fields, **shared}))
