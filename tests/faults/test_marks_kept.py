"""Marks that were acknowledged are there after kill -9 of Postgres and of the web, and each of them once."""

import itertools
import threading
import time

import httpx
import psycopg
import pytest

from redpen.accounts.demo import DEMO_LOGINS
from redpen.services.addresses import embedded_database_url
from tests.running import running, wait_for

pytestmark = pytest.mark.slow
BEN = next(login for login in DEMO_LOGINS if login.role == "annotator")


@pytest.fixture(scope="module")
def redpen():
    with running(DEMO="true") as one:
        yield one.start_and_wait(180)


def sign_in(redpen) -> httpx.Client:
    client = httpx.Client(base_url=redpen.url(""), timeout=10, follow_redirects=True)
    client.get("/sign-in/")
    form = {"username": BEN.email, "password": BEN.password, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    assert client.post("/sign-in/", data=form).status_code == 200
    client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
    return client


class Writer:
    """Marks one word after another as a page does: each under a key of its own, sent until it is acknowledged."""

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        dealt = client.post("/api/v1/projects/demo/assignments/next?kind=spans").json()["assignment"]
        self.response, self.assignment, self.text = dealt["response"]["id"], dealt["id"], dealt["response"]["text"]
        self.acknowledged: dict[str, str] = {}
        self.failures = 0
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.write, daemon=True)
        self.thread.start()

    def write(self) -> None:
        for number in itertools.count():
            start = number % (len(self.text) - 1)
            mark = {"start": start, "end": start + 1, "quote": self.text[start], "sentiment": -1}
            mark |= {"critique": f"mark {number}", "assignment": self.assignment}
            key = f"mark-{number}"
            while key not in self.acknowledged:
                if self.stopped.is_set():
                    return
                self.send(key, mark)

    def send(self, key: str, mark: dict) -> None:
        address = f"/api/v1/projects/demo/responses/{self.response}/spans"
        try:
            answer = self.client.post(address, json=mark, headers={"Idempotency-Key": key})
        except httpx.TransportError:
            answer = None
        if answer is not None and answer.status_code in (200, 201):
            self.acknowledged[key] = answer.json()["lineage"]
        else:
            self.failures += 1
            assert answer is None or answer.status_code >= 500, answer.text
            time.sleep(0.1)

    def some_more(self, count: int) -> None:
        wanted = len(self.acknowledged) + count
        wait_for(lambda: len(self.acknowledged) >= wanted, 60, lambda: f"{len(self.acknowledged)} of {wanted}")

    def stop(self) -> None:
        self.stopped.set()
        self.thread.join(20)


def test_no_acknowledged_mark_is_lost_or_doubled_when_postgres_and_the_web_are_killed(redpen):
    writer = Writer(sign_in(redpen))
    for service in ("postgres", "web", "redis", "postgres"):
        writer.some_more(10)
        redpen.kill(service)
    writer.some_more(10)
    writer.stop()
    assert writer.failures, "the kills were felt"
    with psycopg.connect(embedded_database_url(redpen.data_dir)) as connection:
        rows = connection.execute(
            "SELECT client_key, lineage::text FROM annotation_spancritique WHERE client_key LIKE '%%mark-%%'"
            " AND response_id = %s",
            [writer.response],
        ).fetchall()
    kept = {key[key.index("mark-") :]: lineage for key, lineage in rows}
    assert len(kept) == len(rows)
    assert {key: kept.get(key) for key in writer.acknowledged} == writer.acknowledged
    assert len(kept) <= len(writer.acknowledged) + 1  # the last may have arrived without our hearing of it
