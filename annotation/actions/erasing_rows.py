"""Which rows go when answers or records are erased, and their going: a fixed number of statements for any number.

What points at what is checked at the commit, so the order of the statements does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from annotation.actions.counting.passes import LOCK
from annotation.actions.counting.rebuilding import recount_answers
from annotation.models import (
    Assignment,
    Choice,
    Evidence,
    FeedbackRecord,
    LiveEvent,
    LiveSlice,
    Prompt,
    Ranking,
    Reaction,
    Response,
    Rewrite,
    SpanCritique,
    TakenBack,
    Task,
)
from annotation.queries.records import KINDS
from annotation.webhooks import keeping

RECORDS: tuple[type[FeedbackRecord], ...] = tuple(kind.model for kind in KINDS.values() if kind.model is not Reaction)


class Rows:
    """The rows of one project that are to go, gathered first and deleted then; inside `erasing()`.

    From its making to the transaction's end no counting pass goes on: it would wait for our rows, and we for its end.
    Reactions go on coming in. Those to other answers are in nobody's way.
    """

    def __init__(self, project_id: UUID) -> None:
        with connection.cursor() as cursor:
            # first of all, because who shares this lock may be waiting for any other
            cursor.execute("SELECT annotation_hold_answers(%s)", [project_id])
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [LOCK])
        self.project_id = project_id
        self.responses: set[UUID] = set()
        self.prompts: set[UUID] = set()
        self.records: dict[type[FeedbackRecord], set[UUID]] = {model: set() for model in (*RECORDS, Reaction)}
        self.tasks: set[UUID] = set()
        self.assignments: set[UUID] = set()
        self.events: set[UUID] = set()
        self.pairs: set[tuple[UUID, str]] = set()

    def ids(self) -> set[str]:
        """Of everything that a file may name."""
        some: Iterable[set[UUID]] = (self.responses, self.prompts, self.assignments, *self.records.values())
        return {str(pk) for one in some for pk in one}

    def add_records(self, model: type[FeedbackRecord], condition: Q) -> None:
        found = model._default_manager.filter(condition, project=self.project_id)
        if model is Reaction:
            for pk, dedup, response, user in found.values_list("id", "dedup", "response_id", "external_user"):
                self.records[model].add(pk)
                self.events.add(dedup)
                if response is not None:
                    self.pairs.add((response, user))
        else:
            self.records[model] |= set(found.values_list("id", flat=True))

    def add_about_responses(self) -> None:
        """What was said of the answers, and the work that asks about them."""
        if not self.responses:
            return
        better = Rewrite.objects.filter(project=self.project_id, response__in=self.responses)
        self.responses |= set(better.values_list("better_id", flat=True))  # they say the same in other words
        asks = Q(response__in=self.responses) | Q(other__in=self.responses)
        self.tasks = set(Task.objects.filter(asks, project=self.project_id).values_list("id", flat=True))
        work = Assignment.objects.filter(project=self.project_id, task__in=self.tasks)
        self.assignments = set(work.values_list("id", flat=True))
        for model in self.records:
            names = {field.name: field for field in model._meta.concrete_fields}
            about = Q()
            for name, field in names.items():
                if field.related_model is Response:
                    about |= Q(**{f"{name}__in": self.responses})
            if self.assignments and model is not Reaction:
                about |= Q(assignment__in=self.assignments)
            if about:
                self.add_records(model, about)
        for model, name, path in ((Ranking, "places", "$[*][*]"), (Choice, "offered", "$[*]")):
            self.records[model] |= self._naming(model._meta.db_table, name, path)

    def _naming(self, table: str, column: str, path: str) -> set[UUID]:
        """Rankings and choices name answers inside JSON."""
        statement = (
            f"SELECT x.id FROM {table} x WHERE x.project_id = %s AND x.prompt_id IN "
            "(SELECT prompt_id FROM annotation_response WHERE id = ANY(%s)) AND EXISTS (SELECT FROM "
            f"jsonb_path_query(x.{column}, '{path}') one WHERE (one #>> '{{}}')::uuid = ANY(%s))"
        )
        answers = list(self.responses)
        with connection.cursor() as cursor:
            cursor.execute(statement, [self.project_id, answers, answers])
            return {pk for (pk,) in cursor.fetchall()}

    def texts(self) -> list[str]:
        """The words that go: of answers, prompts and records."""
        found: list[str] = []
        for text, thinking in Response.objects.filter(pk__in=self.responses).values_list("text", "thinking"):
            found += [text, thinking]
        for messages, context in Prompt.objects.filter(pk__in=self.prompts).values_list("messages", "context"):
            found += [one["content"] for one in messages if one.get("role") != "system"]
            found += [one["text"] for one in context]
        for kind in KINDS.values():
            names = [name for name in kind.words if "__" not in name and name not in ("dimension", "reason")]
            rows = kind.model._default_manager.filter(pk__in=self.records[kind.model])
            found += [word for words in rows.values_list(*names) for word in words if word] if names else []
        return sorted({text for text in found if isinstance(text, str)})

    def delete(self) -> dict[str, int]:
        """Take them away; how many of each kind."""
        with connection.cursor() as cursor:
            # before the reactions, because who adds one has the answer's row first
            statement = "SELECT FROM annotation_response WHERE id = ANY(%s) ORDER BY id FOR UPDATE"
            cursor.execute(statement, [list(self.responses)])
        if self.responses:  # no other comes now; those that came while we looked for all the rest
            self.add_records(Reaction, Q(response__in=self.responses))
        with connection.cursor() as cursor:  # in the order in which `standing` locks them, or two would wait for ever
            statement = "SELECT FROM annotation_reaction WHERE id = ANY(%s) ORDER BY id FOR UPDATE"
            cursor.execute(statement, [list(self.records[Reaction])])
        for model in (LiveEvent, LiveSlice):
            self._delete(model, self.records[Reaction], "reaction_id")
        self._delete(TakenBack, self.events, "event")
        self._delete(Evidence, self.records[SpanCritique], "span_id")
        counts = {kind.key: self._delete(kind.model, self.records[kind.model]) for kind in KINDS.values()}
        self._delete(Assignment, self.assignments)
        self._delete(Task, self.tasks)
        with connection.cursor() as cursor:
            # what refines an erased answer stays, and no longer says what it refines
            statement = "UPDATE annotation_response SET parent_id = NULL WHERE project_id = %s AND parent_id = ANY(%s)"
            cursor.execute(statement, [self.project_id, list(self.responses)])
        counts["response"] = self._delete(Response, self.responses)
        counts["prompt"] = self._delete(Prompt, self.prompts)
        return counts

    def settle_counts(self) -> None:
        """Rates count again without them."""
        answers = self.responses | {response for response, _ in self.pairs}
        if answers:
            recount_answers(responses=answers)

    def forget_deliveries(self, *, user: str = "") -> int:
        return keeping.forget(project_id=self.project_id, keys=sorted(self.ids()), external_user=user)

    def _delete(self, model: Any, keys: Iterable[UUID], column: str = "id") -> int:
        wanted = list(keys)
        if not wanted:
            return 0
        with connection.cursor() as cursor:
            table = model._meta.db_table
            cursor.execute(
                f"DELETE FROM {table} WHERE project_id = %s AND {column} = ANY(%s)", [self.project_id, wanted]
            )
            return cursor.rowcount


def only_for(project_id: UUID, responses: Sequence[UUID], user: str) -> set[UUID]:
    """Prompts of these answers that nobody else used: not answered for another user, nor before, nor since."""
    statement = """
        SELECT r.prompt_id FROM annotation_response r WHERE r.id = ANY(%(answers)s) GROUP BY r.prompt_id
        HAVING NOT EXISTS (
            SELECT FROM annotation_response o WHERE o.project_id = %(project)s AND o.prompt_id = r.prompt_id
            AND NOT o.id = ANY(%(answers)s) AND (o.external_user <> '' OR o.id < min(r.id::text)::uuid)
        )"""
    with connection.cursor() as cursor:
        cursor.execute(statement, {"project": project_id, "answers": list(responses), "user": user})
        return {pk for (pk,) in cursor.fetchall()}
