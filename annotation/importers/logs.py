"""Logs of other tools: what they hold in common, and how it is stored. A format only has to read its own file.

Answers keep the times, ids and users of the log. What people or evaluators said there becomes ratings, critiques,
reactions and rewrites. An answer is known by its id in the log, a score by its own: a second import adds nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from django.db.models import F, QuerySet
from django.db.models.fields.json import KeyTextTransform

from annotation import text as texts
from annotation.actions import building
from annotation.actions.batches import store_records
from annotation.actions.people import Author
from annotation.actions.prompts import NewPrompt, NewResponse, add_prompts, add_responses
from annotation.errors import BadValue
from annotation.importers.base import Counts, Importer, news
from annotation.importers.door import Door
from annotation.importers.events import known_events, settle_new
from annotation.models import Origin, ReactionKind, Response
from redpen.accounts.models import Project

GOOD = {"good", "positive", "up", "thumbs_up", "thumbs-up", "like", "liked", "pass", "passed", "correct", "true", "yes"}
BAD = {"bad", "negative", "down", "thumbs_down", "thumbs-down", "dislike", "disliked", "fail", "failed", "incorrect"}
BAD |= {"false", "no"}
OF_USERS = ("user", "thumb", "feedback", "like", "vote")  # in the name of a score: a person tapped it


@dataclass(kw_only=True)
class Answer:
    """One answer of a model. `trace` is the whole of which it is a part: scores of the trace are about its last one."""

    id: str
    messages: list[dict[str, Any]]
    text: str
    trace: str = ""
    thinking: str = ""
    steps: list[dict[str, Any]] | None = None
    model: str = ""
    sampling: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    user: str = ""
    conversation: str = ""
    at: datetime | None = None


@dataclass(kw_only=True)
class Said:
    """Something that was said of an answer, or of the last answer of a trace, under an id of its own."""

    id: str
    kind: str  # rating, critique, reaction, rewrite
    by: str
    at: datetime
    answer: str = ""
    trace: str = ""
    origin: str = Origin.PROGRAM
    user: str = ""
    name: str = ""  # the dimension, or the kind of reaction
    value: float = 0.0
    text: str = ""
    verdict: str = ""
    optional: bool = False  # left out where its answer is not here, for it came with answers that are good


def is_of_users(name: str) -> bool:
    """Whether a score with this name is what a user tapped, and no evaluator's."""
    return any(part in name.lower() for part in OF_USERS)


def of_traces(rows: QuerySet[Response], traces: Collection[str]) -> QuerySet[Response]:
    """Answers that came from these traces (index response_by_trace)."""
    named = rows.filter(metadata__has_key="trace").alias(trace=KeyTextTransform("trace", "metadata"))
    return named.filter(trace__in=list(traces))


def verdict_of(label: str) -> str:
    label = label.strip().lower().replace(" ", "_")
    return "good" if label in GOOD else "bad" if label in BAD else ""


