"""Scene 2, the deaf bell: Redis is flushed, away, and says everything three times; what is due is done once in effect.

`make test` runs it with seconds where the scene has minutes; the whole of it is marked slow.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
import redis as redis_client
from celery import current_app
from django.db import connection, transaction

from annotation.actions import webhooks
from annotation.models import WebhookDelivery
from annotation.webhooks import pump
from annotation.webhooks.outbox import emit
from redpen.services import addresses, process
from redpen.services.redis import Redis
from tests.annotation.receivers import receiver
from tests.annotation.stream import Stream, rates_of
from tests.cast import make_cast
from tests.running import REPOSITORY, wait_for

SECONDS_AFTER_RETURN = 30  # within which everything is to be done


class Bell:
    """A Redis of our own, with a worker and a scheduler that hang on it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="redpen-bell-"))
        self.redis = Redis(self.folder)
        self.url = addresses.celery_broker_url(addresses.embedded_redis_url(self.folder))
        self.server: subprocess.Popen | None = None
        self.started: list[subprocess.Popen] = []
        self.over = threading.Event()

    def up(self) -> None:
        self.server = self.redis.start()
        self.redis.wait(self.server)

    def down(self) -> None:
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()

    def flush(self) -> None:
        client = redis_client.Redis.from_url(addresses.embedded_redis_url(self.folder), socket_timeout=2)
        with contextlib.suppress(redis_client.RedisError), contextlib.closing(client):
            client.flushall()

    def flush_every(self, seconds: float) -> None:
        def run() -> None:
            while not self.over.wait(seconds):
                self.flush()

        threading.Thread(target=run, daemon=True).start()

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(REPOSITORY / "platform"), str(REPOSITORY)]),
            "DJANGO_SETTINGS_MODULE": "tests.faults.bell_settings",
            "FAULTS_DATABASE": connection.settings_dict["NAME"],
            "BELL_REDIS": self.url,
            **settings,
        }
        log = (self.folder / f"{arguments[0]}.log").open("a")
        command = [sys.executable, "-m", "celery", "-A", "redpen", *arguments]
        one = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self.started.append(one)
        return one

    def worker(self, **settings: str) -> subprocess.Popen:
        quiet = ("--without-gossip", "--without-mingle", "--without-heartbeat")
        return self.start("worker", "-Q", "default", "--pool", "threads", "-c", "2", *quiet, **settings)

    def scheduler(self, **settings: str) -> subprocess.Popen:
        return self.start("beat", "-S", "celery.beat.Scheduler", "--pidfile=", **settings)

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))

    def end(self) -> None:
        self.over.set()
        for one in self.started:
            one.kill()
            one.wait()
        if self.server is not None and self.server.poll() is None:
            process.stop(self.server)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def bell(monkeypatch):
    one = Bell()
    one.up()
    # this process rings at the same Redis
    monkeypatch.setitem(current_app.conf, "broker_url", one.url)
    monkeypatch.setattr(current_app.amqp, "_producer_pool", None)
    yield one
    monkeypatch.undo()
    current_app.amqp._producer_pool = None
    one.end()


@pytest.fixture
def there():
    with receiver() as server:
        yield server


@pytest.fixture
def cast(transactional_db, settings):
    settings.WEBHOOK_ALLOW = ["127.0.0.0/8"]
    return make_cast()


def listen(cast, there):
    events = ["run.failed", "reaction.created"]
    return webhooks.create_webhook(user=cast.dev, project=cast.project, url=there.url, events=events)


def tell(cast, key: str) -> None:
    emit(project=cast.project, event="run.failed", key=key, data={"id": key})


def arrivals(there) -> Counter[str]:
    """How often each event arrived, in deliveries of different ids."""
    by_id = {got.id: got.body for got in list(there.got)}
    return Counter(event["id"] for body in by_id.values() for event in json.loads(body)["data"])


def check(there, keys: list[str]) -> None:
    """Everything arrived once, and no message was sent twice: nothing crashed."""
    assert arrivals(there) == Counter(keys)
    messages = Counter(got.id for got in there.got)
    assert messages == Counter(set(messages))
    assert set(WebhookDelivery.objects.values_list("state", flat=True)) == {"delivered"}


