"""Events become due rows, in the transaction of what they tell about: what is committed is told, and nothing else.

For code that writes one thing:

    emit(project=run.project, event="run.succeeded", key=str(run.pk), data={...})

For a pass that sees many (annotation.actions.counting), inside the transaction in which it moves its cursor on:

    wanted = listening("reaction.created", "response.created")       # {(project id, test, event), ...}
    if (project_id, False, "reaction.created") in wanted:
        emit_many(project_id=project_id, event="reaction.created", test=False,
                  items=[(str(row.pk), payloads.reaction(row)) for row in rows])

The same emission repeated (the same keys, in the same order) adds nothing. Neither function asks the network or waits:
a bell is rung after the commit, and a sweeper finds what it misses.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.db import transaction
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
    """Write a due row for every webhook that listens, up to 100 events in one delivery.

    Give `items` as (key, payload), the payload JSON-ready. Call it in the transaction of what happened (or, for a pass
    over many rows, of the pass's cursor). How many deliveries that makes.
    """
    if not items:
        return 0
    hooks = list(hooks_for(project_id=project_id, event=event, test=test).select_related("project").order_by("id"))
    batches = list(parts(items)) if hooks else []
    return sum(add(hook, event, batches) for hook in hooks if not overflows(hook))


def hooks_for(*, project_id: UUID, event: str, test: bool = False) -> QuerySet[Webhook]:
    """The webhooks that hear of it."""
    return Webhook.objects.filter(project_id=project_id, enabled=True, test=test, events__contains=[event])


def listening(*events: str) -> set[tuple[UUID, bool, str]]:
    """(project, test, event) of each of these events that some webhook wants: the rest need not be made ready."""
    hooks = Webhook.objects.filter(enabled=True, events__overlap=list(events)).values_list("project", "test", "events")
    return {(project, test, event) for project, test, wanted in hooks for event in wanted if event in events}


def add(hook: Webhook, event: str, batches: Iterable[dict[str, Any]]) -> int:
    """Due rows for one webhook; how many are new."""
    rows = [
        WebhookDelivery(
            project_id=hook.project_id,
            webhook=hook,
            event=event,
            event_id=name_of(event, list(batch)),
            keys=list(batch),
            payload=list(batch.values()),
        )
        for batch in batches
    ]
    # the unique index on (webhook, event_id) decides, for two who tell the same at the same time as well
    WebhookDelivery.objects.bulk_create(rows, ignore_conflicts=True)
    added = WebhookDelivery.objects.filter(pk__in=[row.pk for row in rows]).count()
    if added:
        transaction.on_commit(ring)
    return added


def name_of(event: str, keys: list[str]) -> str:
    """The name of an emission: the same events make the same name."""
    whole = f"{event}:{keys[0]}"
    if len(keys) == 1 and len(whole) <= 100:
        return whole
    return f"{event}:{sha256(chr(10).join(keys).encode()).hexdigest()}"


def parts(items: Sequence[Item]) -> Iterable[dict[str, Any]]:
    """Deliveries' worth of events, by number and by size: {key: event}."""
    batch: dict[str, Any] = {}
    total = 0
    for key, data in items:
        fitting, size = fitted(data)
        if batch and (len(batch) == MOST_EVENTS or total + size > MOST_BYTES):
            yield batch
            batch, total = {}, 0
        batch[key] = fitting
        total += size
    if batch:
        yield batch


def fitted(data: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """The event and its size. Of one that is too large the long fields become null, and `left_out` names them."""
    size = size_of(data)
    if size <= MOST_ITEM_BYTES:
        return data, size
    long = [name for name, value in data.items() if size_of(value) > LONG]
    data = {**data, **dict.fromkeys(long), "left_out": long}
    return data, size_of(data)


def size_of(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
