"""The receiver in docs/webhooks.md, as it stands there, in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from annotation.actions import webhooks
from annotation.models import WebhookDelivery
from annotation.webhooks import pump
from annotation.webhooks.outbox import emit_many
from tests.running import REPOSITORY, free_port, wait_for


@pytest.fixture
def start():
    started = []

    def run(secret, port):
        text = (REPOSITORY / "docs" / "webhooks.md").read_text()
        [program] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
        environment = {**os.environ, "REDPEN_WEBHOOK_SECRET": secret, "PORT": str(port)}
        one = subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        started.append(one)
        wait_for(lambda: listening(port), 10)
        return one

    yield run
    for one in started:
        one.kill()
        one.wait()
        one.stdout.close()


def listening(port):
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
    except urllib.error.HTTPError:
        return True  # it takes no GET
    except OSError:
        return False
    return True


def test_the_receiver_in_the_documents_takes_what_is_signed_once_and_nothing_else(cast, settings, start):
    settings.WEBHOOK_ALLOW = ["127.0.0.1"]
    port = free_port()
    url = f"http://127.0.0.1:{port}/redpen"
    hook = webhooks.create_webhook(user=cast.dev, project=cast.project, url=url, events=["run.failed"])
    program = start(hook.secret, port)
    emit_many(project_id=cast.project.pk, event="run.failed", items=[(f"r{n}", {"id": f"r{n}"}) for n in range(3)])
    pump.pump()
    row = WebhookDelivery.objects.get()
    assert (row.state, row.status) == ("delivered", 204)
    webhooks.redeliver(user=cast.dev, delivery=row)
    pump.pump()
    row.refresh_from_db()
    assert (row.state, row.status) == ("delivered", 204)

    webhooks.rotate_secret(user=cast.dev, hook=hook)
    webhooks.ping(user=cast.dev, hook=hook)
    pump.pump()  # both secrets sign
    ping = WebhookDelivery.objects.get(event="webhook.test")
    assert ping.status == 204
    webhooks.rotate_secret(user=cast.dev, hook=hook)
    webhooks.ping(user=cast.dev, hook=hook)
    pump.pump()  # and now neither is the receiver's
    assert WebhookDelivery.objects.order_by("-id")[0].status == 401

    program.kill()
    lines = program.stdout.read().splitlines()
    assert lines == [*[f"run.failed r{n}" for n in range(3)], f"webhook.test {ping.payload[0]['id']}"]
