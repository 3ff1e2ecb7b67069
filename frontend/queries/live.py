"""What the Live pages show: filters from the query string, figures with their charts, an answer in its conversation."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.db.models import CharField, Value
from django.http import QueryDict
from django.utils import timezone

from annotation.actions.counting.phrases import Phrase, phrases
from annotation.models import Reaction, ReactionKind, Response
from annotation.queries import live, records
from annotation.queries.live import PERIODS, Wanted
from annotation.queries.rates import Ways
from frontend.queries import data
from redpen.accounts.models import Project

PERIOD_WORDS = {
    "hour": "the last hour",
    "day": "the last 24 hours",
    "week": "the last 7 days",
    "month": "the last 30 days",
    "quarter": "the last 90 days",
}
EVERYTHING = "-"  # of all kinds, that an answer was shown included; no kind has this key
SLICE_WORDS = {"model_version": "model version"}


@dataclass
class Filters:
    """The filters of the page, as asked and as offered. What is not on offer filters nothing and is told: `unknown`."""

    project: Project
    wanted: Wanted
    kinds: list[ReactionKind]
    models: list[str]
    ways: Ways
    slices: list[tuple[str, list[tuple[str, str]]]]  # (name in words, [(key, value), ...])
    names: list[tuple[str, str]]  # slices that rates can be split by, with their words
    kind: str = ""
    slice: str = ""
    period: str = ""
    test: bool = False
    unknown: list[str] = field(default_factory=list)

    @property
    def any(self) -> bool:
        return bool(self.kind or self.wanted.model or self.wanted.user or self.slice or self.period)

    @property
    def query(self) -> str:
        """The same filters in an address."""
        return urlencode(self.pairs)

    @property
    def pairs(self) -> list[tuple[str, str]]:
        given = {
            "kind": self.kind,
            "model": self.wanted.model,
            "user": self.wanted.user,
            "slice": self.slice,
            "since": self.period,
            "data": "test" if self.test else "",
        }
        return [(name, value) for name, value in given.items() if value]

    @property
    def words(self) -> str:
        """What is filtered, in a sentence."""
        nothing = "any event" if self.kind == EVERYTHING else "any reaction"
        parts = [next((kind.name for kind in self.kinds if kind.key == self.kind), nothing)]
        parts += [f"answers by {self.wanted.model}"] if self.wanted.model else []
        parts += [f"{SLICE_WORDS.get(self.wanted.name, self.wanted.name)} {self.wanted.value}"] if self.slice else []
        parts += [f"user {self.wanted.user}"] if self.wanted.user else []
        parts += [PERIOD_WORDS[self.period]] if self.period else []
        return ", ".join(parts) + (", test data" if self.test else "")


def filters_from(project: Project, params: QueryDict) -> Filters:
    def text(name: str, most: int = 200) -> str:
        return params.get(name, "").replace("\0", "")[:most]

    test = params.get("data") == "test"
    ways = Ways.of(project)
    kinds = ways.all_kinds
    kind = next((one for one in kinds if one.key == text("kind")), None)
    everything = text("kind") == EVERYTHING
    names = ways.slices
    name, _, value = text("slice").partition("=")
    chosen = name in names and bool(value)
    period = text("since") if text("since") in PERIODS else ""
    wanted = Wanted(
        kind=kind.pk if kind else None,
        taps=kind is None and not everything,
        model=text("model"),
        user=text("user"),
        name=name if chosen else "",
        value=value[:100] if chosen else "",
        since=timezone.now() - PERIODS[period] if period else None,
        test=test,
    )
    asked = [
        (kind or everything, f"the kind of reaction “{text('kind')}”", text("kind")),
        (chosen, f"“{text('slice')}”", text("slice")),
        (period, f"the period “{text('since')}”", text("since")),
    ]
    values_of = live.offered(project=project, names=names, test=test)
    offered = [(one, values_of[one]) for one in names]
    return Filters(
        project=project,
        wanted=wanted,
        kinds=kinds,
        models=values_of[""],
        ways=ways,
        slices=[
            (SLICE_WORDS.get(one, one), [(f"{one}={value}", value) for value in values])
            for one, values in offered
            if values
        ],
        names=[(one, SLICE_WORDS.get(one, one)) for one, values in offered if values],
        kind=kind.key if kind else EVERYTHING if everything else "",
        slice=f"{name}={value}" if chosen else "",
        period=period,
        test=test,
        unknown=[words for known, words, given in asked if given and not known],
    )


@dataclass
class Said:
    """A reaction on the page of its answer."""

    row: Reaction
    phrases: list[Phrase]

    @property
    def sign(self) -> str:
        return {-1: "bad", 1: "good"}.get(self.row.kind.polarity, "")


@dataclass
class Turn:
    """An answer of the conversation, with what was asked since the one before."""

    answer: Response
    asked: list[dict[str, Any]]
    here: bool
    reactions: int = 0
    replaced_by: list[Response] = field(default_factory=list)
    replaces: Response | None = None

    @property
    def when(self) -> datetime:
        return self.answer.written_at or self.answer.created_at


REACTIONS = 200  # on the page of an answer
ON_THE_WHOLE = ("critique", "preference", "rating", "rewrite", "choice", "outcome", "comment", "report")


def said_of_whole(answer: Response, *, most: int = 100) -> list[data.Shown]:
    """What was said of the whole answer, the newest first."""
    wanted = records.Wanted(response=answer.pk)
    parts = []
    for key in ON_THE_WHOLE:
        rows = records.select(project=answer.project, kind=records.KINDS[key], wanted=wanted)
        if rows is not None:
            named = rows.order_by("-id").annotate(of=Value(key, output_field=CharField()))
            parts.append(named.values_list("id", "of")[:most])
    found = sorted(parts[0].union(*parts[1:], all=True), reverse=True)[:most]
    by_id = {}
    for key in {of for _, of in found}:
        ids = [pk for pk, of in found if of == key]
        by_id |= {row.pk: row for row in records.full(records.KINDS[key]).filter(pk__in=ids)}
    return [data.show(by_id[pk]) for pk, _ in found]


def said_of(answer: Response) -> list[Said]:
    """What users did with it, the latest first, what they took back included; that it was shown, last."""
    rows = Reaction.objects.filter(response=answer).exclude(kind__key="shown").select_related("kind", "response")
    return [Said(row, phrases(row)) for row in rows.order_by("-event_at", "-id")[:REACTIONS]]


def turns_of(answer: Response, answers: list[Response]) -> list[Turn]:
    """The conversation in order. Each turn shows what was asked since the turn before it."""
    by_id = {one.pk: one for one in answers}
    turns: list[Turn] = []
    before: list[dict[str, Any]] = []
    for found in answers:
        messages = found.prompt.messages
        asked = messages[common(before, messages) :]
        told = {turn.answer.text for turn in turns}
        asked = [one for one in asked if one.get("role") != "assistant" or one.get("content") not in told]
        turn = Turn(found, asked, here=found.pk == answer.pk, replaces=by_id.get(found.parent_id))
        turns.append(turn)
        before = messages
    at = {turn.answer.pk: turn for turn in turns}
    for turn in turns:
        if turn.replaces is not None and turn.replaces.pk in at:
            at[turn.replaces.pk].replaced_by.append(turn.answer)
    return turns


def common(before: list[Any], after: list[Any]) -> int:
    """How many messages both begin with."""
    same = 0
    for one, other in zip(before, after, strict=False):
        if one != other:
            break
        same += 1
    return same
