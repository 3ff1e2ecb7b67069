"""Claims what is due and sends it, many at a time. Rows are the truth: pumps may run twice, die, or never be rung for.

A claim sets a lease and counts `attempt` up; what an attempt has to say is written only while it is still the latest.
A sender that dies in the middle loses its lease, and the same message goes out again under the same id.
"""

from __future__ import annotations

import json
import logging
import queue
import random
import threading
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models.functions import Now

from annotation.errors import BadValue
from annotation.models.webhooks import Webhook, WebhookDelivery
from annotation.webhooks import sending
from annotation.webhooks.addresses import read_url
from annotation.webhooks.bell import ring
from annotation.webhooks.health import HOLD_AFTER, note
from annotation.webhooks.sending import AT_ONCE, Message, Outcome, Sender

log = logging.getLogger(__name__)
State = WebhookDelivery.State
MINUTE, HOUR = 60, 3600
# seconds from one try to the next: eight tries in a day and a quarter of an hour
PAUSES = (5, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 4 * HOUR, 6 * HOUR, 12 * HOUR - 20 * MINUTE)
LEASE = 3 * sending.SECONDS
AT_ONE = 4  # deliveries under way at one webhook; one, when it is slow or fails
SLOW_MS = 2000
TURN = 30.0  # seconds for which one pump claims before it makes room for other work

CLAIM = """
WITH chosen AS MATERIALIZED (
    SELECT due.id FROM annotation_webhook w
    CROSS JOIN LATERAL (
        SELECT count(*) AS many FROM annotation_webhookdelivery f
        WHERE f.webhook_id = w.id AND f.state = 'sending' AND f.due_at > clock_timestamp()
    ) flying
    CROSS JOIN LATERAL (
        SELECT d.id FROM annotation_webhookdelivery d
        WHERE d.webhook_id = w.id AND d.state IN ('due', 'sending', 'failed') AND d.due_at <= clock_timestamp()
        ORDER BY d.due_at
        LIMIT greatest(0, CASE WHEN w.failures >= %(hold_after)s OR w.last_ms >= %(slow)s THEN 1 ELSE %(at_one)s END
            - flying.many)
        FOR UPDATE SKIP LOCKED
    ) due
    WHERE w.enabled AND coalesce(w.held_until <= clock_timestamp(), true)
    ORDER BY random() LIMIT %(room)s
)
UPDATE annotation_webhookdelivery d
SET state = 'sending', attempt = d.attempt + 1, tries = d.tries + 1, tried_at = clock_timestamp(),
    due_at = clock_timestamp() + make_interval(secs => %(lease)s)
FROM chosen, annotation_webhook w, accounts_project p
WHERE d.id = chosen.id AND w.id = d.webhook_id AND p.id = d.project_id
RETURNING d.id, d.attempt, d.tries, d.event, d.payload, d.created_at, w.id, w.url, w.test, p.slug, w.secret,
    CASE WHEN w.old_until > clock_timestamp() THEN w.old_secret ELSE '' END
"""


@dataclass(frozen=True)
class Claim:
    """A delivery and the attempt that holds it."""

    id: UUID
    attempt: int
    tries: int
    webhook: UUID


def claim(room: int) -> list[tuple[Claim, Message | None]]:
    """Take up to `room` deliveries that are due. A message is None where the webhook's address is no longer taken."""
    values = {
        "room": room,
        "lease": LEASE,
        "at_one": AT_ONE,
        "slow": SLOW_MS,
        "hold_after": HOLD_AFTER,
    }
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(CLAIM, values)
        rows = cursor.fetchall()
    return [(Claim(row[0], row[1], row[2], row[6]), message(*row)) for row in rows]


def message(pk: UUID, attempt: int, tries: int, event: str, payload: Any, at: datetime, *more: Any) -> Message | None:
    _, url, test, project, secret, old = more
    try:
        target = read_url(url)
    except BadValue:  # WEBHOOK_ALLOW no longer names it
        return None
    events = payload if isinstance(payload, list) else json.loads(payload)
    body = sending.body_of(event=event, at=at, project=project, test=test, events=events)
    return Message(id=f"msg_{pk.hex}", target=target, body=body, secrets=tuple(one for one in (secret, old) if one))


