"""Writes that may come twice: the same key with the same content is the same record.

The constraint decides under concurrency; nobody looks first and hopes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from django.db import IntegrityError, models, transaction

from annotation.actions.building import SAME
from annotation.errors import BadValue, OtherContent
from annotation.webhooks.telling import records_created
from redpen.accounts.constraints import constraint_of

Row = TypeVar("Row", bound=models.Model)


def create_once(row: Row) -> tuple[Row, bool]:
    """Insert `row`; where its client_key is taken, the record that took it, if it says the same (building.SAME).

    Raises OtherContent when it does not. The second value is True for a new record.
    """
    check_key(row.client_key)  # type: ignore[attr-defined]
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            records_created([row])
        return row, True
    except IntegrityError as error:
        if not constraint_of(error).endswith("client_key_once"):
            raise
    return same_or_refuse(stored_under(type(row), row.project_id, row.client_key), row), False  # type: ignore


def create_many_once(rows: Sequence[Row]) -> tuple[list[Row], int]:
    """The bulk form: the stored record for each place (repeats included), and how many are new."""
    if not rows:
        return [], 0
    model, project_id = type(rows[0]), rows[0].project_id  # type: ignore[attr-defined]
    firsts: dict[str, Row] = {}
    fresh: list[Row] = []
    places: list[Row] = []
    for row in rows:
        check_key(row.client_key)  # type: ignore[attr-defined]
        row.lineage = row.lineage or row.id  # type: ignore[attr-defined]
        first = row if row.client_key is None else firsts.setdefault(row.client_key, row)  # type: ignore[attr-defined]
        if first is row:
            fresh.append(row)
        else:
            same_or_refuse(first, row)
        places.append(first)
    stored = known(model, project_id, firsts)
    fresh = [row for row in fresh if row.client_key not in stored]  # type: ignore[attr-defined]
    added = len(fresh)
    try:
        with transaction.atomic():
            model._default_manager.bulk_create(fresh, batch_size=500)
            records_created(fresh)
    except IntegrityError as error:
        if not constraint_of(error).endswith("client_key_once"):
            raise
        # Somebody brought some of them at this moment: once more, one by one.
        added = 0
        for row in fresh:
            kept, is_new = create_once(row)
            stored[kept.client_key], added = kept, added + is_new  # type: ignore[attr-defined]
    return [stored.get(row.client_key, row) for row in places], added  # type: ignore[attr-defined]


def known(model: type[Row], project_id: Any, wanted: dict[str, Row]) -> dict[str | None, Row]:
    """What is stored under these keys; raises OtherContent for one that says something else."""
    found = model._default_manager.filter(project_id=project_id, client_key__in=list(wanted))
    return {row.client_key: same_or_refuse(row, wanted[row.client_key]) for row in found}  # type: ignore[attr-defined]


def same_or_refuse(stored: Row, row: Row) -> Row:
    """`stored`, which must say the same as `row`."""
    differs = [name for name in SAME[type(row)] if getattr(stored, name) != getattr(row, name)]
    if differs:
        raise OtherContent(key=row.client_key, differs=[name.removesuffix("_id") for name in differs])  # type: ignore
    return stored


def stored_under(model: type[Row], project_id: Any, client_key: str | None) -> Row | None:
    """What an earlier attempt with this key brought, or None."""
    if client_key is None:
        return None
    check_key(client_key)
    return model._default_manager.filter(project_id=project_id, client_key=client_key).first()


def check_key(client_key: str | None) -> None:
    if client_key is not None and not (0 < len(client_key) <= 100 and client_key.isprintable()):
        raise BadValue("/client_key", "A key has 1 to 100 printable characters.", code="idempotency.bad_key")
