"""Unsaved records, checked: the one place that says what a record of each kind may hold.

A single write and a bulk write both build here, so both refuse in the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models.functions import Now

from annotation import events
from annotation import text as texts
from annotation.actions.people import Author
from annotation.actions.records import asked, part_of
from annotation.errors import BadValue, OffsetsOutside, QuoteMismatch
from annotation.models import (
    Assignment,
    Choice,
    Critique,
    Evidence,
    Label,
    Outcome,
    Preference,
    Ranking,
    Rating,
    Reaction,
    ReactionKind,
    Report,
    Response,
    Rewrite,
    SpanCritique,
)
from annotation.models.campaigns import Sentiment
from annotation.models.judgements import Verdict


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What is said of a phrase."""

    sentiment: int
    severity: int = 2
    label_id: UUID | None = None
    critique: str = ""
    replacement: str | None = None
    group: UUID | None = None


@dataclass(frozen=True, kw_only=True)
class Compared:
    """The outcome of a comparison. `choice` is a, b, tie or neither; on the pair page left or right for a or b."""

    choice: str
    strength: int = 2
    reason: str = ""
    dimension: str = ""


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What a mark rests on: a passage of the prompt's context, or a phrase of it."""

    passage: str
    sentences: tuple[int, ...] = ()
    start: int | None = None
    end: int | None = None
    quote: str = ""


WHERE = ("start", "end", "quote")
SAID = tuple(field.name for field in fields(Judgement))
WHOSE = ("author_id", "agent")
# What must be alike for two writes under one key to be the same write
SAME: dict[type[Any], tuple[str, ...]] = {
    SpanCritique: ("response_id", "part", *WHERE, *SAID, *WHOSE),
    Critique: ("response_id", "part", "text", "verdict", *WHOSE),
    Preference: ("response_a_id", "response_b_id", *(field.name for field in fields(Compared)), *WHOSE),
    Rating: ("response_id", "part", "dimension", "value", *WHOSE),
    Rewrite: ("response_id", "better_id", *WHOSE),
    Ranking: ("prompt_id", "places", "dimension", "reason", *WHOSE),
    Choice: ("prompt_id", "response_id", "offered", "reason", *WHOSE),
    Outcome: ("response_id", "action", "result", "value", "stage", *WHOSE),
    Report: ("response_id", "reason", "text", *WHOSE),
    Reaction: ("kind_id", "external_user", "event_at", "text", "response_external_id"),
}


def judgement(*, label: Label | None = None, sentiment: int | None = None, **said: Any) -> Judgement:
    """A Judgement whose sentiment is the label's where none is given."""
    if sentiment is None and label is None:
        raise BadValue("/sentiment", "Say whether the phrase is good or bad, or give it a label that says so.")
    return Judgement(
        sentiment=label.sentiment if sentiment is None and label else sentiment,  # type: ignore[arg-type]
        label_id=label.pk if label else None,
        **said,
    )


def check_span(*, text: str, start: int, end: int, quote: str) -> None:
    """Raise unless `text[start:end]` is `quote`."""
    if not 0 <= start <= end <= len(text):
        raise OffsetsOutside(start=start, end=end, length=len(text))
    found = text[start:end]
    if found != quote:
        raise QuoteMismatch(start=start, end=end, expected=quote, found=found)


def check_judgement(said: Judgement) -> None:
    if said.sentiment not in Sentiment.values:
        raise BadValue("/sentiment", f"Sentiment is -1, 0 or 1, not {said.sentiment}.")
    if not 1 <= said.severity <= 3:
        raise BadValue("/severity", f"Severity is 1, 2 or 3, not {said.severity}.")
    texts.check(said.critique, "/critique")
    texts.check(said.replacement or "", "/replacement")


def check_compared(compared: Compared) -> None:
    choices = Preference.Choice.values
    if compared.choice not in choices:
        raise BadValue("/choice", f"The choice is one of {', '.join(choices)}, not '{texts.check(compared.choice)}'.")
    if not 1 <= compared.strength <= 3:
        raise BadValue("/strength", f"Strength is 1 slightly, 2 clearly or 3 far better, not {compared.strength}.")
    texts.check(compared.reason, "/reason")
    short(compared.dimension, 60, "/dimension")