NOT_TAKEN = Outcome(status=None, error="Redpen does not call addresses of this kind. Change the address.", took_ms=0)

stopping = threading.Event()  # the worker is being stopped: what is under way ends, nothing more is taken
_pumping = threading.Lock()
_rung = threading.Event()


def pump() -> int:
    """Send all that is due; how many tries that took. One pump works in a process: a second leaves word with it."""
    done = 0
    _rung.set()  # before the lock is asked for: whoever holds it looks here after letting it go
    while _rung.is_set() and not stopping.is_set() and _pumping.acquire(blocking=False):
        try:
            _rung.clear()
            done += turn()
        finally:
            _pumping.release()
    return done


def turn(seconds: float = TURN) -> int:
    ended: queue.SimpleQueue[tuple[Claim, Outcome]] = queue.SimpleQueue()
    until = time.monotonic() + seconds
    done = flying = 0
    with Sender(lambda claim, outcome: ended.put((claim, outcome))) as sender:
        while True:
            takes = time.monotonic() < until and flying < AT_ONCE and not stopping.is_set()
            claimed = claim(AT_ONCE - flying) if takes else []
            for held, what in claimed:
                if what is None:
                    ended.put((held, NOT_TAKEN))
                else:
                    sender.send(held, what)
            flying += len(claimed)
            if not flying:
                break
            outcomes = gathered(ended)
            for held, outcome in outcomes:
                settle(held, outcome)
            flying -= len(outcomes)
            done += len(outcomes)
    if time.monotonic() >= until:
        ring()  # there may be more
    return done


def gathered(ended: queue.SimpleQueue) -> list[tuple[Claim, Outcome]]:
    """What has ended, waiting a moment for the first: new deliveries fall due meanwhile."""
    outcomes = []
    try:
        outcomes.append(ended.get(timeout=0.25))
        while len(outcomes) < AT_ONCE:
            outcomes.append(ended.get_nowait())
    except queue.Empty:
        pass
    return outcomes


@transaction.atomic
def settle(held: Claim, outcome: Outcome) -> bool:
    """Write what became of a try: the webhook's row first, then the delivery's. False: it is no longer ours to say."""
    # no_key: whoever writes a delivery for this webhook need not wait
    hooks = Webhook.objects.select_for_update(of=("self",), no_key=True).select_related("project")
    hook = hooks.filter(pk=held.webhook).first()
    told = {"status": outcome.status, "error": outcome.error, "took_ms": outcome.took_ms}
    mine = WebhookDelivery.objects.filter(pk=held.id, attempt=held.attempt, state=State.SENDING)
    if not outcome.error:
        ours = mine.update(state=State.DELIVERED, due_at=None, ended_at=Now(), **told)
    elif outcome.gone or held.tries > len(PAUSES):
        ours = mine.update(state=State.GIVEN_UP, due_at=None, ended_at=Now(), **told)
    else:
        ours = mine.update(state=State.FAILED, due_at=Now() + pause(held.tries, outcome), **told)
    if ours and hook is not None:
        note(hook, outcome)
    log.info(
        "webhook.tried",
        extra={
            "delivery": str(held.id),
            "webhook": str(held.webhook),
            "try": held.tries,
            "status": outcome.status,
            "took_ms": outcome.took_ms,
            "arrived": not outcome.error,
            "counted": bool(ours),
        },
    )
    return bool(ours)


def pause(tries: int, outcome: Outcome) -> timedelta:
    """Until the next try, give or take a fifth, so that what failed together does not come back together."""
    seconds = PAUSES[tries - 1] * random.uniform(0.8, 1.2)
    return timedelta(seconds=max(seconds, outcome.retry_after))


def anything_due() -> bool:
    """Something that a pump would take now: the bell was lost, a try is due, or a sender has died."""
    due = WebhookDelivery.objects.filter(state__in=["due", "sending", "failed"], due_at__lte=Now())
    ready = due.filter(webhook__enabled=True).exclude(webhook__held_until__gt=Now())
    return ready.exists()
