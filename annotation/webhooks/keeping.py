"""How long deliveries are kept: they hold what people said."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.db import connection
from django.db.models.functions import Now

from annotation.models.webhooks import WebhookDelivery

KEEP_DELIVERED = timedelta(days=7)
KEEP_GIVEN_UP = timedelta(days=30)


def clean_up(most: int = 2000) -> int:
    """Old deliveries go, and people's words with them."""
    old = WebhookDelivery.objects.filter(ended_at__lt=Now() - KEEP_DELIVERED)
    old = old.exclude(state=WebhookDelivery.State.GIVEN_UP, ended_at__gte=Now() - KEEP_GIVEN_UP)
    oldest = list(old.order_by("ended_at").values_list("pk", flat=True)[:most])
    return WebhookDelivery.objects.filter(pk__in=oldest).delete()[0]


FORGET = """
DELETE FROM annotation_webhookdelivery WHERE id IN (
    SELECT d.id FROM annotation_webhookdelivery d CROSS JOIN LATERAL unnest(d.keys) AS told
    JOIN unnest(%(keys)s::varchar[]) AS wanted ON wanted = told WHERE d.project_id = %(project)s
)
"""


def forget(*, project_id: UUID, keys: Iterable[str] = (), external_user: str = "") -> int:
    """Erasing: deliveries that tell about these records, or in whose payload this user is named, go altogether."""
    rows = WebhookDelivery.objects.filter(project_id=project_id)
    gone = 0
    if wanted := list(keys):
        with connection.cursor() as cursor:
            cursor.execute(FORGET, {"project": project_id, "keys": wanted})
            gone = cursor.rowcount
    if external_user:
        gone += rows.filter(payload__contains=[{"user": external_user}]).delete()[0]
    return gone
