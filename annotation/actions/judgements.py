"""Judgements on whole answers: words, pairs, numbers, better versions, reports."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from django.db import transaction

from annotation.actions import building, records
from annotation.actions.building import Compared, check_compared, check_verdict
from annotation.actions.once import create_once, stored_under
from annotation.actions.people import Author
from annotation.actions.prompts import add_response
from annotation.errors import AssignmentClosed, BadValue, OtherContent
from annotation.models import (
    Act,
    Assignment,
    Choice,
    Critique,
    FeedbackRecord,
    Outcome,
    Preference,
    Ranking,
    Rating,
    Report,
    Response,
    Rewrite,
    Task,
)
from annotation.sides import by_name, shown_first
from redpen.accounts.models import Project

__all__ = ["Compared", "choose", "critique", "prefer", "rank", "rate", "report", "retract", "rewrite", "tell_outcome"]


CHOICE_WORDS = {"a": "A is better", "b": "B is better", "tie": "equally good", "neither": "neither is good"}


@transaction.atomic
def prefer(*, author: Author, a: Response, b: Response, compared: Compared, **about: Any) -> tuple[Preference, bool]:
    """Record which of two answers to one prompt `author` finds better. False: this key brought the same before."""
    row = building.preference(author=author, a=a, b=b, compared=compared, **about)
    return store(row, "preference.stated", author=author, project=a.project)


@transaction.atomic
def critique(*, author: Author, response: Response, **said: Any) -> tuple[Critique, bool]:
    """Words on the whole answer, a verdict, or both."""
    row = building.critique(author=author, response=response, **said)
    return store(row, "critique.given", author=author, project=response.project)


@transaction.atomic
def rate(*, author: Author, response: Response, dimension: str, value: float, **about: Any) -> tuple[Rating, bool]:
    """A number on a dimension."""
    row = building.rating(author=author, response=response, dimension=dimension, value=value, **about)
    return store(row, "rating.given", author=author, project=response.project)


@transaction.atomic
def rewrite(
    *,
    author: Author,
    response: Response,
    text: str,
    assignment: Assignment | None = None,
    client_key: str | None = None,
    **about: Any,
) -> tuple[Rewrite, bool]:
    """How the answer should have read. The better text becomes a Response of its own, joined by an act."""
    if stored := stored_under(Rewrite, response.project_id, client_key):
        if stored.better.text != text or stored.response_id != response.pk or not author.wrote(stored):
            raise OtherContent(key=client_key or "", differs=["text"])
        return stored, False
    if text == response.text:
        raise BadValue("/text", "The better answer is the same as the one that it should replace.")
    better, _ = add_response(
        author=author, prompt=response.prompt, text=text, origin=author.origin, parent=response, audited=False
    )
    act = Act.objects.create(project_id=response.project_id, kind="rewrite", author=author.user, agent=author.agent)
    about |= {"assignment": assignment, "client_key": client_key, "act": act}
    row = building.rewrite(author=author, response=response, better=better, **about)
    return store(row, "rewrite.given", author=author, project=response.project)


@transaction.atomic
def rank(*, author: Author, places: list[list[Response]], **about: Any) -> tuple[Ranking, bool]:
    """Answers to one prompt in order, the best place first; answers that share a place are tied."""
    row = building.ranking(author=author, places=places, **about)
    return store(row, "ranking.given", author=author, project=places[0][0].project)


@transaction.atomic
def choose(*, author: Author, offered: list[Response], chosen: Response | None, **about: Any) -> tuple[Choice, bool]:
    """One answer picked out of several, or none of them."""
    row = building.choice(author=author, offered=offered, chosen=chosen, **about)
    return store(row, "choice.made", author=author, project=offered[0].project)


@transaction.atomic
def tell_outcome(*, author: Author, response: Response, stage: str, **told: Any) -> tuple[Outcome, bool]:
    """What happened after the answer: told at once, or judged in hindsight."""
    row = building.outcome(author=author, response=response, stage=stage, **told)
    return store(row, "outcome.told", author=author, project=response.project)


@transaction.atomic
def report(*, author: Author, response: Response, reason: str, **about: Any) -> tuple[Report, bool]:
    """Something about the answer that an admin must see."""
    row = building.report(author=author, response=response, reason=reason, **about)
    return store(row, "report.made", author=author, project=response.project)


@transaction.atomic
def retract(*, author: Author, row: FeedbackRecord) -> FeedbackRecord:
    """Take back any kind of record; it stays readable."""
    return records.retract(author=author, row=row, action=f"{row._meta.model_name}.retracted")


def store(row: Any, action: str, *, author: Author, project: Project) -> tuple[Any, bool]:
    """Insert once, with one line in the audit trail. What belongs to closed work is refused, unless it is a repeat."""
    if stored_under(type(row), row.project_id, row.client_key) is None:
        records.check_open(row.assignment)
    stored, is_new = create_once(row)
    if is_new:
        author.audit(action, project=project, subject=stored)
    return stored, is_new


def settle_critique(
    *, author: Author, task: Task, assignment: Assignment, verdict: str, words: str, again: bool
) -> None:
    """The words that a submit brings: new, a new version of the ones before a reopening, or taken back."""
    check_verdict(verdict, words)
    live = Critique.objects.filter(assignment=assignment, ended_at=None).first()
    if (live.verdict, live.text) == (verdict, words) if live else not (verdict or words):
        return
    refuse_other(again)
    if live is None:
        critique(author=author, response=task.response, text=words, verdict=verdict, assignment=assignment)
    elif verdict or words:
        replace(author=author, live=live, action="critique.amended", verdict=verdict, text=words)
    else:
        records.retract(author=author, row=live, action="critique.retracted")


def settle_preference(
    *, author: Author, task: Task, assignment: Assignment, compared: Compared | None, again: bool
) -> None:
    """The choice that a submit brings. One given before (by `prefer`, or before a reopening) is enough, or replaced."""
    live = Preference.objects.filter(assignment=assignment, ended_at=None).first()
    if compared is None:
        if live is None:
            raise BadValue("/preference", "Choose first: left, right, tie, neither.", code="assignment.nothing_chosen")
        return
    named = {**asdict(compared), "choice": by_name(task, compared.choice)}
    check_compared(Compared(**named))
    if live is not None and all(getattr(live, name) == value for name, value in named.items()):
        return
    refuse_other(again)
    if live is not None:
        replace(author=author, live=live, action="preference.amended", **named)
        return
    pair = {"a": task.response, "b": task.other, "shown_first": shown_first(task)}
    prefer(author=author, compared=Compared(**named), assignment=assignment, **pair)


def refuse_other(again: bool) -> None:
    if again:
        raise AssignmentClosed("You have submitted this with another answer. Reopen it to change that.")


def replace(*, author: Author, live: FeedbackRecord, action: str, **changes: Any) -> FeedbackRecord:
    """A new version of `live` with `changes`. Inside a transaction."""
    before = records.lock_live(type(live), live.lineage, project_id=live.project_id)
    records.check_author(author, before)
    after = records.next_version(before, **changes)
    records.end(before, by=author.user, reason="superseded")
    after.save(force_insert=True)
    author.audit(action, project=before.project, subject=after, version=after.version)
    return after
