"""Events become due rows, in the transaction of what they tell about: what is committed is told, and nothing else.

For code that writes one thing:

    emit(project=run.project, event="run.succeeded", key=str(run.pk), data={...})

For a pass that sees many (annotation.actions.counting), inside the transaction in which it moves its cursor on:

    wanted = listening("reaction.created", "response.created")       # {(project id, test, event), ...}
    if (project_id, False, "reaction.created") in wanted:
        emit_many(project_id=project_id, event="reaction.created", test=False,
                  items=[(str(row.pk), payloads.reaction(row)) for row in rows])

An event with a key that a webhook was told of before adds nothing for that webhook, however it is batched the second
time. Neither function asks the network or waits; a bell is rung after the commit, and a sweeper finds what it misses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import QuerySet

from annotation.models.webhooks import Webhook, WebhookDelivery
from annotation.webhooks.bell import ring
from annotation.webhooks.health import overflows
from redpen.accounts.models import Project

MOST_EVENTS = 100  # in one delivery
MOST_BYTES = 1 << 20  # of one delivery
MOST_ITEM_BYTES = 256 << 10  # of one event; longer texts in it are left out and named
LONG = 1000

Item = tuple[str, dict[str, Any]]  # the event's key, and what the receiver gets


def emit(*, project: Project, event: str, key: str, data: dict[str, Any], test: bool = False) -> int:
    """One event, now; `key` is unique for the type in the project (the id of what it is about)."""
    return emit_many(project_id=project.pk, event=event, items=[(key, data)], test=test)


def emit_many(*, project_id: UUID, event: str, items: Sequence[Item], test: bool = False) -> int:
    """Write what every webhook that listens has not heard of yet, up to 100 events in one delivery.

    Give `items` as (key, payload), the payload JSON-ready. Call it in the transaction of what happened (or, for a pass
    over many rows, of the pass's cursor). How many deliveries that makes.
    """
    if not items:
        return 0
    hooks = hooks_for(project_id=project_id, event=event, test=test).select_related("project").order_by("id")
    return sum(add(hook, event, items) for hook in hooks if not overflows(hook))


def hooks_for(*, project_id: UUID, event: str, test: bool = False) -> QuerySet[Webhook]:
    """The webhooks that hear of it."""
    return Webhook.objects.filter(project_id=project_id, enabled=True, test=test, events__contains=[event])


def listening(*events: str) -> set[tuple[UUID, bool, str]]:
    """(project, test, event) of each of these events that some webhook wants: the rest need not be made ready."""
    hooks = Webhook.objects.filter(enabled=True, events__overlap=list(events)).values_list("project", "test", "events")
    return {(project, test, event) for project, test, wanted in hooks for event in wanted if event in events}


def add(hook: Webhook, event: str, items: Sequence[Item]) -> int:
    """Due rows for one webhook."""
    known = heard_of(hook, event, [key for key, _ in items])
    fresh = {key: fitted(data) for key, data in items if key not in known}
    rows = [
        WebhookDelivery(
            project_id=hook.project_id,
            webhook=hook,
            event=event,
            event_id=name_of(event, list(part)),
            keys=list(part),
            payload=list(part.values()),
        )
        for part in parts(fresh)
    ]
    if rows:
        WebhookDelivery.objects.bulk_create(rows, ignore_conflicts=True)
        transaction.on_commit(ring)
    return len(rows)


HEARD = """
SELECT DISTINCT k FROM annotation_webhookdelivery d CROSS JOIN LATERAL unnest(d.keys) AS k
WHERE d.keys && %(keys)s::varchar[] AND d.webhook_id = %(hook)s AND d.event = %(event)s
    AND k = ANY (%(keys)s::varchar[])
"""


def heard_of(hook: Webhook, event: str, keys: list[str]) -> set[str]:
    """Those of the keys that this webhook has a delivery about."""
    with connection.cursor() as cursor:
        cursor.execute(HEARD, {"keys": keys, "hook": hook.pk, "event": event})
        return {row[0] for row in cursor.fetchall()}


def name_of(event: str, keys: list[str]) -> str:
    """The name of an emission: two that race with the same events in them meet at the unique index."""
    if len(keys) == 1:
        return f"{event}:{keys[0]}"[:100]
    return f"{event}:{sha256(chr(10).join(keys).encode()).hexdigest()}"


def parts(fresh: dict[str, str]) -> Iterable[dict[str, Any]]:
    """Deliveries' worth of events, by number and by size."""
    part: dict[str, Any] = {}
    size = 0
    for key, text in fresh.items():
        if part and (len(part) == MOST_EVENTS or size + len(text) > MOST_BYTES):
            yield part
            part, size = {}, 0
        part[key] = json.loads(text)
        size += len(text)
    if part:
        yield part


def fitted(data: dict[str, Any]) -> str:
    """The event as JSON. Of one that is too large the long fields become null, and `left_out` names them."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False)
    if len(text.encode()) <= MOST_ITEM_BYTES:
        return text
    long = [name for name, value in data.items() if len(json.dumps(value)) > LONG]
    return json.dumps({**data, **dict.fromkeys(long), "left_out": long}, ensure_ascii=False)
