"""Webhooks: where a project's events are sent, and each delivery as a due row."""

from __future__ import annotations

import base64
import secrets
from datetime import datetime
from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from annotation.models.base import ProjectRow, unique_in_project
from redpen.accounts.models import User
from redpen.accounts.tenancy import SameProject


class Event(models.TextChoices):
    """What can be listened to. `webhook.test` is what the ping button sends, whatever a webhook listens to."""

    REACTION_CREATED = "reaction.created", _("a user reacted, or was shown an answer")
    RESPONSE_CREATED = "response.created", _("an answer came in")
    RECORD_CREATED = "record.created", _("somebody marked, judged, compared or rewrote an answer")
    RUN_SUCCEEDED = "run.succeeded", _("a training run made its model")
    RUN_FAILED = "run.failed", _("a training run failed")
    MODEL_PROMOTED = "model.promoted", _("a model went into production")
    TEST = "webhook.test", _("somebody pressed ping")


def new_webhook_secret() -> str:
    """A key as Standard Webhooks writes it: 32 random bytes."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class Webhook(ProjectRow):
    """One address of a receiver. The secrets are stored as they are, because we sign with them."""

    name = models.CharField(max_length=60, blank=True, help_text="what it is for")
    url = models.CharField(max_length=500, help_text="normalised by annotation.webhooks.addresses")
    events = ArrayField(models.CharField(max_length=40))
    test = models.BooleanField(default=False, help_text="hears of test data, and of nothing else")
    secret = models.CharField(max_length=80, default=new_webhook_secret, editable=False)
    old_secret = models.CharField(max_length=80, blank=True, editable=False, help_text="signs too, until old_until")
    old_until = models.DateTimeField(null=True, editable=False)
    enabled = models.BooleanField(default=True)
    disabled_reason = models.CharField(max_length=300, blank=True)
    disabled_at = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0, help_text="tries in a row that failed")
    failing_since = models.DateTimeField(null=True)
    held_until = models.DateTimeField(null=True, help_text="after several failures nothing is tried before this")
    last_ms = models.PositiveIntegerField(default=0, help_text="what the last try took: slow ones get one at a time")
    delivered_at = models.DateTimeField(null=True, help_text="the last delivery that arrived")
    created_by = models.ForeignKey(User, null=True, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            unique_in_project(),
            models.CheckConstraint(condition=~Q(events=[]), name="webhook_listens_to_something"),
            models.CheckConstraint(condition=Q(enabled=False) | Q(disabled_reason=""), name="webhook_on_for_no_reason"),
        ]
        indexes = [
            models.Index(fields=["project"], condition=Q(enabled=True), name="webhook_listening")  # who wants it
        ]

    def __str__(self) -> str:
        return self.name or self.url


class WebhookDelivery(ProjectRow):
    """One message to one webhook: up to 100 events of one type. The row says what is due; Celery only rings.

    `due_at` is when it is taken next; of one that is being sent, when its sender counts as dead. `attempt` grows with
    each claim and is the fence: what an older sender has to say is not written. `tries` is how often the schedule of
    retries has been used up; a redelivery by hand begins it anew.
    """

    class State(models.TextChoices):
        DUE = "due", _("due")
        SENDING = "sending", _("being sent")
        FAILED = "failed", _("failed, will be tried again")
        DELIVERED = "delivered", _("delivered")
        GIVEN_UP = "given_up", _("given up")

    # no index of its own: three below begin with it
    webhook = models.ForeignKey(Webhook, db_index=False, on_delete=models.CASCADE, related_name="deliveries")
    event = models.CharField(max_length=40, choices=Event.choices)
    event_id = models.CharField(max_length=100, help_text="of the emission: repeated, it adds nothing")
    keys = ArrayField(models.CharField(max_length=100), help_text="of the events inside: ids of what they are about")
    payload = models.JSONField(help_text="the events: a list")
    state = models.CharField(max_length=10, choices=State.choices, default=State.DUE)
    due_at = models.DateTimeField(null=True, db_default=Now())
    attempt = models.PositiveIntegerField(default=0)
    tries = models.PositiveIntegerField(default=0)
    status = models.PositiveSmallIntegerField(null=True, help_text="the last HTTP status")
    error = models.CharField(max_length=300, blank=True, help_text="in our words; nothing of what the receiver sent")
    tried_at = models.DateTimeField(null=True)
    took_ms = models.PositiveIntegerField(null=True, help_text="the last try")
    ended_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            unique_in_project(),
            SameProject(field="webhook", name="delivery_webhook_same_project"),
            models.UniqueConstraint(fields=["webhook", "event_id"], name="delivery_once"),
            models.CheckConstraint(
                condition=Q(state__in=["due", "sending", "failed"], due_at__isnull=False, ended_at=None)
                | Q(state__in=["delivered", "given_up"], due_at=None, ended_at__isnull=False),
                name="delivery_state_known",
            ),
        ]
        indexes = [
            # what is due at a webhook
            models.Index(
                fields=["webhook", "due_at"], condition=Q(state__in=["due", "sending", "failed"]), name="delivery_due"
            ),
            models.Index(fields=["webhook"], condition=Q(state="sending"), name="delivery_flying"),  # how many at once
            models.Index(fields=["webhook", "-id"], name="delivery_newest"),  # the log
            models.Index(fields=["ended_at"], condition=Q(ended_at__isnull=False), name="delivery_by_age"),  # clean-up
        ]

    @property
    def message(self) -> str:
        """Its id at the receiver, the same at each try."""
        return f"msg_{self.pk.hex}"

    @property
    def next_try_at(self) -> datetime | None:
        return self.due_at if self.state in (self.State.DUE, self.State.FAILED) else None

    @staticmethod
    def waiting() -> dict[str, Any]:
        """What a row is set to that is to be sent now, with all its tries before it."""
        return {"state": "due", "due_at": Now(), "tries": 0, "ended_at": None, "attempt": F("attempt") + 1}
