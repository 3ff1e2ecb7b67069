"""A project's prompts, answers and feedback as JSON lines: docs/import.md describes them, `importers` reads them back.

Rows are streamed from server-side cursors, all of one moment, so that memory stays flat and people go on working. Only
what counts is written: live records whose work was submitted, or that belong to none. What test keys sent is not.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, models, transaction
from django.db.models import Q, QuerySet

from annotation.models import (
    Assignment,
    Choice,
    Critique,
    FeedbackRecord,
    Label,
    Outcome,
    Preference,
    Prompt,
    Ranking,
    Rating,
    Reaction,
    ReactionKind,
    Response,
    Rewrite,
    SpanCritique,
)
from redpen.accounts.models import Project

CHUNK = 200  # rows in hand at a time
Line = dict[str, Any]


def name_of(row: Any) -> str:
    """What others call a prompt or a response: the caller's id where there is one."""
    return row.external_id or str(row.pk)


def key_of(row: FeedbackRecord) -> str:
    return row.client_key or str(row.pk)


def speaker(row: Any) -> str:
    """Who said it, without a name: a program or model by its own, a person by id."""
    return row.agent or f"user:{row.author_id}"


def when(moment: Any) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def said(row: FeedbackRecord) -> Line:
    """What all records share."""
    shared: Line = {"by": speaker(row), "origin": row.origin, "at": when(row.said_at or row.created_at)}
    if row.external_user:
        shared["user"] = row.external_user
    if row.metadata:
        shared["metadata"] = row.metadata
    return shared


def filled(line: Line) -> Line:
    """Without what is empty: null, "" and {}; 0 and false stay."""
    return {name: value for name, value in line.items() if value is not None and value != "" and value != {}}


def label(row: Label) -> Line:
    about = {"name": row.name, "sentiment": row.sentiment, "description": row.description, "shortcut": row.shortcut}
    return filled({"type": "label", "key": row.key, "set": row.label_set.name, **about})


def reaction_kind(row: ReactionKind) -> Line:
    return {"type": "reaction_kind", "key": row.key, "name": row.name, "polarity": row.polarity}


def prompt(row: Prompt) -> Line:
    about = {"messages": row.messages, "metadata": row.metadata}
    return filled({"type": "prompt", "key": name_of(row), **about, "context": row.context or None})


def response(row: Response) -> Line:
    return {
        **filled(
            {
                "type": "response",
                "key": name_of(row),
                "prompt": name_of(row.prompt),
                "thinking": row.thinking,
                "steps": row.steps,
                "origin": row.origin,
                "model": row.model,
                "sampling": row.sampling,
                "token_ids": row.token_ids,
                "token_logprobs": row.token_logprobs,
                "parent": name_of(row.parent) if row.parent else row.parent_external_id,
                "conversation": row.conversation,
                "turn": row.turn,
                "user": row.external_user,
                "language": row.language,
                "at": when(row.written_at) if row.written_at else None,
                "metadata": row.metadata,
            }
        ),
        "text": row.text,
    }


def reviewed(row: Assignment) -> Line:
    return {
        "type": "reviewed",
        "response": name_of(row.task.response),
        "by": row.agent or f"user:{row.user_id}",
        "at": when(row.submitted_at),
    }


def span(row: SpanCritique) -> Line:
    evidence = [
        filled({"passage": one.passage, "start": one.start, "end": one.end, "quote": one.quote})
        | ({"sentences": one.sentences} if one.sentences else {})
        for one in row.evidence.all()
    ]
    where = {"start": row.start, "end": row.end, "quote": row.quote}
    line = {
        "part": row.part if row.part != "text" else None,
        "sentiment": row.sentiment,
        "severity": row.severity,
        "label": row.label.key if row.label else None,
        "label_set": row.label.label_set.name if row.label else None,
        "critique": row.critique,
        "group": str(row.group) if row.group else None,
        "evidence": evidence or None,
    }
    line = {"type": "span", "key": key_of(row), "response": name_of(row.response), **where, **filled(line), **said(row)}
    return line if row.replacement is None else {**line, "replacement": row.replacement}


def on_response(kind: str, *names: str) -> Callable[[Any], Line]:
    def shape(row: Any) -> Line:
        about = {name: getattr(row, name) for name in names}
        return filled({"type": kind, "key": key_of(row), "response": name_of(row.response), **about}) | said(row)

    return shape


def preference(row: Preference) -> Line:
    about = {name: getattr(row, name) for name in ("choice", "strength", "dimension", "reason", "shown_first")}
    pair = {"a": name_of(row.response_a), "b": name_of(row.response_b)}
    return filled({"type": "preference", "key": key_of(row), **pair, **about}) | said(row)


