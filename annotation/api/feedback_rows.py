"""Feedback that came with a key: items to records, each stored once, each with its fate.

The lines of an import and these items are built by one Builder, so that both refuse in the same words.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec
from django.db import DataError, IntegrityError, transaction

from annotation import text as texts
from annotation.actions import building
from annotation.actions.batches import store_records
from annotation.actions.people import Author
from annotation.actions.prompts import NewResponse, new_response
from annotation.actions.records import part_of
from annotation.api import feedback_shapes as shapes
from annotation.errors import BadValue, OtherContent
from annotation.importers.door import Door
from annotation.importers.jsonl_records import Builder, names_in, uuids
from annotation.intake.events import check_time
from annotation.intake.problems import as_problem
from annotation.intake.shapes import Result
from annotation.models import (
    Choice,
    Critique,
    FeedbackRecord,
    Label,
    Outcome,
    Preference,
    Ranking,
    Rating,
    Report,
    Response,
    Rewrite,
    SpanCritique,
)
from redpen.accounts.errors import Invalid, RedpenError
from redpen.accounts.models import Project

TEST = "test:"  # before the names that test keys give: the two kinds of data have names of their own
MODELS: dict[str, type[FeedbackRecord]] = {
    "span": SpanCritique, "critique": Critique, "rating": Rating, "rewrite": Rewrite, "preference": Preference,
    "ranking": Ranking, "choice": Choice, "outcome": Outcome, "report": Report,
}  # fmt: skip
WORDS = ("text", "critique", "replacement", "reason", "action", "result", "metadata")  # what may hold personal data


def client_key(name: str, *, test: bool) -> str:
    """Under which key a record of this name is stored."""
    if not name.isprintable() or len(name) > shapes.LONGEST_ID:
        raise BadValue("/id", f"An id has 1 to {shapes.LONGEST_ID} printable characters.")
    if not test and name.startswith(TEST):
        raise BadValue("/id", f"An id does not begin with '{TEST}': that is how test data is kept apart.")
    return f"{TEST}{name}" if test else name


class FeedbackBuilder(Builder):
    """Also builds what no import has: reports, and rewrites that bring their text along."""

    def build(self, line: dict[str, Any]) -> Any:
        for field in ("response", "a", "b", "chosen", "places", "offered"):
            unknown = set(names_in({field: line[field]})) - set(self.answers) if line.get(field) else ()
            if unknown:
                words = f"There is no answer '{min(unknown)[:60]}' here. Send it first, to /api/v1/responses."
                raise BadValue(f"/{field}", words, code="response.unknown")
        if line.get("label") and ("", line["label"]) not in self.labels:
            there = ", ".join(sorted(key for _, key in self.labels)) or "none"
            raise BadValue("/label", f"There is no label '{line['label'][:60]}'. There are: {there}.")
        return super().build(line)

    def on(self, line: dict[str, Any], shared: dict[str, Any], *names: str) -> dict[str, Any]:
        part_of(self.answer(line), line.get("part", "text"))  # raises where the answer has no such part
        return super().on(line, shared, *names)

    def _report(self, line: dict[str, Any], shared: dict[str, Any]) -> Any:
        return building.report(**self.on(line, shared, "reason", "text"))

    def _rewrite(self, line: dict[str, Any], shared: dict[str, Any]) -> Any:
        response = self.answer(line)
        new = NewResponse(prompt=response.prompt, text=line["text"], origin="human", more={"parent": response})
        better = new_response(new)
        better.test, better.external_user = response.test, shared["external_user"]
        return building.rewrite(response=response, better=better, **shared)


@dataclass
class Item:
    """One item of a request: what it said, the record that it makes, and its fate."""

    said: Any
    line: dict[str, Any]
    row: Any = None
    result: Result | None = None

    @property
    def name(self) -> str | None:
        return self.said.id

    def refuse(self, error: RedpenError) -> None:
        self.result = Result("refused", external_id=self.name, problem=as_problem(error))


class Taker:
    """Stores feedback of one project, of test data or of live data."""

    fixed: ClassVar[str] = "human"

    def __init__(self, *, project: Project, author: Author, test: bool) -> None:
        self.project, self.author, self.test = project, author, test
        self.door = Door(project)

    def item(self, said: shapes.AnyFeedback, *, name: str | None = None) -> Item:
        """A decoded item, checked as far as it can be without looking anything up."""
        if said.id is None:
            said.id = name
        line = msgspec.to_builtins(said)
        texts.check_json(line)
        at = check_time(said.at, datetime.now(UTC)) if said.at is not None else None
        for field in WORDS:
            if line.get(field):
                line[field] = self.door.clean(line[field])
        line |= {"by": self.author.agent, "origin": self.fixed, "at": at.isoformat() if at else None}
        line["key"] = client_key(said.id, test=self.test) if said.id is not None else None
        return Item(said=said, line=line)

    def take(self, items: Sequence[Item]) -> None:
        """Give each item its fate. All in one transaction; if that is refused, one by one."""
        todo = [item for item in items if item.result is None]
        if not todo:
            return
        try:
            with transaction.atomic():
                self._store(todo)
        except (RedpenError, IntegrityError, DataError) as error:
            for item in todo:
                item.result, item.row = None, None
            if len(todo) == 1:
                words = "The database refuses this item; what it holds cannot be stored."
                todo[0].refuse(error if isinstance(error, RedpenError) else Invalid(words, code="item.unstorable"))
                return
            for item in todo:
                self.take([item])

    def _store(self, items: Sequence[Item]) -> None:
        labels = {
            ("", label.key): label
            for label in Label.objects.filter(project=self.project, archived_at=None).order_by("-id")
        }
        builder = FeedbackBuilder(answers=self._answers(items), labels=labels, kinds={}, door=self.door)
        for item in items:
            try:
                item.row = builder.build(item.line)
            except RedpenError as error:
                item.refuse(error)
        built = [item for item in items if item.row is not None]
        fresh = self._without_repeats(built)
        Response.objects.bulk_create([item.row.better for item in fresh if isinstance(item.row, Rewrite)])
        for item in fresh:
            if isinstance(item.row, Rewrite):
                item.row.better_id = item.row.better.pk
        stored, _ = store_records(author=self.author, project=self.project, rows=[item.row for item in fresh])
        for item, row in zip(fresh, stored, strict=True):
            fate = "stored" if row is item.row else "repeated"  # somebody brought it at this moment
            item.result = Result(fate, str(row.pk), item.name, about(row))

    def _answers(self, items: Sequence[Item]) -> dict[str, Response]:
        """The answers that the items name: by the caller's id, or by ours."""
        names = {name for item in items for name in names_in(item.line)}
        rows = Response.objects.filter(project=self.project, test=self.test).select_related("prompt")
        found = {str(row.pk): row for row in rows.filter(pk__in=uuids(names))}
        found = {name: found[key] for name in names if (key := name.lower()) in found}
        return found | {row.external_id: row for row in rows.filter(external_id__in=names)}

    def _without_repeats(self, items: Sequence[Item]) -> list[Item]:
        """Those that are new; a repeat gets the first one's result, other content under a known name is refused."""
        known: dict[tuple[type, str], Any] = {}
        for model in {type(item.row) for item in items}:
            keys = [item.row.client_key for item in items if type(item.row) is model and item.row.client_key]
            rows = model._default_manager.filter(project=self.project, client_key__in=keys)
            rows = rows.select_related("better") if model is Rewrite else rows
            known |= {(model, row.client_key): row for row in rows}
        fresh = []
        for item in items:
            key = item.row.client_key
            first = known.setdefault((type(item.row), key), item.row) if key else item.row
            if first is item.row:
                fresh.append(item)
            elif differs := difference(first, item.row):
                item.refuse(OtherContent(key=item.name or "", differs=differs))
            else:
                item.result = Result("repeated", str(first.pk), item.name, about(first))
        return fresh


