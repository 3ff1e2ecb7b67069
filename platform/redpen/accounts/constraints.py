"""Under concurrency a constraint decides; an action turns its name into our words."""

from __future__ import annotations

from django.db import IntegrityError


def constraint_of(error: IntegrityError) -> str:
    """The name of the constraint that refused the row."""
    diagnosis = getattr(error.__cause__, "diag", None)
    return (diagnosis.constraint_name if diagnosis else None) or ""
