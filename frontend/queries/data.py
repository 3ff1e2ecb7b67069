"""How records and answers are shown: phrases in their surroundings, marks painted on the answer."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from annotation.actions.judgements import CHOICE_WORDS
from annotation.models import FeedbackRecord, Label, Response, SpanCritique
from annotation.queries.records import BY_MODEL, counts
from redpen.accounts.models import Project, User

AROUND = 30  # characters shown before and after a marked phrase
SIGNS = {-1: "bad", 0: "neutral", 1: "good"}
STRENGTHS = {1: "slightly", 2: "clearly", 3: "by far"}


@dataclass
class Shown:
    """One line of the list."""

    row: FeedbackRecord
    title: str
    sign: str = ""  # bad, good, neutral or nothing
    before: str = ""
    phrase: str = ""
    after: str = ""
    missing: bool = False
    headline: str = ""
    words: str = ""
    answer: Response | None = None
    counts: bool = False

    @property
    def when(self) -> datetime:
        """When it was said, where that is known; else when it came."""
        return self.row.said_at or self.row.created_at


def show(row: FeedbackRecord) -> Shown:
    shown = Shown(row=row, title=BY_MODEL[type(row)].title, counts=counts(row), answer=answer_of(row))
    SHOWERS.get(BY_MODEL[type(row)].key, _text)(row, shown)
    return shown


def answer_of(row: Any) -> Response | None:
    """The answer that a link should open."""
    return getattr(row, "response", None) or getattr(row, "response_a", None)


def _span(row: SpanCritique, shown: Shown) -> None:
    text = row.response.text if row.part == "text" else row.quote
    shown.sign = SIGNS[row.sentiment]
    shown.phrase, shown.missing = row.quote, row.start == row.end
    shown.before = cut_start(text[: row.start])
    shown.after = cut_end(text[row.end :])
    label = row.label.name if row.label else shown.sign
    shown.headline = f"{label}, severity {row.severity}"
    shown.words = row.critique
    if row.replacement is not None:
        instead = f"better: {row.replacement}" if row.replacement else "better without it"
        shown.words = f"{row.critique} — {instead}" if row.critique else instead


def _critique(row: Any, shown: Shown) -> None:
    shown.sign, shown.headline, shown.words = row.verdict, row.verdict and f"on the whole {row.verdict}", row.text


def _preference(row: Any, shown: Shown) -> None:
    shown.headline = CHOICE_WORDS[row.choice]
    if row.choice in ("a", "b"):
        shown.headline += f", {STRENGTHS[row.strength]}"
        if shown.row.shown_first:  # type: ignore[attr-defined]
            shown.headline += f" ({'left' if row.shown_first == row.choice else 'right'} on the page)"
    if row.dimension:
        shown.headline = f"{row.dimension}: {shown.headline}"
    shown.words = row.reason
    shown.answer = row.response_b if row.choice == "b" else row.response_a


def _rating(row: Any, shown: Shown) -> None:
    shown.headline = f"{row.dimension}: {row.value:g}"


def _rewrite(row: Any, shown: Shown) -> None:
    shown.headline, shown.words = "should have read", row.better.text


def _reaction(row: Any, shown: Shown) -> None:
    shown.sign = {-1: "bad", 1: "good"}.get(row.kind.polarity, "")
    shown.headline = row.kind.name + (f" by {row.external_user}" if row.external_user else "")
    shown.words = row.text


def _text(row: Any, shown: Shown) -> None:
    shown.words = getattr(row, "text", "") or getattr(row, "reason", "")
    if shown.title in ("Skip", "Report"):
        shown.headline = row.reason.replace("_", " ")


SHOWERS = {
    "span": _span,
    "critique": _critique,
    "preference": _preference,
    "rating": _rating,
    "rewrite": _rewrite,
    "reaction": _reaction,
}


def cut_start(text: str) -> str:
    return text if len(text) <= AROUND else "…" + text[-AROUND:]


def cut_end(text: str) -> str:
    return text if len(text) <= AROUND else text[:AROUND] + "…"


@dataclass
class Piece:
    """A stretch of the answer under the same marks, or (without text) a place where something is missing."""

    text: str
    marks: list[int] = field(default_factory=list)  # numbers of the notes
    sign: str = ""
    ends: list[int] = field(default_factory=list)  # marks that end here: their numbers stand behind the piece


def pieces(text: str, marks: Iterable[SpanCritique]) -> list[Piece]:
    """The answer cut at every border of a mark. Where marks overlap the worst sign is shown."""
    numbered = list(enumerate(marks, start=1))
    borders = sorted({0, len(text)} | {place for _, mark in numbered for place in (mark.start, mark.end)})
    cut: list[Piece] = []
    for start, end in zip(borders, [*borders[1:], None], strict=True):
        empty = [(number, mark) for number, mark in numbered if mark.start == mark.end == start]
        for number, mark in empty:
            cut.append(Piece("", [number], SIGNS[mark.sentiment], [number]))
        if end is None:
            break
        over = [(number, mark) for number, mark in numbered if mark.start <= start and mark.end >= end > mark.start]
        sign = SIGNS[min(mark.sentiment for _, mark in over)] if over else ""
        ends = [number for number, mark in over if mark.end == end]
        cut.append(Piece(text[start:end], [number for number, _ in over], sign, ends))
    return [piece for piece in cut if piece.text or piece.ends]


def labels_of(project: Project) -> list[Label]:
    """For the filter: all labels, those of one set together."""
    return list(Label.objects.filter(project=project).select_related("label_set").order_by("label_set", "position"))


def members_of(project: Project) -> list[User]:
    return list(User.objects.filter(memberships__project=project).order_by("name"))