def check_verdict(verdict: str, words: str) -> None:
    if verdict not in ("", *Verdict.values):
        raise BadValue("/verdict", f"The verdict is good, bad or empty, not '{texts.check(verdict)}'.")
    texts.check(words, "/words")


def short(value: str, most: int, pointer: str, *, needed: bool = False) -> str:
    if len(value) > most or (needed and not value.strip()):
        least = 1 if needed else 0
        raise BadValue(pointer, f"{pointer.strip('/').capitalize()} has {least} to {most} characters.")
    return texts.check(value, pointer)


def span(
    *,
    author: Author,
    response: Response,
    start: int,
    end: int,
    quote: str,
    said: Judgement,
    part: str = "text",
    assignment: Assignment | None = None,
    **about: Any,
) -> SpanCritique:
    check_span(text=part_of(response, part), start=start, end=end, quote=quote)
    check_judgement(said)
    where = {"start": start, "end": end, "quote": quote}
    return on(SpanCritique, author, response, assignment, part=part, **where, **asdict(said), **about)


def evidence(span: SpanCritique, proofs: Sequence[Proof], *, context: Sequence[dict[str, Any]]) -> list[Evidence]:
    """What the mark rests on; raises for a passage that the prompt has not, or a quote that does not stand in it."""
    passages = {passage["id"]: passage["text"] for passage in context}
    rows = []
    for proof in proofs:
        if proof.passage not in passages:
            raise BadValue("/evidence", f"The prompt has no passage '{texts.check(proof.passage)}'.")
        if proof.start is not None and proof.end is not None:
            check_span(text=passages[proof.passage], start=proof.start, end=proof.end, quote=proof.quote)
        said = {**asdict(proof), "sentences": list(proof.sentences)}
        rows.append(Evidence(project_id=span.project_id, span=span, **said))
    return rows


def critique(
    *,
    author: Author,
    response: Response,
    text: str = "",
    verdict: str = "",
    assignment: Assignment | None = None,
    **about: Any,
) -> Critique:
    check_verdict(verdict, text)
    if not text and not verdict:
        raise BadValue("/text", "A critique needs words or a verdict.")
    return on(Critique, author, response, assignment, text=text, verdict=verdict, **about)


def preference(
    *,
    author: Author,
    a: Response,
    b: Response,
    compared: Compared,
    shown_first: str = "",
    assignment: Assignment | None = None,
    **about: Any,
) -> Preference:
    check_compared(compared)
    if shown_first not in ("", "a", "b"):
        raise BadValue("/shown_first", "Shown first is a, b or empty.")
    if a.pk == b.pk:
        raise BadValue("/b", "A comparison needs two different answers.")
    if a.prompt_id != b.prompt_id:
        raise BadValue("/b", "Only answers to the same prompt can be compared.")
    about |= asked(author=author, assignment=assignment, response=a) | asdict(compared)
    pair = {"prompt_id": a.prompt_id, "response_a": a, "response_b": b, "shown_first": shown_first}
    return Preference(project_id=a.project_id, test=a.test, **pair, **author.fields(), **about)


def rating(
    *,
    author: Author,
    response: Response,
    dimension: str,
    value: float,
    assignment: Assignment | None = None,
    **about: Any,
) -> Rating:
    short(dimension, 60, "/dimension", needed=True)
    check_number(value)
    return on(Rating, author, response, assignment, dimension=dimension, value=value, **about)


def check_number(value: float) -> None:
    if not float("-inf") < value < float("inf"):
        raise BadValue("/value", "The value is a finite number.")


def rewrite(
    *, author: Author, response: Response, better: Response, assignment: Assignment | None = None, **about: Any
) -> Rewrite:
    if better.pk == response.pk or better.text == response.text:
        raise BadValue("/text", "The better answer is the same as the one that it should replace.")
    if better.prompt_id != response.prompt_id:
        raise BadValue("/better", "The better answer must answer the same prompt.")
    return on(Rewrite, author, response, assignment, better=better, **about)


