"""A project's API keys, to read. Their secrets are not there to be read."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from redpen.accounts.errors import NotFound
from redpen.accounts.models import ApiKey, Project

ENDED = Q(revoked_at__isnull=False) | Q(expires_at__lte=Now())
STATES = ("usable", "ended")  # what a list can be narrowed to


def keys_of(project: Project, *, state: str = "") -> QuerySet[ApiKey]:
    """The project's keys, all or only those that are `usable` or have `ended`. Page them with pages.page_of."""
    rows = ApiKey.objects.filter(project=project).select_related("created_by", "rotated_to")
    if state == "usable":
        return rows.exclude(ENDED)
    return rows.filter(ENDED) if state == "ended" else rows


def find_key(project: Project, key_id: UUID) -> ApiKey:
    found = keys_of(project).filter(pk=key_id).first()
    if found is None:
        raise NotFound("There is no such key in this project.")
    return found


def state_of(key: ApiKey) -> str:
    """`revoked`, `expired`, `rotated` (its successor is there, it still works for a while), `ends soon`, or `works`."""
    now = timezone.now()
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    if key.rotated_to_id:
        return "rotated"
    if key.expires_at is not None and key.expires_at <= now + timedelta(days=7):
        return "ends soon"
    return "works"
