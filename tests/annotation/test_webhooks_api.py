"""Webhooks over the session API."""

from __future__ import annotations

import pytest

from annotation.models import Webhook, WebhookDelivery
from annotation.webhooks import pump
from annotation.webhooks.outbox import emit
from redpen.accounts.models import AuditEvent
from tests.annotation.keyed import asking
from tests.annotation.receivers import receiver

HOOKS = "/api/v1/projects/lantern/webhooks"
GOOD = {"url": "https://hooks.example.com/redpen", "events": ["run.failed", "reaction.created"], "name": "Ops"}


@pytest.fixture
def dev(cast):
    return cast.client(cast.dev)


def send(client, method, path, body=None):
    return getattr(client, method)(path, body or {}, content_type="application/json")


def make(client, **changes):
    return send(client, "post", HOOKS, {**GOOD, **changes})


def test_a_webhook_is_made_and_its_secret_is_shown_this_once(dev):
    made = make(dev)
    assert made.status_code == 201
    body = made.json()
    assert body["secret"].startswith("whsec_")
    assert made["Cache-Control"] == "no-store"
    assert body["events"] == ["reaction.created", "run.failed"]
    listed = dev.get(HOOKS).json()
    assert [one["id"] for one in listed["items"]] == [body["id"]]
    assert "secret" not in listed["items"][0]
    assert "secret" not in dev.get(f"{HOOKS}/{body['id']}").json()
    assert body["secret"] not in str(list(AuditEvent.objects.values()))


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"url": "http://hooks.example.com/"}, "/url"),
        ({"url": "https://127.0.0.1/"}, "/url"),
        ({"url": ""}, "/url"),
        ({"url": "https://a.example/\0"}, "/url"),
        ({"url": "https://a.example/\ud800"}, "/url"),
        ({"url": 7}, "/url"),
        ({"url": None}, "/url"),
        ({"url": "https://[::1"}, "/url"),
        ({"events": []}, "/events"),
        ({"events": ["webhook.test"]}, "/events/0"),
        ({"events": ["nothing"]}, "/events/0"),
        ({"events": "run.failed"}, "/events"),
        ({"events": [{}]}, "/events/0"),
        ({"name": "x" * 61}, "/name"),
        ({"name": "\0"}, "/name"),
        ({"test": "perhaps"}, "/test"),
        ({"secret": "whsec_mine"}, "/secret"),
    ],
)
def test_what_cannot_be_is_refused_with_its_pointer(dev, changes, pointer):
    answer = make(dev, **changes)
    assert (answer.status_code, answer.json()["problems"][0]["pointer"]) == (422, pointer)
    assert not Webhook.objects.exists()


def test_a_webhook_is_changed_rotated_and_switched_off_and_on(dev):
    made = make(dev).json()
    path = f"{HOOKS}/{made['id']}"
    changed = send(dev, "patch", path, {"url": "https://other.example/x", "events": ["run.failed"]})
    assert (changed.status_code, changed.json()["url"]) == (200, "https://other.example/x")
    assert send(dev, "patch", path, {"test": True}).status_code == 422
    assert send(dev, "patch", path, {"url": "https://10.0.0.1/"}).status_code == 422
    rotated = send(dev, "post", f"{path}/rotate").json()
    assert rotated["secret"] != made["secret"]
    assert rotated["old_secret_until"]
    off = send(dev, "delete", path)
    assert (off.status_code, off.json()["enabled"], off.json()["disabled_reason"]) == (
        200,
        False,
        "Switched off by hand.",
    )
    assert send(dev, "post", f"{path}/ping").status_code == 409
    on = send(dev, "patch", path, {"enabled": True}).json()
    assert (on["enabled"], on["disabled_reason"]) == (True, "")
    actions = AuditEvent.objects.filter(subject_id=made["id"]).order_by("id").values_list("action", flat=True)
    assert list(actions) == ["webhook.made", "webhook.changed", "webhook.secret_rotated", *["webhook.changed"] * 2]


