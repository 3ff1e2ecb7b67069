"""The bell: what its settings promise."""

import time

import pytest
from kombu import Connection
from kombu.exceptions import OperationalError

from redpen.celery import app


def test_ringing_without_redis_fails_at_once():
    """A page rings after its commit; it must not hang because Redis is away."""
    started = time.monotonic()
    with (
        Connection("redis+socket:///nowhere/redis.sock", transport_options=app.conf.broker_transport_options) as broker,
        pytest.raises(OperationalError),
    ):
        _ = broker.default_channel
    assert time.monotonic() - started < 2


def test_only_json_is_taken():
    assert app.conf.accept_content == ["json"]
    assert app.conf.task_serializer == "json"


def test_a_task_is_acknowledged_after_it_was_done():
    assert app.conf.task_acks_late
    assert app.conf.worker_prefetch_multiplier == 1


def test_every_task_that_the_schedule_names_exists():
    app.loader.import_default_modules()
    assert {entry["task"] for entry in app.conf.beat_schedule.values()} <= set(app.tasks)