class LogImporter(Importer):
    """`parse` gives a list of Answer and Said."""

    batch: ClassVar[int] = 200

    def __init__(self, *, project: Project, author: Author) -> None:
        super().__init__(project=project, author=author)
        self.door = Door(project)

    def prepare(self) -> None:
        for key, name, polarity in (("like", "Like", 1), ("dislike", "Dislike", -1)):
            defaults = {"name": name, "polarity": polarity}
            ReactionKind.objects.get_or_create(project=self.project, key=key, defaults=defaults)

    def key(self, id: str) -> str:
        """The caller's key of a record, which has 100 characters at most."""
        key = f"{self.name}:{texts.check(id)}"
        return key if len(key) <= 100 else f"{self.name}:{hashlib.sha256(id.encode()).hexdigest()}"

    def store(self, parsed: list[list[Answer | Said]]) -> Counts:
        flat = [one for some in parsed for one in some]
        answers = [one for one in flat if isinstance(one, Answer)]
        said = [one for one in flat if isinstance(one, Said)]
        counts = self._answers(answers) if answers else []
        counts += self._said(said) if said else []
        return counts

    def _answers(self, answers: list[Answer]) -> Counts:
        new = [NewPrompt(messages=self.door.clean(answer.messages)) for answer in answers]
        prompts, added = add_prompts(author=self.author, project=self.project, new=new)
        rows = []
        for answer, prompt in zip(answers, prompts, strict=True):
            clean = self.door.clean
            more = {
                "thinking": clean(answer.thinking),
                "steps": clean(answer.steps),
                "sampling": answer.sampling,
                "conversation": building.short(answer.conversation or answer.trace, 200, "/conversation"),
                "turn": max(1, sum(message["role"] == "user" for message in answer.messages)),
                "external_user": answer.user,
                "written_at": answer.at,
            }
            metadata = clean(answer.metadata) | ({"trace": answer.trace} if answer.trace else {})
            about = {"model": answer.model, "external_id": answer.id, "metadata": metadata, "more": more}
            rows.append(NewResponse(prompt=prompt, text=clean(answer.text), **about))
        _, fresh = add_responses(author=self.author, project=self.project, new=rows)
        prompts_seen = len({prompt.pk for prompt in prompts})
        return [("prompt", added, prompts_seen - added), ("response", fresh, len(rows) - fresh)]

    def _said(self, said: list[Said]) -> Counts:
        answers = self._find(said)
        lost = [one for one in said if one.optional and one.id not in answers]
        said = [one for one in said if not one.optional or one.id in answers]
        kinds = {kind.key: kind for kind in ReactionKind.objects.filter(project=self.project)}
        rows = [self._row(one, answers.get(one.id), kinds) for one in said]
        known = known_events(self.project, rows)
        fresh = [row for row in rows if getattr(row, "dedup", None) not in known]
        stored, _ = store_records(author=self.author, project=self.project, rows=fresh)
        settle_new(fresh)
        if lost:
            self.left_out["evaluations of answers that are not here"] += len(lost)
        kept = {id(row): one for row, one in zip(fresh, stored, strict=True)}
        return [
            news(kind, some, [kept.get(id(row)) for row in some])
            for kind in dict.fromkeys(one.kind for one in said)
            if (some := [row for row, one in zip(rows, said, strict=True) if one.kind == kind])
        ]

    def _find(self, said: Sequence[Said]) -> dict[str, Response]:
        """The answer that each is about: the one named, else the last one of its trace."""
        here = Response.objects.filter(project=self.project, test=False).select_related("prompt")
        names = {name for one in said for name in (one.answer, one.trace) if name}
        by_name = {row.external_id: row for row in here.filter(external_id__in=names)}
        traces = [one.trace for one in said if one.trace and not one.answer and one.trace not in by_name]
        in_order = here.order_by(F("written_at").asc(nulls_first=True), "id")
        of_trace = of_traces(in_order, traces) if traces else []
        by_trace = {row.metadata["trace"]: row for row in of_trace}
        found = {}
        for one in said:
            row = by_name.get(one.answer or one.trace) or (None if one.answer else by_trace.get(one.trace))
            if row is not None:
                row.project = self.project
                found[one.id] = row
        return found

    def _row(self, one: Said, answer: Response | None, kinds: dict[str, ReactionKind]) -> Any:
        author = Author(agent=texts.check(one.by)[:120], origin=one.origin)
        shared = {"author": author, "client_key": self.key(one.id), "said_at": one.at, "external_user": one.user}
        if one.kind == "reaction" and (answer is not None or one.answer):
            del shared["said_at"]
            return building.reaction(
                kind=kinds[one.name],
                response=answer,
                response_external_id="" if answer else one.answer,  # it may come later
                external_id=one.id[:200],
                event_at=one.at,
                text=self.door.clean(one.text),
                **shared,
            )
        if answer is None:
            missing = f"There is no answer to '{one.answer or one.trace}' here. Import the answers before the scores."
            raise BadValue("", missing, code="import.no_answer")
        shared["response"] = answer
        if one.kind == "rating":
            return building.rating(dimension=one.name.strip()[:60] or "score", value=one.value, **shared)
        if one.kind == "rewrite":
            new = NewResponse(
                prompt=answer.prompt, text=self.door.clean(one.text), origin=one.origin, external_id=self.key(one.id)
            )
            answer.prompt.project = self.project
            [better], _ = add_responses(author=self.author, project=self.project, new=[new])
            return building.rewrite(better=better, **shared)
        return building.critique(text=self.door.clean(one.text), verdict=one.verdict, **shared)