def test_a_ping_goes_out_and_stands_in_the_log(dev, settings):
    settings.WEBHOOK_ALLOW = ["127.0.0.1"]
    with receiver() as there:
        made = make(dev, url=there.url).json()
        pinged = send(dev, "post", f"{HOOKS}/{made['id']}/ping")
        assert (pinged.status_code, pinged.json()["state"]) == (202, "due")
        pump.pump()
        [shown] = dev.get(f"{HOOKS}/{made['id']}/deliveries").json()["items"]
        assert (shown["event"], shown["state"], shown["status"], shown["events"]) == (
            "webhook.test",
            "delivered",
            204,
            1,
        )
        assert shown["message"] == there.got[0].id
        delivery = f"/api/v1/projects/lantern/deliveries/{shown['id']}"
        assert dev.get(delivery).json()["data"][0]["message"] == "Hello from Redpen."
        again = send(dev, "post", f"{delivery}/redeliver")
        assert (again.status_code, again.json()["state"], again.json()["tries"]) == (202, "due", 0)
        pump.pump()
        assert len(there.got) == 2


def test_the_log_has_pages_and_a_filter(cast, dev):
    made = make(dev).json()
    for number in range(5):
        emit(project=cast.project, event="run.failed", key=f"run-{number}", data={"number": number})
    log = f"{HOOKS}/{made['id']}/deliveries"
    first = dev.get(log, {"limit": 3}).json()
    rest = dev.get(log, {"limit": 3, "cursor": first["next"]}).json()
    seen = [one["id"] for one in first["items"] + rest["items"]]
    assert seen == [str(pk) for pk in WebhookDelivery.objects.order_by("-id").values_list("pk", flat=True)]
    assert rest["next"] is None
    assert dev.get(log, {"state": "delivered"}).json()["items"] == []
    for wrong in ({"state": "lost"}, {"cursor": "x"}, {"limit": "0"}, {"page": "2"}):
        assert dev.get(log, wrong).status_code == 422


def test_a_list_costs_the_same_for_one_and_for_many(cast, dev, django_assert_max_num_queries):
    made = make(dev).json()
    for number in range(30):
        emit(project=cast.project, event="run.failed", key=f"run-{number}", data={})
    with django_assert_max_num_queries(5):
        assert len(dev.get(f"{HOOKS}/{made['id']}/deliveries").json()["items"]) == 30


def test_another_project_s_webhooks_are_not_there(cast, dev):
    made = make(dev).json()
    emit(project=cast.project, event="run.failed", key="run-1", data={})
    zoe = cast.client(cast.zoe)
    delivery = WebhookDelivery.objects.get().pk
    theirs = "/api/v1/projects/quarry"
    for path in (f"{theirs}/webhooks/{made['id']}", f"{theirs}/webhooks/{made['id']}/deliveries"):
        assert zoe.get(path).status_code == 404
    assert zoe.get(f"{theirs}/deliveries/{delivery}").status_code == 404
    assert send(zoe, "post", f"{theirs}/deliveries/{delivery}/redeliver").status_code == 404


def test_a_key_reads_the_webhooks_of_its_data_and_their_log(cast, dev):
    live, test = make(dev).json(), make(dev, test=True).json()
    emit(project=cast.project, event="run.failed", key="run-1", data={})
    asks = asking(cast.project, scopes=["read"])
    assert [one["id"] for one in asks.get("webhooks").json()["items"]] == [live["id"]]
    assert "secret" not in asks.get("webhooks").json()["items"][0]
    [shown] = asks.get(f"webhooks/{live['id']}/deliveries").json()["items"]
    assert (shown["event"], shown["state"]) == ("run.failed", "due")
    assert asks.get(f"webhooks/{live['id']}/deliveries", state="delivered").json()["items"] == []
    assert asks.get(f"webhooks/{live['id']}/deliveries", state="lost").status_code == 422
    assert asks.get(f"webhooks/{test['id']}/deliveries").status_code == 404
    assert asking(cast.other_project, scopes=["read"]).get(f"webhooks/{live['id']}/deliveries").status_code == 404
    assert asking(cast.project, scopes=["reactions.write"]).get("webhooks").status_code == 403
