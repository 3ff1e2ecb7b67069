"""Lines of our own format to unsaved records: every kind by the function that single writes use too."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.utils.dateparse import parse_datetime

from annotation.actions import building
from annotation.actions.people import Author
from annotation.actions.prompts import checked_metadata
from annotation.errors import BadValue
from annotation.importers.door import Door
from annotation.models import Label, Origin, Prompt, ReactionKind, Response
from annotation.pseudonyms import check_user

Line = dict[str, Any]
Named = TypeVar("Named", Prompt, Response)


class Builder:
    """Lines to unsaved records: every kind by the function that single writes use too."""

    def __init__(
        self,
        *,
        answers: dict[str, Response],
        labels: dict[tuple[str, str], Label],
        kinds: dict[str, ReactionKind],
        door: Door,
    ) -> None:
        self.answers, self.labels, self.kinds, self.door = answers, labels, kinds, door

    def build(self, line: Line) -> Any:
        author = Author(agent=line["by"], origin=origin_of(line))
        shared = {
            "author": author,
            "client_key": line["key"],
            "said_at": moment(line, "at"),
            "external_user": user_of(line, self.door),
            "metadata": checked_metadata(line.get("metadata") or {}),
        }
        make: Callable[..., Any] = getattr(self, f"_{line['type']}")
        return make(line, shared)

    def answer(self, line: Line, name: str = "response") -> Response:
        return named(self.answers, line[name], f"/{name}", "response")

    def on(self, line: Line, shared: Line, *names: str) -> Line:
        """What a record on one answer is built from."""
        part = {"part": line["part"]} if line.get("part") else {}
        return {**shared, **part, "response": self.answer(line), **given(line, *names)}

    def _span(self, line: Line, shared: Line) -> Any:
        label = None
        if line.get("label"):
            label = self.labels.get((line.get("label_set", ""), line["label"]))
            if label is None:
                raise BadValue("/label", f"There is no label '{line['label']}'. Send a line of type label before.")
        said = given(line, "sentiment", "severity", "critique", "replacement")
        if line.get("group"):
            try:
                said["group"] = UUID(line["group"])
            except ValueError:
                raise BadValue("/group", "A group is a UUID that its spans share.") from None
        where = {name: line[name] for name in ("start", "end", "quote")}
        return building.span(said=building.judgement(label=label, **said), **where, **self.on(line, shared))

    def _critique(self, line: Line, shared: Line) -> Any:
        return building.critique(**self.on(line, shared, "text", "verdict"))

    def _rating(self, line: Line, shared: Line) -> Any:
        return building.rating(**self.on(line, shared, "dimension", "value"))

    def _outcome(self, line: Line, shared: Line) -> Any:
        return building.outcome(**self.on(line, shared, "stage", "action", "result", "value"))

    def _rewrite(self, line: Line, shared: Line) -> Any:
        return building.rewrite(response=self.answer(line), better=self.answer(line, "better"), **shared)

    def _preference(self, line: Line, shared: Line) -> Any:
        compared = building.Compared(**given(line, "choice", "strength", "dimension", "reason"))
        pair = {"a": self.answer(line, "a"), "b": self.answer(line, "b")}
        return building.preference(compared=compared, shown_first=line.get("shown_first", ""), **pair, **shared)

    def _ranking(self, line: Line, shared: Line) -> Any:
        places = [[named(self.answers, name, "/places", "response") for name in place] for place in line["places"]]
        return building.ranking(places=places, **given(line, "dimension", "reason"), **shared)

    def _choice(self, line: Line, shared: Line) -> Any:
        offered = [named(self.answers, name, "/offered", "response") for name in line["offered"]]
        chosen = self.answer(line, "chosen") if line.get("chosen") else None
        return building.choice(offered=offered, chosen=chosen, **given(line, "reason"), **shared)

    def _reaction(self, line: Line, shared: Line) -> Any:
        if line["kind"] not in self.kinds:
            raise BadValue("/kind", f"There is no kind '{line['kind']}'. There are: {', '.join(self.kinds)}.")
        response = self.answers.get(line["response"])
        return building.reaction(
            kind=self.kinds[line["kind"]],
            response=response,
            response_external_id="" if response else line["response"],
            event_at=moment(line, "event_at"),
            spans=phrases(line.get("spans")),
            **given(line, "external_id", "text", "retracts"),
            **shared,
        )


def given(line: Line, *names: str) -> Line:
    return {name: line[name] for name in names if line.get(name) is not None}


def user_of(line: Line, door: Door) -> str:
    """What is kept of the user's name, which must be one."""
    return door.user(check_user(line["user"])) if line.get("user") else ""


def phrases(spans: list[Any] | None) -> list[Any] | None:
    """What a user marked, as it was sent: spans of their own kind say whether it stands in the answer."""
    for index, one in enumerate(spans or []):
        if not isinstance(one, dict) or type(one.get("start")) is not int or type(one.get("end")) is not int:
            raise BadValue(f"/spans/{index}", "A phrase has a start and an end, in code points, and its quote.")
    return spans or None


def names_in(line: Line) -> list[str]:
    """The answers that a record's line names."""
    names = [line[name] for name in ("response", "a", "b", "better", "chosen") if line.get(name)]
    lists = [*line.get("places", []), line.get("offered", [])]
    if not all(isinstance(one, list) and all(isinstance(name, str) for name in one) for one in lists):
        raise BadValue("/places", "Places and offered answers are named by their keys.")
    return names + [name for one in lists for name in one]


def named(rows: dict[str, Named], name: str, pointer: str, what: str) -> Named:
    if name not in rows:
        raise BadValue(pointer, f"There is no {what} '{name}' here: its line is missing, or was refused.")
    return rows[name]


def origin_of(line: Line) -> str:
    origin = line.get("origin", Origin.HUMAN)
    if origin not in Origin.values:
        raise BadValue("/origin", f"The origin is one of {', '.join(Origin.values)}.")
    return origin


def moment(line: Line, name: str) -> datetime | None:
    if line.get(name) is None:
        return None
    try:
        found = parse_datetime(line[name])
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise BadValue(f"/{name}", f"'{line[name]}' is no time with a zone, such as 2026-11-24T20:00:00Z.")
    return found


def proofs(evidence: list[Any]) -> list[building.Proof]:
    made = []
    for one in evidence:
        if not isinstance(one, dict) or not isinstance(one.get("passage"), str):
            raise BadValue("/evidence", "Evidence names a passage of the prompt by its id.")
        sentences = one.get("sentences") or []
        if not isinstance(sentences, list) or not all(type(number) is int for number in sentences):
            raise BadValue("/evidence", "The sentences of evidence are a list of their numbers.")
        if any(type(one[name]) is not int for name in ("start", "end") if one.get(name) is not None):
            raise BadValue("/evidence", "Evidence starts and ends at whole numbers.")
        if not isinstance(one.get("quote"), str | None):
            raise BadValue("/evidence", "The quote of evidence is text.")
        about = given(one, "passage", "start", "end", "quote")
        made.append(building.Proof(**about, sentences=tuple(sentences)))
    return made


def uuids(names: Iterable[str]) -> list[UUID]:
    found = []
    for name in names:
        try:
            found.append(UUID(name))
        except ValueError:
            continue
    return found
