"""Writes that may come twice: the same key with the same content is the same record.

The constraint decides under concurrency; nobody looks first and hopes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from django.db import IntegrityError, models, transaction

from annotation.errors import BadValue, OtherContent
from redpen.accounts.constraints import constraint_of

Row = TypeVar("Row", bound=models.Model)


def create_once(row: Row, *, compare: Iterable[str]) -> tuple[Row, bool]:
    """Insert `row`; where its client_key is taken, the record that took it, if it has the same `compare` fields.

    Raises OtherContent when it has not. The second value is True for a new record.
    """
    check_key(row.client_key)  # type: ignore[attr-defined]
    try:
        with transaction.atomic():
            row.save(force_insert=True)
        return row, True
    except IntegrityError as error:
        if not constraint_of(error).endswith("client_key_once"):
            raise
    return same_or_refuse(row, compare=compare), False


def same_or_refuse(row: Row, *, compare: Iterable[str]) -> Row:
    """The stored record with the key of `row`, which must say the same."""
    stored = type(row)._default_manager.get(project_id=row.project_id, client_key=row.client_key)  # type: ignore[attr-defined]
    differs = [name for name in compare if getattr(stored, name) != getattr(row, name)]
    if differs:
        raise OtherContent(key=row.client_key, differs=[name.removesuffix("_id") for name in differs])  # type: ignore[attr-defined]
    return stored


def stored_under(model: type[Row], *, project_id: Any, client_key: str | None) -> Row | None:
    """What an earlier attempt with this key brought, or None."""
    if client_key is None:
        return None
    check_key(client_key)
    return model._default_manager.filter(project_id=project_id, client_key=client_key).first()


def check_key(client_key: str | None) -> None:
    if client_key is not None and not (0 < len(client_key) <= 100 and client_key.isprintable()):
        raise BadValue("/client_key", "A key has 1 to 100 printable characters.", code="idempotency.bad_key")
