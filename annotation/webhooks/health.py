"""How a receiver does: it is well, it is held back for a while, or it is switched off with a reason."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models.functions import Now

from annotation.models.webhooks import Webhook, WebhookDelivery
from annotation.webhooks.sending import Outcome
from redpen.accounts import audit

log = logging.getLogger(__name__)
HOLD_AFTER = 3  # failures in a row; then nothing is tried for a while, longer each time
FIRST_HOLD, LONGEST_HOLD = 5, 600  # seconds
OFF_AFTER, OFF_HOURS = 8, 18  # failures in a row that last so long: one delivery's eight tries take longer than that
MOST_WAITING = 5000  # deliveries for a receiver that fails


def note(hook: Webhook, outcome: Outcome) -> None:
    """Keep what a try says of the receiver. `hook` is locked."""
    if not outcome.error:
        Webhook.objects.filter(pk=hook.pk).update(
            failures=0, failing_since=None, held_until=None, delivered_at=Now(), last_ms=outcome.took_ms
        )
        return
    failures, since = hook.failures + 1, hook.failing_since or datetime.now(UTC)
    changes: dict[str, Any] = {"failures": failures, "failing_since": since, "last_ms": outcome.took_ms}
    if failures >= HOLD_AFTER:
        seconds = min(LONGEST_HOLD, FIRST_HOLD * 2 ** min(failures - HOLD_AFTER, 10))
        changes["held_until"] = Now() + timedelta(seconds=seconds)
    Webhook.objects.filter(pk=hook.pk).update(**changes)
    failing = datetime.now(UTC) - since
    if outcome.gone:
        switch_off(hook, "The receiver answered 410 Gone: it wants no more.")
    elif failures >= OFF_AFTER and failing >= timedelta(hours=OFF_HOURS):
        hours = int(failing.total_seconds() // 3600)
        switch_off(hook, f"{failures} tries in a row have failed, for {hours} hours.")


def overflows(hook: Webhook) -> bool:
    """Switch off a receiver that fails while more and more waits for it. What it misses can be read back."""
    if hook.failures < HOLD_AFTER:
        return False
    waiting = WebhookDelivery.objects.filter(webhook=hook, state__in=["due", "sending", "failed"])
    if len(waiting.values_list("pk")[:MOST_WAITING]) < MOST_WAITING:
        return False
    # in somebody else's transaction, which must not wait for a webhook's row: then the next one does it
    if Webhook.objects.select_for_update(skip_locked=True, no_key=True).filter(pk=hook.pk, enabled=True).first():
        switch_off(hook, f"It fails, and {MOST_WAITING:,} deliveries were waiting for it.")
    return True


def switch_off(hook: Webhook, reason: str) -> None:
    changed = Webhook.objects.filter(pk=hook.pk, enabled=True).update(
        enabled=False, disabled_reason=reason, disabled_at=Now()
    )
    if changed:
        audit.record("webhook.switched_off", project=hook.project, agent="worker", subject=hook)
        log.warning("webhook.switched_off", extra={"webhook": str(hook.pk)})
