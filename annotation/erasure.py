"""Deleting for good. A retracted record stays readable; only erasing a person, a project or a prompt takes rows away.

The database refuses a DELETE of feedback anywhere else (migration 0002), cascades from Python included.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import connection, transaction


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