def difference(stored: Any, row: Any) -> list[str]:
    """In what two records under one name differ. Which key brought them does not matter: keys are rotated."""
    names = [*building.SAME[type(row)], "external_user", "said_at", "metadata"]
    differs = [
        name.removesuffix("_id")
        for name in names
        if name not in (*building.WHOSE, "better_id") and getattr(stored, name) != getattr(row, name)
    ]
    if isinstance(row, Rewrite) and stored.better.text != row.better.text:
        differs.append("text")
    return differs


def about(row: Any) -> str | None:
    """The answer that the record is about, where it is one."""
    response = getattr(row, "response_id", None)
    return str(response) if response else None


def record_named(*, project: Project, name: str, test: bool) -> FeedbackRecord | None:
    """The latest version of what a key has sent under this name, or what we call so; reactions aside."""
    texts.check(name, "/id")
    wanted = uuids([name])
    for model in MODELS.values():
        rows = model._default_manager.filter(project=project, test=test, agent__startswith="key:").order_by("-version")
        rows = rows.select_related("project", "assignment")
        try:
            if found := rows.filter(client_key=client_key(name, test=test)).first():
                return found
        except BadValue:
            pass  # no name of a caller's
        if wanted and (found := rows.filter(pk__in=wanted).first() or rows.filter(lineage__in=wanted).first()):
            return found
    return None
