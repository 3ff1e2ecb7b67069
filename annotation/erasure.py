"""Deleting for good. A retracted record stays readable; only erasing a person, a project or a prompt takes rows away,
and what is too old to be kept.

The database refuses a DELETE of feedback anywhere else (migration 0002), cascades from Python included.

What knows of people's words elsewhere registers here: a step in the erasing transaction (`in_transaction`), a step for
files (`afterwards`), and for each column of a table that may hold words or names what becomes of it (`columns`). A test
fails for a column without a rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import connection, models, transaction

from redpen.accounts.models import Project


@contextmanager
def erasing() -> Iterator[None]:
    """One transaction in which feedback may be deleted: `with erasing(): project.delete()`."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            # local to the (sub)transaction: a rollback takes it back, and so does the end
            cursor.execute("SELECT set_config('redpen.erasing', 'on', true)")
        yield
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('redpen.erasing', 'off', true)")


class Rule(StrEnum):
    """What becomes of a column when a user of a product is erased."""

    WITH_THE_ROW = "the user's rows are deleted, and those about their answers"
    SCRUBBED = "a step looks for the user's words in it and takes them out"
    BY_AGE = "the row is deleted after some days, whoever asks"
    NOT_THEIRS = "it holds what the project's own people or programs wrote, or a name out of a fixed list"


RULES: dict[type[models.Model], dict[str, Rule]] = {}


def columns(model: type[models.Model], rule: Rule, names: str) -> None:
    """Register the rule of some columns (names apart by blanks)."""
    RULES.setdefault(model, {}).update(dict.fromkeys(names.split(), rule))


@dataclass
class Gone:
    """What is being erased: the ids of all rows that go and the words in them; `users` in the transaction only."""

    name: str  # the id of the erasure
    project: Project
    until: datetime
    users: list[str] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    texts: list[str] = field(default_factory=list)


Step = Callable[[Gone], dict[str, int]]
Follow = Callable[[Gone], dict[str, Any]]
_in_transaction: list[Step] = []
_afterwards: list[Follow] = []


Look = Callable[[Project, set[str]], dict[str, int]]
_looks: list[Look] = []


class NotYet(Exception):
    """A step for files cannot end at this moment; the message says what it waits for. It is tried again, and `report`
    is what it knows so far.
    """

    def __init__(self, message: str, report: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.report = report or {}


def in_transaction(step: Step) -> Step:
    """A decorator: `step(gone)` runs while the rows are deleted; gives {what: how many}."""
    if step not in _in_transaction:
        _in_transaction.append(step)
    return step


def afterwards(step: Follow) -> Follow:
    """A decorator: `step(gone)` runs in a worker after the commit, again until it does not raise NotYet. It must bear
    being repeated. What it gives is shown as a part of the report.
    """
    if step not in _afterwards:
        _afterwards.append(step)
    return step


def holding(look: Look) -> Look:
    """A decorator: `look(project, ids)` says what holds these rows still, such as snapshots: {its id: how many}."""
    if look not in _looks:
        _looks.append(look)
    return look


def held(project: Project, ids: set[str]) -> dict[str, int]:
    return {name: count for look in _looks if ids for name, count in look(project, ids).items()}


def run_in_transaction(gone: Gone) -> dict[str, int]:
    counts: dict[str, int] = {}
    for step in _in_transaction:
        for what, count in step(gone).items():
            counts[what] = counts.get(what, 0) + count
    return counts


def follow(gone: Gone) -> Iterator[dict[str, Any]]:
    for step in _afterwards:
        yield step(gone)
