"""How rows look to those who ask over HTTP. docs/api-label.md lists these shapes."""

from __future__ import annotations

from typing import Any

from annotation.actions.dealing import Deal
from annotation.models import Assignment, Preference, Prompt, Response, SpanCritique
from annotation.models.campaigns import TaskKind
from annotation.sides import by_side, shown_first
from redpen.accounts.models import User


def when(moment: Any) -> str | None:
    return moment.isoformat().replace("+00:00", "Z") if moment else None


def key(value: Any) -> str | None:
    return str(value) if value is not None else None


def person(user: User | None) -> dict[str, Any] | None:
    return {"id": str(user.pk), "name": user.name} if user else None


def span(row: SpanCritique, *, me: User | None = None) -> dict[str, Any]:
    """Needs select_related("author")."""
    return {
        "lineage": str(row.lineage),
        "id": str(row.pk),
        "version": row.version,
        "response": str(row.response_id),
        "part": row.part,
        "start": row.start,
        "end": row.end,
        "quote": row.quote,
        "sentiment": row.sentiment,
        "severity": row.severity,
        "label": key(row.label_id),
        "critique": row.critique,
        "replacement": row.replacement,
        "group": key(row.group),
        "assignment": key(row.assignment_id),
        "author": person(row.author),
        "agent": row.agent,
        "origin": row.origin,
        "mine": me is not None and row.author_id == me.pk,
        "created_at": when(row.created_at),
        "ended_at": when(row.ended_at),
        "end_reason": row.end_reason,
    }


def preference(row: Preference) -> dict[str, Any]:
    return {
        "lineage": str(row.lineage),
        "id": str(row.pk),
        "version": row.version,
        "a": str(row.response_a_id),
        "b": str(row.response_b_id),
        "choice": row.choice,
        "strength": row.strength,
        "dimension": row.dimension,
        "reason": row.reason,
        "shown_first": row.shown_first,
        "assignment": key(row.assignment_id),
        "created_at": when(row.created_at),
        "ended_at": when(row.ended_at),
    }


def prompt(row: Prompt) -> dict[str, Any]:
    return {"id": str(row.pk), "messages": row.messages, "context": row.context}


def full_prompt(row: Prompt) -> dict[str, Any]:
    about = {"metadata": row.metadata, "split": row.split, "external_id": row.external_id}
    return {**prompt(row), **about, "created_at": when(row.created_at)}


def full_response(row: Response) -> dict[str, Any]:
    return {
        "id": str(row.pk),
        "prompt": str(row.prompt_id),
        "text": row.text,
        "thinking": row.thinking,
        "steps": row.steps,
        "origin": row.origin,
        "model": row.model,
        "model_version": key(row.model_version),
        "sampling": row.sampling,
        "external_id": row.external_id,
        "parent": key(row.parent_id),
        "conversation": row.conversation,
        "turn": row.turn,
        "metadata": row.metadata,
        "created_at": when(row.created_at),
    }


def assignment(row: Assignment, *, me: User) -> dict[str, Any]:
    """What the label and pair pages need. No model names: whoever judges must not know who wrote the answer."""
    task, version = row.task, row.campaign_version
    shape: dict[str, Any] = {
        "id": str(row.pk),
        "kind": task.kind,
        "state": row.state,
        "attempt": row.attempt,
        "lease_expires_at": when(row.lease_expires_at),
        "submitted_at": when(row.submitted_at),
        "draft": row.draft,
        "task": {"id": str(task.pk), "priority_reason": task.priority_reason},
        "campaign": {
            "id": str(task.campaign_id),
            "name": task.campaign.name,
            "version": version.number,
            "guidelines": version.guidelines,
        },
        "labels": version.labels,
        "questions": [
            {"text": question.text, "config": question.config}
            for question in version.questions.all()
            if question.kind == task.kind
        ],
        "prompt": prompt(task.prompt),
    }
    if task.kind == TaskKind.PAIR:
        answers = {"a": task.response, "b": task.other}
        left = shown_first(task)
        shape["left"] = answer(answers.pop(left))
        shape["right"] = answer(next(iter(answers.values())))
    else:
        shape["response"] = answer(task.response)
    marks = row.spancritiques.filter(ended_at=None).select_related("author").order_by("start", "id")
    shape["spans"] = [span(mark, me=me) for mark in marks]
    words = row.critiques.filter(ended_at=None).first() if task.kind == TaskKind.SPANS else None
    shape["verdict"], shape["words"] = (words.verdict, words.text) if words else ("", "")
    chosen = row.preferences.filter(ended_at=None).first() if task.kind == TaskKind.PAIR else None
    shape["preference"] = chosen and {
        "choice": by_side(task, chosen.choice),
        "strength": chosen.strength,
        "reason": chosen.reason,
    }
    return shape


def answer(row: Response) -> dict[str, str]:
    return {"id": str(row.pk), "text": row.text}


def deal(found: Deal, *, assignment: dict[str, Any] | None) -> dict[str, Any]:
    return {"assignment": assignment, "why": found.why, "message": found.message, "left": found.left}
