"""Redpen's own JSON lines (docs/import.md): what `exports.redpen_jsonl` writes, read back.

A line has a type and a key. Lines name each other by key; a key is the caller's own id, and what comes twice under one
key is taken once. Whose words a record holds is kept in `by`, never as a user of this place: an import cannot speak for
somebody who can sign in.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar
from uuid import UUID

from annotation.actions import building
from annotation.actions.batches import record_submitted, store_records, tasks_of
from annotation.actions.campaigns import create_campaign, set_state
from annotation.actions.labels import NewLabel, create_label_set, label_for
from annotation.actions.people import Author
from annotation.actions.prompts import NewPrompt, NewResponse, add_prompts, add_responses
from annotation.actions.tasks import create_tasks
from annotation.errors import BadValue, OtherContent
from annotation.exports.redpen_jsonl import speaker
from annotation.importers.base import Counts, Faults, Importer, news
from annotation.importers.door import Door
from annotation.importers.events import TOLD, known_events, settle_new
from annotation.importers.jsonl_fields import check_line
from annotation.importers.jsonl_records import Builder, Line, Named, moment, named, names_in, proofs, user_of, uuids
from annotation.importers.reading import Item
from annotation.models import Assignment, Campaign, Label, LabelSet, Origin, Prompt, Reaction, ReactionKind, Response
from redpen.accounts.models import Project

CAMPAIGN = "Imported"


class RedpenJSONL(Importer):
    name: ClassVar[str] = "redpen_jsonl"
    title: ClassVar[str] = "Redpen JSON lines"
    about: ClassVar[str] = "One object a line: prompts, responses and all kinds of feedback, as Redpen exports them."
    batch: ClassVar[int] = 500

    def __init__(self, *, project: Project, author: Author) -> None:
        super().__init__(project=project, author=author)
        # keys that stand for a prompt stored under another name: few
        self.aliases: dict[str, UUID] = {}
        self.door = Door(project)

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
                new.append(self._new_response(line, prompt, known.get(line.get("parent") or "")))
            stored, fresh = add_responses(author=self.author, project=self.project, new=new)
            self._adopt(stored)
            added += fresh
        return added

    def _adopt(self, parents: list[Response]) -> None:
        """Refinements that came before what they refine find it now."""
        by_name = {row.external_id: row for row in parents}
        waiting = Response.objects.filter(project=self.project, test=False, parent=None)
        for child in waiting.exclude(parent_external_id="").filter(parent_external_id__in=list(by_name)):
            Response.objects.filter(pk=child.pk).update(parent=by_name[child.parent_external_id])

    def _new_response(self, line: Line, prompt: Prompt, parent: Response | None) -> NewResponse:
        extra = ("thinking", "steps", "sampling", "token_ids", "token_logprobs", "conversation", "turn")
        return NewResponse(
            prompt=prompt,
            text=line["text"],
            origin=line.get("origin", Origin.MODEL),
            model=line.get("model", ""),
            external_id=line["key"],
            metadata=line.get("metadata") or {},
            more={
                "parent": parent,
                "parent_external_id": "" if parent else building.short(line.get("parent") or "", 200, "/parent"),
                "external_user": user_of(line, self.door),
                "language": building.short(line.get("language") or "", 35, "/language"),
                "written_at": moment(line, "at"),
                **{name: line[name] for name in extra if line.get(name) is not None},
            },
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
        builder = Builder(answers=answers, labels=labels, kinds=kinds, door=self.door)
        rows, evidence = [], []
        for line in lines:
            row = builder.build(line)
            rows.append(row)
            if line.get("evidence"):
                evidence += building.evidence(row, proofs(line["evidence"]), context=row.response.prompt.context)
        known = self._known(rows)
        events = known_events(self.project, rows)
        fresh = [
            row for row in rows if row.client_key not in known[type(row)] and getattr(row, "dedup", None) not in events
        ]
        stored, _ = store_records(author=self.author, project=self.project, rows=fresh, evidence=evidence)
        settle_new(fresh)
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
                same = TOLD if model is Reaction else building.SAME[model]
                same = [name for name in same if name not in building.WHOSE]
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
