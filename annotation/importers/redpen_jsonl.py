"""Redpen's own JSON lines (docs/import.md): what `exports.redpen_jsonl` writes, read back.

A line has a type and a key. Lines name each other by key; a key is the caller's own id, and what comes twice under one
key is taken once. Whose words a record holds is kept in `by`, never as a user of this place: an import cannot speak for
somebody who can sign in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, ClassVar, TypeVar
from uuid import UUID

from django.utils.dateparse import parse_datetime

from annotation.actions import building
from annotation.actions.batches import record_submitted, store_records, tasks_of
from annotation.actions.campaigns import create_campaign, set_state
from annotation.actions.labels import NewLabel, create_label_set, label_for
from annotation.actions.people import Author
from annotation.actions.prompts import NewPrompt, NewResponse, add_prompts, add_responses, checked_metadata
from annotation.actions.tasks import create_tasks
from annotation.errors import BadValue, OtherContent
from annotation.exports.redpen_jsonl import speaker
from annotation.importers.base import Counts, Faults, Importer, news
from annotation.importers.jsonl_fields import check_line
from annotation.importers.reading import Item
from annotation.models import Assignment, Campaign, Label, LabelSet, Origin, Prompt, ReactionKind, Response
from redpen.accounts.models import Project

CAMPAIGN = "Imported"


Line = dict[str, Any]
Named = TypeVar("Named", Prompt, Response)


class RedpenJSONL(Importer):
    name: ClassVar[str] = "redpen_jsonl"
    title: ClassVar[str] = "Redpen JSON lines"
    about: ClassVar[str] = "One object a line: prompts, responses and all kinds of feedback, as Redpen exports them."
    batch: ClassVar[int] = 500

    def __init__(self, *, project: Project, author: Author) -> None:
        super().__init__(project=project, author=author)
        # keys that stand for a prompt stored under another name: few
        self.aliases: dict[str, UUID] = {}

    def parse(self, item: Item, faults: Faults) -> Line:
        check_line(item.value, faults)
        return item.value

    def store(self, parsed: list[Line]) -> Counts:
        """In the order of dependence; within a batch the lines may stand in any order."""
        by_type: dict[str, list[Line]] = {}
        for line in parsed:
            by_type.setdefault(line["type"], []).append(line)
        counts: Counts = []
        for kind in ("label", "reaction_kind", "prompt", "response", "reviewed"):
            if lines := by_type.pop(kind, []):
                added = getattr(self, f"_{kind}s")(lines)
                counts.append((kind, added, len(lines) - added))
        records = [line for lines in by_type.values() for line in lines]
        return counts + (self._records(records) if records else [])

    # what records rest on

    def _labels(self, lines: list[Line]) -> int:
        added = 0
        for line in lines:
            label_set = LabelSet.objects.filter(project=self.project, name=line["set"]).first() or create_label_set(
                author=self.author, project=self.project, name=line["set"], labels=()
            )
            if not Label.objects.filter(label_set=label_set, key=line["key"]).exists():
                about = {name: line[name] for name in ("name", "sentiment", "description", "shortcut") if name in line}
                label_for(author=self.author, label_set=label_set, key=line["key"], new=NewLabel(**about))
                added += 1
        return added

    def _reaction_kinds(self, lines: list[Line]) -> int:
        added = 0
        for line in lines:
            _, made = ReactionKind.objects.get_or_create(
                project=self.project,
                key=line["key"],
                defaults={"name": line["name"], "polarity": line["polarity"]},
            )
            added += made
        return added

    def _prompts(self, lines: list[Line]) -> int:
        new = [
            NewPrompt(
                messages=line["messages"],
                context=line.get("context") or [],
                metadata=line.get("metadata") or {},
                external_id=line["key"],
            )
            for line in lines
        ]
        stored, added = add_prompts(author=self.author, project=self.project, new=new)
        self.aliases |= {
            line["key"]: row.pk for line, row in zip(lines, stored, strict=True) if row.external_id != line["key"]
        }
        return added

    def _responses(self, lines: list[Line]) -> int:
        """An answer whose parent stands in the same batch waits for the next round."""
        added, waiting = 0, {}
        for line in lines:
            if waiting.setdefault(line["key"], line) != line:
                raise OtherContent(key=line["key"], differs=["text"])
        prompts = self._find(Prompt, (line["prompt"] for line in lines))
        while waiting:
            ready = [line for line in waiting.values() if line.get("parent") not in waiting]
            if not ready:
                raise BadValue("/parent", "These answers are each other's parents.")
            known = self._find(Response, (name for line in ready for name in (line["key"], line.get("parent")) if name))
            new = []
            for line in ready:
                del waiting[line["key"]]
                prompt = named(prompts, line["prompt"], "/prompt", "prompt")
                if stored := known.get(line["key"]):
                    if (stored.text, stored.prompt_id) != (line["text"], prompt.pk):
                        raise OtherContent(key=line["key"], differs=["text"])
                    continue
                parent = named(known, line["parent"], "/parent", "response") if line.get("parent") else None
                new.append(self._new_response(line, prompt, parent))
            added += add_responses(author=self.author, project=self.project, new=new)[1]
        return added

    def _new_response(self, line: Line, prompt: Prompt, parent: Response | None) -> NewResponse:
        extra = ("thinking", "steps", "sampling", "token_ids", "token_logprobs", "conversation", "turn")
        return NewResponse(
            prompt=prompt,
            text=line["text"],
            origin=line.get("origin", Origin.MODEL),
            model=line.get("model", ""),
            external_id=line["key"],
            metadata=line.get("metadata") or {},
            more={"parent": parent, **{name: line[name] for name in extra if line.get(name) is not None}},
        )

    def _revieweds(self, lines: list[Line]) -> int:
        """That somebody read an answer and marked what there was: work that is done, in a closed campaign."""
        answers = self._find(Response, (line["response"] for line in lines))
        read = [(named(answers, line["response"], "/response", "response"), line) for line in lines]
        done = Assignment.objects.filter(
            task__response__in=[answer.pk for answer, _ in read], task__kind="spans", state="submitted"
        ).select_related("task")
        known = {(row.task.response_id, row.agent or f"user:{row.user_id}") for row in done}
        new = {(answer.pk, line["by"]): (answer, line) for answer, line in read}
        new = {key: value for key, value in new.items() if key not in known}
        if not new:
            return 0
        campaign = self._campaign()
        create_tasks(author=self.author, campaign=campaign, responses=[answer for answer, _ in new.values()])
        tasks = tasks_of(campaign, responses=[answer for answer, _ in new.values()])
        work = [(tasks[answer.pk, None], line["by"], moment(line, "at")) for answer, line in new.values()]
        record_submitted(author=self.author, campaign=campaign, work=work)
        return len(new)

    def _campaign(self) -> Campaign:
        found = Campaign.objects.filter(project=self.project, name=CAMPAIGN).first()
        if found is None:
            guidelines = "What was asked of these people is not known here."
            found = create_campaign(
                author=self.author, project=self.project, name=CAMPAIGN, label_set=None, guidelines=guidelines
            )
            set_state(author=self.author, campaign=found, state=Campaign.State.CLOSED)
        return found

    # records

    def _records(self, lines: list[Line]) -> Counts:
        answers = self._find(Response, (name for line in lines for name in names_in(line)))
        labels = {
            (label.label_set.name, label.key): label
            for label in Label.objects.filter(project=self.project).select_related("label_set").order_by("-id")
        }
        labels |= {("", key): label for (_, key), label in labels.items()}
        kinds = {kind.key: kind for kind in ReactionKind.objects.filter(project=self.project)}
        builder = Builder(answers=answers, labels=labels, kinds=kinds)
        rows, evidence = [], []
        for line in lines:
            row = builder.build(line)
            rows.append(row)
            if line.get("evidence"):
                evidence += building.evidence(row, proofs(line["evidence"]), context=row.response.prompt.context)
        known = self._known(rows)
        fresh = [row for row in rows if row.client_key not in known[type(row)]]
        stored, _ = store_records(author=self.author, project=self.project, rows=fresh, evidence=evidence)
        kept = {id(row): one for row, one in zip(fresh, stored, strict=True)}
        return [
            news(kind, some, [kept.get(id(row)) for row in some])
            for kind in dict.fromkeys(line["type"] for line in lines)
            if (some := [row for row, line in zip(rows, lines, strict=True) if line["type"] == kind])
        ]

    def _known(self, rows: list[Any]) -> dict[type[Any], set[str]]:
        """Keys that are ids of this project's records (its own export comes back), which must say the same."""
        known: dict[type[Any], set[str]] = {}
        for model in {type(row) for row in rows}:
            mine = {str(row.client_key): row for row in rows if type(row) is model}
            stored = model._default_manager.filter(project=self.project, pk__in=uuids(mine), client_key=None)
            known[model] = set()
            for one in stored:
                row = mine[str(one.pk)]
                same = [name for name in building.SAME[model] if name not in building.WHOSE]
                differs = [name for name in same if getattr(one, name) != getattr(row, name)]
                if differs or speaker(one) != row.agent:
                    raise OtherContent(key=str(one.pk), differs=differs or ["by"])
                known[model].add(str(one.pk))
        return known

    def _find(self, model: type[Named], names: Iterable[str]) -> dict[str, Named]:
        """Rows of this project by the names that lines use: the caller's id, or ours."""
        wanted = set(names)
        aliases = {self.aliases[name]: name for name in wanted if name in self.aliases} if model is Prompt else {}
        rows = model._default_manager.filter(project=self.project)
        if model is Response:
            rows = rows.select_related("prompt")
        found = {}
        for row in rows.filter(pk__in=[*uuids(wanted), *aliases]):
            found[str(row.pk)] = row
            if row.pk in aliases:
                found[aliases[row.pk]] = row
        found |= {row.external_id: row for row in rows.filter(external_id__in=wanted)}
        for row in found.values():
            row.project = self.project
        return found


class Builder:
    """Lines to unsaved records: every kind by the function that single writes use too."""

    def __init__(
        self,
        *,
        answers: dict[str, Response],
        labels: dict[tuple[str, str], Label],
        kinds: dict[str, ReactionKind],
    ) -> None:
        self.answers, self.labels, self.kinds = answers, labels, kinds

    def build(self, line: Line) -> Any:
        author = Author(agent=line["by"], origin=origin_of(line))
        shared = {
            "author": author,
            "client_key": line["key"],
            "said_at": moment(line, "at"),
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
            external_user=line.get("user", ""),
            event_at=moment(line, "event_at"),
            **given(line, "external_id", "text"),
            **shared,
        )


def given(line: Line, *names: str) -> Line:
    return {name: line[name] for name in names if line.get(name) is not None}


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