def rewrite(row: Rewrite) -> Line:
    pair = {"response": name_of(row.response), "better": name_of(row.better)}
    return {"type": "rewrite", "key": key_of(row), **pair, **said(row)}


def ranking(row: Ranking) -> Line:
    names = names_of(row.project_id, [pk for place in row.places for pk in place])
    places = [[names[pk] for pk in place] for place in row.places]
    about = {"dimension": row.dimension, "reason": row.reason}
    return filled({"type": "ranking", "key": key_of(row), "places": places, **about}) | said(row)


def choice(row: Choice) -> Line:
    names = names_of(row.project_id, row.offered)
    about = {"chosen": name_of(row.response) if row.response else None, "reason": row.reason}
    return filled({"type": "choice", "key": key_of(row), "offered": [names[pk] for pk in row.offered], **about}) | said(
        row
    )


def names_of(project_id: Any, ids: list[str]) -> dict[str, str]:
    rows = Response.objects.filter(project_id=project_id, pk__in=ids).only("id", "external_id")
    return {str(row.pk): name_of(row) for row in rows}


def reaction(row: Reaction) -> Line:
    about = {
        "response": name_of(row.response) if row.response else row.response_external_id,
        "kind": row.kind.key,
        "external_id": row.external_id,
        "event_at": when(row.event_at),
        "text": row.text,
        "spans": row.spans or None,
    }
    return filled({"type": "reaction", "key": key_of(row), **about}) | said(row)


def of(model: type[models.Model], *related: str) -> Callable[[Project], QuerySet[Any]]:
    """The rows of a project in the order in which they came, without test data."""
    live = {"test": False} if any(field.name == "test" for field in model._meta.concrete_fields) else {}
    return lambda project: (
        model._default_manager.filter(project=project, **live).select_related(*related).order_by("id")
    )


def live(model: type[models.Model], *related: str) -> Callable[[Project], QuerySet[Any]]:
    return lambda project: of(model, *related)(project).filter(test=False)


def counted(model: type[FeedbackRecord], *related: str) -> Callable[[Project], QuerySet[Any]]:
    handed_in = Q(assignment=None) | Q(assignment__state=Assignment.State.SUBMITTED)
    return lambda project: of(model, *related)(project).filter(handed_in, ended_at=None, test=False)


def readings(project: Project) -> QuerySet[Any]:
    rows = of(Assignment, "task__response")(project)
    return rows.filter(state=Assignment.State.SUBMITTED, task__kind="spans", task__response__test=False)


TYPES: dict[str, tuple[Callable[[Project], QuerySet[Any]], Callable[[Any], Line]]] = {
    "label": (of(Label, "label_set"), label),
    "reaction_kind": (of(ReactionKind), reaction_kind),
    "prompt": (live(Prompt), prompt),
    "response": (live(Response, "prompt", "parent"), response),
    "reviewed": (readings, reviewed),
    "span": (
        lambda project: counted(SpanCritique, "response", "label__label_set")(project).prefetch_related("evidence"),
        span,
    ),
    "critique": (counted(Critique, "response"), on_response("critique", "text", "verdict")),
    "preference": (counted(Preference, "response_a", "response_b"), preference),
    "rating": (counted(Rating, "response"), on_response("rating", "dimension", "value")),
    "rewrite": (counted(Rewrite, "response", "better"), rewrite),
    "ranking": (counted(Ranking), ranking),
    "choice": (counted(Choice, "response"), choice),
    "outcome": (counted(Outcome, "response"), on_response("outcome", "stage", "action", "result", "value")),
    "reaction": (counted(Reaction, "response", "kind"), reaction),
}


def export(project: Project, *, types: list[str] | None = None) -> Iterator[Line]:
    """Every line, in an order in which nothing is named before it was written."""
    with one_moment():
        for name, (rows, shape) in TYPES.items():
            if types is None or name in types:
                for row in rows(project).iterator(chunk_size=CHUNK):
                    yield shape(row)


def export_text(project: Project, *, types: list[str] | None = None) -> Iterator[bytes]:
    """The same as NDJSON, in pieces of a few lines."""
    piece: list[str] = []
    for line in export(project, types=types):
        piece.append(json.dumps(line, ensure_ascii=False, separators=(",", ":")) + "\n")
        if len(piece) == 100:
            yield "".join(piece).encode()
            piece.clear()
    yield "".join(piece).encode()


@contextmanager
def one_moment() -> Iterator[None]:
    """A transaction that sees the database as it was at its beginning, where it is the outermost."""
    outermost = not connection.in_atomic_block
    with transaction.atomic():
        if outermost:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield
