"""What people do with webhooks: make, change, rotate the secret, ping, switch off, send a delivery once more."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from annotation import text as texts
from annotation.errors import BadValue
from annotation.models.webhooks import Event, Webhook, WebhookDelivery, new_webhook_secret
from annotation.webhooks.addresses import read_url
from annotation.webhooks.bell import ring
from annotation.webhooks.outbox import add
from redpen.accounts import audit
from redpen.accounts.errors import Conflict
from redpen.accounts.ids import new_id
from redpen.accounts.models import Project, User

MOST_HOOKS = 16  # switched on, in one project
OVERLAP = timedelta(hours=24)  # for which the old secret signs beside the new one
LISTENABLE = tuple(event for event in Event.values if event != Event.TEST)


@transaction.atomic
def create_webhook(
    *, user: User, project: Project, url: str, events: Sequence[str], name: str = "", test: bool = False
) -> Webhook:
    """A webhook that is switched on. Its secret is in the row; show it this once."""
    fields = {"url": checked_url(url), "events": checked_events(events), "name": checked_name(name)}
    check_room(project)
    hook = Webhook.objects.create(project=project, test=test, created_by=user, **fields)
    about = {"events": hook.events, "test": test}
    audit.record("webhook.made", project=project, actor=user, subject=hook, **about)
    return hook


@transaction.atomic
def change_webhook(*, user: User, hook: Webhook, **changes: Any) -> Webhook:
    """Change url, events, name or enabled. Switched on again, it is forgiven, and what waited is sent."""
    hook = lock(hook)
    checks = {"url": checked_url, "events": checked_events, "name": checked_name, "enabled": bool}
    values = {name: checks[name](value) for name, value in changes.items()}
    differs = sorted(name for name, value in values.items() if getattr(hook, name) != value)
    if not differs:
        return hook
    if "enabled" in differs:
        if values["enabled"]:
            check_room(hook.project)
            values |= {"disabled_reason": "", "disabled_at": None}
        else:
            values |= {"disabled_reason": "Switched off by hand.", "disabled_at": Now()}
    if values.get("enabled", hook.enabled) and {"enabled", "url"} & set(differs):
        values |= {"failures": 0, "failing_since": None, "held_until": None, "last_ms": 0}
    Webhook.objects.filter(pk=hook.pk).update(**values)
    audit.record("webhook.changed", project=hook.project, actor=user, subject=hook, changed=differs)
    transaction.on_commit(ring)
    hook.refresh_from_db()
    return hook


def switch_off_webhook(*, user: User, hook: Webhook) -> Webhook:
    """Nothing is sent any more, and nothing new is written down for it. Its log stays."""
    return change_webhook(user=user, hook=hook, enabled=False)


@transaction.atomic
def rotate_secret(*, user: User, hook: Webhook) -> Webhook:
    """A new secret; for a day the one before signs too, so that the receiver can change at leisure."""
    hook = lock(hook)
    Webhook.objects.filter(pk=hook.pk).update(
        secret=new_webhook_secret(), old_secret=hook.secret, old_until=Now() + OVERLAP
    )
    audit.record("webhook.secret_rotated", project=hook.project, actor=user, subject=hook)
    hook.refresh_from_db()
    return hook


@transaction.atomic
def ping(*, user: User, hook: Webhook) -> WebhookDelivery:
    """Send a `webhook.test`, whatever the webhook listens to."""
    hook = lock(hook)
    if not hook.enabled:
        raise Conflict("This webhook is switched off. Switch it on first.", code="webhook.off")
    key = str(new_id())
    add(hook, Event.TEST, [{key: {"id": key, "webhook": str(hook.pk), "message": "Hello from Redpen."}}])
    # somebody is waiting for this one: it need not wait until a receiver in trouble is tried again
    Webhook.objects.filter(pk=hook.pk).update(held_until=None)
    audit.record("webhook.pinged", project=hook.project, actor=user, subject=hook)
    return WebhookDelivery.objects.get(webhook=hook, keys=[key])


@transaction.atomic
def redeliver(*, user: User, delivery: WebhookDelivery) -> WebhookDelivery:
    """Send it now, under the same id, with all its tries before it."""
    hook = delivery.webhook
    if not hook.enabled:
        raise Conflict("This webhook is switched off. Switch it on first.", code="webhook.off")
    idle = WebhookDelivery.objects.filter(Q(due_at=None) | Q(state="failed") | Q(due_at__lt=Now()), pk=delivery.pk)
    if not idle.update(**WebhookDelivery.waiting()):
        raise Conflict("It is being sent at this moment.", code="delivery.under_way")
    Webhook.objects.filter(pk=hook.pk).update(held_until=None)
    audit.record("webhook.redelivered", project=delivery.project, actor=user, subject=delivery)
    transaction.on_commit(ring)
    delivery.refresh_from_db()
    return delivery


def lock(hook: Webhook) -> Webhook:
    """The project's row first, then the webhook's: the one order of locks."""
    Project.objects.select_for_update(no_key=True).get(pk=hook.project_id)
    rows = Webhook.objects.select_for_update(of=("self",), no_key=True)
    return rows.select_related("project", "created_by").get(pk=hook.pk)


def check_room(project: Project) -> None:
    # two who make the last one wait for each other
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    if Webhook.objects.filter(project=project, enabled=True).count() >= MOST_HOOKS:
        raise Conflict(
            f"A project has at most {MOST_HOOKS} webhooks that are switched on. Switch one off first.",
            code="webhook.too_many",
        )


def checked_url(url: str) -> str:
    return str(read_url(texts.check(url, "/url")))


def checked_name(name: str) -> str:
    name = texts.check(name, "/name").strip()
    if len(name) > 60:
        raise BadValue("/name", "A name has at most 60 characters.")
    return name


def checked_events(events: Sequence[str]) -> list[str]:
    if unknown := [event for event in events if event not in LISTENABLE]:
        raise BadValue("/events", f"There is no event '{unknown[0]}'. There are: {', '.join(LISTENABLE)}.")
    if not events:
        raise BadValue("/events", "Choose at least one event.")
    return [event for event in LISTENABLE if event in events]