def go_through(cast, there, bell, *, flushing: float, away: float, times: int) -> None:
    """Taps and ends of runs come in all the while; Redis is flushed, goes away and comes back; messages come several
    times. Everything is counted and told, once.
    """
    hook = listen(cast, there)
    shop = Stream(cast.project)
    shop.answer()
    bell.worker(BELL_TIMES=str(times))
    bell.scheduler(BELL_TIMES=str(times))
    dev = cast.client(cast.dev)
    keys, taps, answers = [], [], Counter()

    def work(seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            taps.append(str(shop.tap("like", user=f"u{len(taps)}").pk))
            keys.append(f"run-{len(keys)}")
            tell(cast, keys[-1])
            for path in (f"/p/lantern/webhooks/{hook.pk}/", f"/api/v1/projects/lantern/webhooks/{hook.pk}/deliveries"):
                answers[dev.get(path).status_code] += 1
            time.sleep(0.2)

    work(2)
    wait_for(lambda: len(arrivals(there)) == len(keys) + len(taps), 40, bell.logs)  # the bell works
    bell.flush_every(5)
    work(flushing)
    bell.down()
    work(away)
    begun = time.monotonic()
    ping = dev.post(f"/api/v1/projects/lantern/webhooks/{hook.pk}/ping", {}, content_type="application/json")
    answers[ping.status_code] += 1
    assert time.monotonic() - begun < 5  # it rings, and does not wait for a Redis that is away
    everything = [*keys, *taps, *(row.keys[0] for row in WebhookDelivery.objects.filter(event="webhook.test"))]
    bell.up()
    back = time.monotonic()
    wait_for(lambda: len(arrivals(there)) >= len(everything), SECONDS_AFTER_RETURN, bell.logs)
    after = time.monotonic() - back
    print(f"deaf bell: {len(everything)} events, the last one {after:.1f} s after Redis' return")  # noqa: T201
    time.sleep(3)  # a second copy would come now
    check(there, everything)
    assert rates_of(cast.project)["m-1", "", "like"] == len(taps)
    assert set(answers) == {200, 202}, answers


def test_what_is_due_is_sent_though_redis_is_flushed_and_away_and_says_all_three_times(cast, there, bell):
    go_through(cast, there, bell, flushing=6, away=6, times=3)


@pytest.mark.slow
def test_the_whole_scene_of_the_deaf_bell(cast, there, bell):
    go_through(cast, there, bell, flushing=60, away=60, times=3)


def test_pumps_that_run_at_the_same_time_send_each_message_once(cast, there):
    """As if each bell were answered by three workers at once."""
    listen(cast, there)
    there.pause = 0.02
    keys = [f"run-{number}" for number in range(60)]
    for key in keys:
        tell(cast, key)

    def work() -> None:
        try:
            pump.turn(seconds=5)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(there, keys)


def test_two_who_claim_in_the_same_moment_take_different_ones(cast, there):
    listen(cast, there)
    for number in range(8):
        tell(cast, f"run-{number}")
    second = []

    def claim() -> None:
        try:
            second.extend(pump.claim(10))
        finally:
            connection.close()

    with transaction.atomic():
        first = pump.claim(10)
        thread = threading.Thread(target=claim)
        thread.start()
        thread.join(3)  # it must not wait for us
        waited = thread.is_alive()
    thread.join()
    ids = [held.id for held, _ in [*first, *second]]
    assert len(ids) == len(set(ids)) == 8
    assert not waited


WORK = """
import sys
sys.path.insert(0, "platform")
import django
django.setup()
from annotation.webhooks import pump
pump.LEASE = 2.0
pump.pump()
"""


def test_what_a_killed_worker_was_sending_is_sent_again_once_under_the_same_id(cast, there):
    listen(cast, there)
    tell(cast, "run-1")
    there.pause = 8
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.faults.bell_settings",
        "FAULTS_DATABASE": connection.settings_dict["NAME"],
        "BELL_REDIS": "memory://",
    }
    worker = subprocess.Popen([sys.executable, "-c", WORK], cwd=REPOSITORY, env=environment)
    wait_for(lambda: there.got, 30)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    there.pause = 0
    row = WebhookDelivery.objects.get()
    assert (row.state, row.tries) == ("sending", 1)
    assert pump.pump() == 0  # not before its lease has run out
    wait_for(pump.anything_due, 10)
    assert pump.pump() == 1
    assert [got.id for got in there.got] == [row.message] * 2
    row.refresh_from_db()
    assert (row.state, row.tries, row.attempt) == ("delivered", 2, 2)
    assert pump.pump() == 0
