"""Webhooks: what is told, how it is signed, tried again, given up and sent once more."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F
from standardwebhooks import Webhook as Verifier
from standardwebhooks import WebhookVerificationError

from annotation.actions import webhooks
from annotation.actions.people import Author
from annotation.models import Webhook, WebhookDelivery
from annotation.webhooks import health, keeping, pump
from annotation.webhooks.outbox import emit, emit_many, listening
from annotation.webhooks.sending import Outcome
from redpen.accounts.errors import Conflict
from redpen.accounts.models import AuditEvent
from tests.annotation.receivers import FOREIGN, receiver

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _loopback_is_allowed(settings):
    settings.WEBHOOK_ALLOW = ["127.0.0.0/8"]


@pytest.fixture
def there():
    with receiver() as server:
        yield server


@pytest.fixture
def hook(cast, there) -> Webhook:
    return webhooks.create_webhook(
        user=cast.dev, project=cast.project, url=there.url, events=["run.failed", "reaction.created"]
    )


def tell(cast, key: str = "run-1", **data) -> int:
    return emit(project=cast.project, event="run.failed", key=key, data={"id": key, **data})


def only() -> WebhookDelivery:
    return WebhookDelivery.objects.get()


def due_now() -> None:
    WebhookDelivery.objects.filter(due_at__isnull=False).update(due_at=F("created_at"))
    Webhook.objects.update(held_until=None)


def test_an_event_arrives_signed_and_the_log_says_so(cast, hook, there):
    tell(cast, words="Zwei Wörter")
    assert pump.pump() == 1
    [got] = there.got
    assert Verifier(hook.secret).verify(got.body, got.headers) == {
        "type": "run.failed",
        "timestamp": only().created_at.isoformat(),
        "project": "lantern",
        "test": False,
        "data": [{"id": "run-1", "words": "Zwei Wörter"}],
    }
    row = only()
    assert (row.state, row.status, row.error, row.tries, row.message) == ("delivered", 204, "", 1, got.id)
    assert Webhook.objects.get().delivered_at is not None
    with pytest.raises(WebhookVerificationError):
        Verifier("whsec_" + "A" * 44).verify(got.body, got.headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(hook.secret).verify(got.body + b" ", got.headers)


def test_two_secrets_sign_while_one_is_being_replaced(cast, hook, there):
    old = hook.secret
    new = webhooks.rotate_secret(user=cast.ada, hook=hook).secret
    assert new != old
    tell(cast)
    pump.pump()
    for secret in (old, new):
        Verifier(secret).verify(there.got[0].body, there.got[0].headers)
    Webhook.objects.update(old_until=datetime.now(UTC))
    tell(cast, "run-2")
    pump.pump()
    Verifier(new).verify(there.got[1].body, there.got[1].headers)
    with pytest.raises(WebhookVerificationError):
        Verifier(old).verify(there.got[1].body, there.got[1].headers)


def test_only_who_listens_is_told_and_test_data_stays_among_tests(cast, hook, there):
    webhooks.create_webhook(user=cast.dev, project=cast.project, url=there.url, events=["run.failed"], test=True)
    webhooks.create_webhook(user=cast.dev, project=cast.project, url=there.url, events=["run.succeeded"])
    webhooks.create_webhook(user=cast.zoe, project=cast.other_project, url=there.url, events=["run.failed"])
    assert tell(cast) == 1
    assert only().webhook == hook
    assert emit(project=cast.project, event="run.failed", key="t", data={}, test=True) == 1
    assert emit(project=cast.project, event="model.promoted", key="t", data={}) == 0
    wanted = {
        (cast.project.pk, False, "run.failed"),
        (cast.project.pk, True, "run.failed"),
        (cast.other_project.pk, False, "run.failed"),
    }
    assert listening("run.failed") == wanted


def test_an_emission_told_again_adds_nothing(cast, hook):
    items = [(f"r{number}", {"id": f"r{number}"}) for number in range(250)]

    def many(part):
        return emit_many(project_id=cast.project.pk, event="reaction.created", items=part)

    assert many(items) == 3
    assert many(items) == 0
    assert [many(items[:1]), many(items[:1])] == [1, 0]
    told = [event["id"] for row in WebhookDelivery.objects.order_by("id")[:3] for event in row.payload]
    assert told == [f"r{number}" for number in range(250)]
    assert [len(row.payload) for row in WebhookDelivery.objects.order_by("id")] == [100, 100, 50, 1]
    long = "x" * 100
    assert [tell(cast, f"{long[:-1]}{end}") for end in "ab"] == [1, 1]


def test_a_webhook_made_later_hears_what_the_first_has_heard(cast, hook, there):
    assert tell(cast) == 1
    webhooks.create_webhook(user=cast.dev, project=cast.project, url=there.url, events=["run.failed"])
    assert tell(cast) == 1


def test_a_very_long_text_is_left_out_and_named(cast, hook, there):
    long = "ä" * 300_000
    tell(cast, text=long, short="kept")
    pump.pump()
    [event] = json.loads(there.got[0].body)["data"]
    assert event == {"id": "run-1", "text": None, "short": "kept", "left_out": ["text"]}
    items = [(f"m{number}", {"text": "x" * 200_000}) for number in range(20)]
    emit_many(project_id=cast.project.pk, event="reaction.created", items=items)
    sizes = [len(row.payload) for row in WebhookDelivery.objects.filter(event="reaction.created")]
    assert sum(sizes) == 20
    assert max(sizes) == 5


def test_a_try_that_fails_is_made_again_under_the_same_id(cast, hook, there):
    there.status = 500
    tell(cast)
    assert pump.pump() == 1
    row = only()
    assert (row.state, row.status, row.error) == ("failed", 500, "It answered 500.")
    assert timedelta(seconds=3) < row.due_at - row.tried_at < timedelta(seconds=8)
    assert pump.pump() == 0  # not before its time
    there.status = 200
    due_now()
    assert pump.pump() == 1
    assert only().state == "delivered"
    assert [got.id for got in there.got] == [row.message] * 2
    assert Webhook.objects.get().failures == 0


def test_after_eight_tries_in_a_day_it_is_given_up_and_the_webhook_goes_off(cast, hook, there):
    there.status = 503
    tell(cast)
    pauses = []
    for _ in range(8):
        Webhook.objects.filter(failing_since__isnull=False).update(failing_since=datetime.now(UTC) - DAY)
        due_now()
        assert pump.pump() == 1
        row = only()
        if row.due_at:
            pauses.append((row.due_at - row.tried_at).total_seconds())
    assert row.state == "given_up"
    assert len(pauses) == 7
    assert pauses == sorted(pauses)
    assert 0.75 * 86400 < sum(pauses) < 1.3 * 86400
    hook.refresh_from_db()
    assert (hook.enabled, hook.disabled_reason) == (False, "8 tries in a row have failed, for 24 hours.")
    assert AuditEvent.objects.filter(action="webhook.switched_off", subject_id=hook.pk).count() == 1
    assert tell(cast, "later") == 0
    webhooks.change_webhook(user=cast.dev, hook=hook, enabled=True)
    hook.refresh_from_db()
    assert (hook.enabled, hook.disabled_reason, hook.failures) == (True, "", 0)


def test_eight_failures_within_minutes_do_not_switch_it_off(cast, hook, there):
    there.status = 500
    for number in range(10):
        tell(cast, f"run-{number}")
        due_now()
        pump.pump()
    hook.refresh_from_db()
    assert hook.enabled
    assert hook.failures >= 8


def test_gone_switches_it_off_at_once(cast, hook, there):
    there.status = 410
    tell(cast)
    pump.pump()
    hook.refresh_from_db()
    assert (only().state, hook.enabled) == ("given_up", False)
    assert hook.disabled_reason == "The receiver answered 410 Gone: it wants no more."


def test_a_receiver_that_fails_gets_one_at_a_time_and_later_and_later(cast, hook, there):
    there.status = 500
    for number in range(12):
        tell(cast, f"run-{number}")
    pump.pump()
    tried = len(there.got)
    assert tried <= 4 + health.HOLD_AFTER  # then it is held
    holds = []
    for _ in range(6):
        Webhook.objects.update(held_until=None)
        WebhookDelivery.objects.update(due_at=F("created_at"))
        before = len(there.got)
        pump.pump()
        assert len(there.got) == before + 1
        hook.refresh_from_db()
        holds.append(round((hook.held_until - datetime.now(UTC)).total_seconds()))
    assert holds == sorted(holds)
    assert holds[-1] > 100


def test_a_receiver_says_when_to_come_again(cast, hook, there):
    there.status, there.headers = 429, {"Retry-After": "3000"}
    tell(cast)
    pump.pump()
    row = only()
    assert 2990 < (row.due_at - row.tried_at).total_seconds() < 3010


def test_too_much_waiting_for_a_failing_receiver_switches_it_off(cast, hook, monkeypatch):
    monkeypatch.setattr(health, "MOST_WAITING", 3)
    Webhook.objects.update(failures=5)
    assert [tell(cast, f"run-{number}") for number in range(5)] == [1, 1, 1, 0, 0]
    hook.refresh_from_db()
    assert hook.disabled_reason == "It fails, and 3 deliveries were waiting for it."


def test_what_waits_while_a_webhook_is_off_is_sent_when_it_is_on_again(cast, hook, there):
    tell(cast)
    webhooks.switch_off_webhook(user=cast.ada, hook=hook)
    assert pump.pump() == 0
    with pytest.raises(Conflict):
        webhooks.ping(user=cast.ada, hook=hook)
    webhooks.change_webhook(user=cast.ada, hook=hook, enabled=True)
    assert pump.pump() == 1
    assert len(there.got) == 1


def test_a_delivery_is_sent_once_more_by_hand_under_the_same_id(cast, hook, there):
    tell(cast)
    pump.pump()
    row = webhooks.redeliver(user=cast.dev, delivery=only())
    assert (row.state, row.tries) == ("due", 0)
    pump.pump()
    assert [got.id for got in there.got] == [row.message] * 2
    assert only().state == "delivered"
    held, _ = (webhooks.redeliver(user=cast.dev, delivery=only()), pump.claim(10))
    with pytest.raises(Conflict):
        webhooks.redeliver(user=cast.dev, delivery=held)


def test_what_an_older_attempt_says_is_not_written(cast, hook, there):
    tell(cast)
    [(first, _)] = pump.claim(10)
    assert pump.claim(10) == []
    WebhookDelivery.objects.update(due_at=F("created_at"))  # its lease runs out
    [(second, message)] = pump.claim(10)
    assert (first.id, first.attempt + 1) == (second.id, second.attempt)
    assert not pump.settle(first, Outcome(status=200, error="", took_ms=1))
    assert only().state == "sending"
    assert Webhook.objects.get().delivered_at is None
    assert pump.settle(second, Outcome(status=500, error="It answered 500.", took_ms=1))
    assert not pump.settle(second, Outcome(status=200, error="", took_ms=1))
    assert only().state == "failed"
    assert message.id == only().message


def test_old_deliveries_go_and_so_do_those_of_the_erased(cast, hook, there):
    tell(cast)
    pump.pump()
    tell(cast, "run-2")
    there.status = 410
    pump.pump()
    assert keeping.clean_up() == 0
    WebhookDelivery.objects.update(ended_at=datetime.now(UTC) - 8 * DAY)
    assert keeping.clean_up() == 1
    assert only().state == "given_up"
    WebhookDelivery.objects.update(ended_at=datetime.now(UTC) - 31 * DAY)
    assert keeping.clean_up() == 1
    Webhook.objects.update(enabled=True, disabled_reason="")
    for number, user in enumerate(["u1", "u2"]):
        tell(cast, f"run-{3 + number}", user=user)
    tell(cast, "run-5")
    assert keeping.forget(project_id=cast.project.pk, keys=["run-5"], external_user="u1") == 2
    assert only().payload[0]["user"] == "u2"


def test_a_project_has_no_more_than_so_many(cast, hook, there, monkeypatch):
    monkeypatch.setattr(webhooks, "MOST_HOOKS", 1)
    with pytest.raises(Conflict):
        webhooks.create_webhook(user=cast.dev, project=cast.project, url=there.url, events=["run.failed"])
    webhooks.switch_off_webhook(user=cast.dev, hook=hook)
    webhooks.create_webhook(user=cast.dev, project=cast.project, url=there.url, events=["run.failed"])


def test_a_record_is_told_as_the_api_shows_it(desk, there):
    from annotation.actions.judgements import rate

    project, dev = desk.cast.project, desk.cast.dev
    webhooks.create_webhook(user=dev, project=project, url=there.url, events=["record.created"])
    rate(author=Author.person(desk.cast.ben), response=desk.answer, dimension="helpful", value=4)
    pump.pump()
    [event] = json.loads(there.got[0].body)["data"]
    shown = desk.cast.client(desk.cast.ada).get(desk.api("records?kind=rating")).json()["items"][0]
    assert shown.pop("author")["name"] == "Ben"
    assert {name: event[name] for name in shown} == shown
    assert "Ben" not in there.got[0].body.decode()


def test_imported_records_are_told_in_batches(desk, there):
    from annotation.actions import building
    from annotation.actions.batches import store_records

    ada = Author.person(desk.cast.ada)
    webhooks.create_webhook(user=desk.cast.dev, project=desk.cast.project, url=there.url, events=["record.created"])
    rows = [
        building.rating(author=ada, response=desk.answer, dimension=f"d{number}", value=1, client_key=f"k{number}")
        for number in range(150)
    ]
    store_records(author=ada, project=desk.cast.project, rows=rows)
    assert [len(row.payload) for row in WebhookDelivery.objects.order_by("id")] == [100, 50]
    again = [
        building.rating(author=ada, response=desk.answer, dimension=f"d{number}", value=1, client_key=f"k{number}")
        for number in range(150)
    ]
    store_records(author=ada, project=desk.cast.project, rows=again)
    assert WebhookDelivery.objects.count() == 2


def test_nothing_of_what_a_receiver_says_is_kept_or_logged(cast, hook, there, caplog):
    caplog.set_level("DEBUG")
    there.headers = {"X-Foreign": FOREIGN}
    for number, status in enumerate((200, 302, 404, 500, 418)):
        there.status = status
        tell(cast, f"run-{number}")
        due_now()
        pump.pump()
    assert len(there.got) >= 5
    assert FOREIGN not in caplog.text
    assert not any(FOREIGN in str(vars(record)) for record in caplog.records)
    for row in [*WebhookDelivery.objects.values(), *Webhook.objects.values(), *AuditEvent.objects.values()]:
        assert FOREIGN not in str(row)
