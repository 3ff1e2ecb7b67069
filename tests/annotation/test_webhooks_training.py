"""What training tells: the end of a run, and a model that goes into production."""

from __future__ import annotations

import json

import pytest
from django.db import connection, transaction

from annotation.actions import webhooks
from annotation.models import WebhookDelivery
from annotation.webhooks import pump
from tests.annotation.receivers import receiver
from tests.training import factories
from tests.training.conftest import committed, marked, stand_in  # noqa: F401 - fixtures
from training.actions.models import set_stage
from training.actions.runs import Launch, launch_run
from training.runs import lease, worker

SPANS = Launch(recipe="span_reward_model", base_model="tiny")


@pytest.fixture
def there(settings):
    settings.WEBHOOK_ALLOW = ["127.0.0.1"]
    with receiver() as server:
        yield server


def listen(cast, there):
    return webhooks.create_webhook(
        user=cast.dev,
        project=cast.project,
        url=there.url,
        events=["run.succeeded", "run.failed", "model.promoted"],
    )


def told() -> list[tuple[str, dict]]:
    rows = WebhookDelivery.objects.order_by("id").values_list("event", "payload")
    return [(event, one) for event, payload in rows for one in payload]


def test_a_run_that_succeeds_is_told_with_its_model(committed, stand_in, there):  # noqa: F811
    listen(committed, there)
    run, _ = launch_run(project=committed.project, author=committed.ada, launch=SPANS)
    assert worker.work_once("test")
    pump.pump()
    [got] = there.got
    [event] = json.loads(got.body)["data"]
    run.refresh_from_db()
    shown = committed.client(committed.ada).get(f"/api/v1/projects/lantern/runs/{run.number}").json()
    assert {name: shown[name] for name in event} == event
    assert (event["state"], event["model"]) == ("succeeded", str(run.produced_id))


def test_a_run_that_fails_is_told_with_its_reason(marked, there):  # noqa: F811
    listen(marked, there)
    run, _ = launch_run(project=marked.project, author=marked.ada, launch=SPANS)
    hold = lease.claim("test")
    lease.fail(hold, code="run.no_memory", message="Too large.", action="Halve it.")
    [(event, data)] = told()
    assert (event, data["number"], data["failure"]["code"]) == ("run.failed", run.number, "run.no_memory")


def test_what_is_rolled_back_is_not_told(marked, there):  # noqa: F811
    listen(marked, there)
    launch_run(project=marked.project, author=marked.ada, launch=SPANS)
    hold = lease.claim("test")
    with transaction.atomic():
        lease.fail(hold, code="run.no_memory", message="Too large.", action="Halve it.")
        transaction.set_rollback(True)
    assert told() == []


def test_a_run_after_one_that_failed_is_told_as_well(marked, there):  # noqa: F811
    from training.actions.chains import move_on

    listen(marked, there)
    first, _ = launch_run(project=marked.project, author=marked.ada, launch=SPANS)
    after, _ = launch_run(
        project=marked.project,
        author=marked.ada,
        launch=Launch(recipe="span_reward_model", base_model="tiny", after=(first.number,)),
    )
    lease.fail(lease.claim("test"), code="run.no_memory", message="Too large.", action="Halve it.")
    move_on()
    assert [(event, data["number"]) for event, data in told()] == [
        ("run.failed", first.number),
        ("run.failed", after.number),
    ]


def test_a_model_is_told_each_time_that_it_goes_into_production(marked, there):  # noqa: F811
    listen(marked, there)
    model = factories.make_model(marked.project)
    for stage in ("production", "production", "retired", "production"):
        set_stage(model=model, author=marked.ada, stage=stage)
    assert [(event, data["id"], data["stage"]) for event, data in told()] == [
        ("model.promoted", str(model.pk), "production")
    ] * 2
    assert connection.in_atomic_block