def ranking(
    *,
    author: Author,
    places: Sequence[Sequence[Response]],
    dimension: str = "",
    reason: str = "",
    **about: Any,
) -> Ranking:
    flat = [one for place in places for one in place]
    if len(flat) < 2 or len({one.pk for one in flat}) != len(flat) or len({one.prompt_id for one in flat}) != 1:
        raise BadValue("/places", "A ranking needs two or more different answers to one prompt.")
    return Ranking(
        project_id=flat[0].project_id,
        test=flat[0].test,
        prompt_id=flat[0].prompt_id,
        places=[[str(one.pk) for one in place] for place in places],
        dimension=short(dimension, 60, "/dimension"),
        reason=texts.check(reason, "/reason"),
        **author.fields(),
        **about,
    )


def choice(
    *, author: Author, offered: Sequence[Response], chosen: Response | None, reason: str = "", **about: Any
) -> Choice:
    if len(offered) < 2 or len({one.prompt_id for one in offered}) != 1:
        raise BadValue("/offered", "A choice needs two or more answers to one prompt.")
    if chosen is not None and chosen.pk not in {one.pk for one in offered}:
        raise BadValue("/response", "The chosen answer is not one of those offered.")
    return Choice(
        project_id=offered[0].project_id,
        test=offered[0].test,
        prompt_id=offered[0].prompt_id,
        response=chosen,
        offered=[str(one.pk) for one in offered],
        reason=texts.check(reason, "/reason"),
        **author.fields(),
        **about,
    )


def outcome(
    *,
    author: Author,
    response: Response,
    stage: str,
    action: str = "",
    result: str = "",
    value: float | None = None,
    **about: Any,
) -> Outcome:
    if stage not in Outcome.Stage.values:
        raise BadValue("/stage", f"The stage is one of {', '.join(Outcome.Stage.values)}.")
    texts.check(action, "/action")
    texts.check(result, "/result")
    if value is not None:
        check_number(value)
    return on(Outcome, author, response, None, action=action, result=result, value=value, stage=stage, **about)


def report(
    *,
    author: Author,
    response: Response,
    reason: str,
    text: str = "",
    assignment: Assignment | None = None,
    **about: Any,
) -> Report:
    short(reason, 60, "/reason", needed=True)
    return on(Report, author, response, assignment, reason=reason, text=texts.check(text, "/text"), **about)


def reaction(
    *,
    author: Author,
    kind: ReactionKind,
    event_at: datetime,
    response: Response | None = None,
    response_external_id: str = "",
    external_user: str = "",
    external_id: str | None = None,
    text: str = "",
    retracts: bool = False,
    test: bool = False,
    client_key: str | None = None,
    **about: Any,
) -> Reaction:
    if response is None and not response_external_id:
        raise BadValue("/response", "A reaction names its answer, by its id or by yours.")
    if event_at.tzinfo is None:
        raise BadValue("/event_at", "The time needs its zone, as in 2026-11-24T20:00:00Z.")
    if external_id is not None:
        short(external_id, 200, "/external_id", needed=True)
    name = f"key:{client_key}" if external_id is None and client_key is not None else external_id
    if name is not None:
        dedup = events.named_event(kind.project_id, test, name)
    else:
        about_answer = str(response.pk) if response is not None else response_external_id
        tap = {"response": about_answer, "user": external_user, "kind": kind.key}
        dedup = events.unnamed_event(kind.project_id, test, **tap, at=event_at, retracts=retracts)
    # a tap taken back is no tap: it counts for nothing from the start
    ended = {"ended_at": Now(), "end_reason": "retracted"} if retracts else {}
    return Reaction(
        project_id=kind.project_id,
        kind=kind,
        dedup=dedup,
        retracts=retracts,
        test=test,
        client_key=client_key,
        **ended,
        response=response,
        response_external_id=short(response_external_id, 200, "/response"),
        external_user=short(external_user, 200, "/user"),
        external_id=external_id,
        event_at=event_at,
        text=texts.check(text, "/text"),
        **author.fields(),
        **about,
    )


def on(model: type[Any], author: Author, response: Response, assignment: Assignment | None, **said: Any) -> Any:
    """A record on one answer. What is said of test data is test data."""
    about = asked(author=author, assignment=assignment, response=response)
    whose = {"project_id": response.project_id, "test": response.test}
    return model(**whose, response=response, **about, **author.fields(), **said)
