"""Scene 1: writers journal what they send and what is answered while things are killed; then every answer is looked up.

The same code runs for a minute in `make test` and at full counts in `make test-faults-full`. What the database holds is
compared with the journal as Jepsen's set checker does: lost = acknowledged and not there; unexpected = there and never
sent; doubled = there more than once; recovered = there though nobody was told, which is fine.
"""

from __future__ import annotations

import http.client
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil
import psycopg

from redpen.services.addresses import embedded_database_url
from tests.faults.proxy import REPLY, REQUEST, Proxy
from tests.running import Running, wait_for

READY_WITHIN = 15
ANSWERS = 50  # that reactions are about; a part of them comes late
# (kind, items a request, pause between requests); eight writers
WRITERS = [
    *[("single", 1, 0.004)] * 3,
    ("answer", 1, 0.01),
    *[("batch", 100, 0.3)] * 2,
    *[("lines", 200, 0.6)] * 2,
]
KINDS = ("single", "answer", "batch", "lines")
PREPARE = """
from redpen.accounts import keys
from redpen.accounts.actions.projects import create_project
from redpen.accounts.models import ApiKey, User
ada, new = User.objects.get_or_create(email="ada@example.org", defaults={"name": "Ada"})
for name in NAMES:
    project = create_project(creator=ada, name=name, slug=name)
    token = keys.new_token(test=False, public=False)
    ApiKey.objects.create(project=project, name=name, prefix=keys.prefix_of(token), secret_hash=keys.hash_of(token),
                          scopes=["responses.write", "reactions.write", "read"])
    print(token)
"""


def make_keys(redpen: Running, *names: str) -> list[str]:
    """A project of each name, and a key to it."""
    said = redpen.manage("shell", "-c", f"NAMES = {names!r}\n{PREPARE}")
    return said.split()[-len(names) :]


def item(id: str) -> dict[str, object]:
    """What is sent under an id: always the same, so that it can be sent again."""
    number = int(id.rpartition("-")[2])
    if id.startswith("answer"):
        return {"id": id, "messages": [{"role": "user", "content": f"What is {number % 97}?"}], "text": f"It is {id}."}
    return {
        "id": id,
        "response": f"answer-3-{number % ANSWERS}",
        "kind": ("like", "dislike", "shown")[number % 3],
        "user": f"user-{number % 211}",
        "at": "2026-11-29T03:00:00Z",
    }


class Journal:
    """Every id before it is sent, and every answer after it came."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.sent: dict[str, str] = {}  # id -> kind
        self.acknowledged: dict[str, str] = {}  # id -> kind
        self.succeeded: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []

    def send(self, kind: str, ids: Iterable[str]) -> None:
        with self.lock:
            self.sent.update((id, kind) for id in ids)

    def hear(self, kind: str, ids: list[str], status: int, body: bytes) -> None:
        """One answer: what it acknowledges, and what is to be sent again."""
        with self.lock:
            self.answers[str(status)] += 1
            if status in (429, 503):
                return
            if status not in (200, 201, 207):
                self.wrong.append(f"{kind}: {status} {body[:200]!r}")
                return
            found = json.loads(body)
            fates = found.get("results", [found])
            if len(fates) != len(ids):
                self.wrong.append(f"{kind}: {len(fates)} results for {len(ids)} items")
            for id, fate in zip(ids, fates, strict=False):
                if fate["status"] in ("stored", "repeated"):
                    self.acknowledged[id] = kind
                    self.succeeded[kind] += 1
                elif fate["status"] != "retry":
                    self.wrong.append(f"{kind} {id}: {fate}")

    def unanswered(self) -> dict[str, str]:
        return {id: kind for id, kind in self.sent.items() if id not in self.acknowledged}


def post(connection: http.client.HTTPConnection, token: str, kind: str, ids: list[str]) -> tuple[int, bytes]:
    path = "/api/v1/responses" if kind == "answer" else "/api/v1/reactions"
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    items = [item(id) for id in ids]
    if kind == "lines":
        headers["Content-Type"] = "application/x-ndjson"
        body = "\n".join(json.dumps(one) for one in items)
    else:
        body = json.dumps(items if kind == "batch" else items[0])
    connection.request("POST", path, body=body.encode(), headers=headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


class Writer(threading.Thread):
    """Sends without pause until told to stop; one request in ten is sent again as it was."""

    def __init__(self, number: int, port: int, token: str, journal: Journal, stop: threading.Event) -> None:
        super().__init__(daemon=True, name=f"writer-{number}")
        self.number, self.port, self.token, self.journal, self.stopped = number, port, token, journal, stop
        self.kind, self.items, self.pause = WRITERS[number]
        self.random = random.Random(number)

    def run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        next_id = 0
        while not self.stopped.is_set():
            ids = [f"{self.kind}-{self.number}-{next_id + place}" for place in range(self.items)]
            next_id += self.items
            self.journal.send(self.kind, ids)
            for _ in range(1 + (self.random.random() < 0.1)):
                connection = connection or http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                try:
                    status, body = post(connection, self.token, self.kind, ids)
                except (OSError, http.client.HTTPException):
                    connection.close()
                    connection = None
                    self.stopped.wait(0.05)
                else:
                    self.journal.hear(self.kind, ids, status, body)
            self.stopped.wait(self.pause * (0.5 + self.random.random()))
        if connection:
            connection.close()


class Killer:
    """kill -9 over web, Postgres, one of its backends, and Redis, until so many have died.

    The supervisor pauses longer before each restart of what dies again and again within half a minute; that is right,
    and not what is measured here, so nothing is killed more than four times in such a row.
    """

    SERVICES = ("web", "postgres", "redis", "backend")

    def __init__(self, redpen: Running, seed: int) -> None:
        self.redpen, self.random = redpen, random.Random(seed)
        self.killed: Counter[str] = Counter()
        self.slowest: dict[str, float] = {}
        self._rows: dict[str, tuple[float, int]] = {}

    def kill_one(self) -> None:
        """Kill something, and wait until /readyz is green again."""
        now = time.monotonic()
        row = {
            name: (0 if now - at > 40 else times)
            for name in self.SERVICES
            for at, times in [self._rows.get(name, (now, 0))]
        }
        may = [name for name in self.SERVICES if name == "backend" or row[name] < 4]
        name = self.random.choice([name for name in may if self.killed[name] == min(map(self.killed.__getitem__, may))])
        self._rows[name] = (now, row[name] + 1)
        if name == "backend":
            self._kill_backend()
        else:
            self.redpen.kill(name)
        began = time.monotonic()
        self.killed[name] += 1
        wait_for(self.redpen.ready, READY_WITHIN, lambda: f"after {name}: {self.redpen.get('/readyz')}")
        self.slowest[name] = max(self.slowest.get(name, 0), time.monotonic() - began)

    def _kill_backend(self) -> None:
        """One of the connections on which the intake commits: Postgres then restarts all of them."""
        postmaster = self.redpen.child("postgres")
        assert postmaster is not None
        with psycopg.connect(embedded_database_url(self.redpen.data_dir)) as connection:
            found = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'redpen intake' ORDER BY random() LIMIT 1"
            ).fetchone()
        if found:
            psutil.Process(found[0]).send_signal(signal.SIGKILL)


@dataclass
class Report:
    """What a run came to. `faults` is empty when it passed."""

    sent: int = 0
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    recovered: int = 0
    resent: int = 0
    succeeded: dict[str, int] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    killed: dict[str, int] = field(default_factory=dict)
    slowest: dict[str, float] = field(default_factory=dict)
    cuts: int = 0
    least: int = 0

    @property
    def faults(self) -> list[str]:
        found = [
            f"{len(ids)} {name}: {ids[:3]}"
            for name in ("lost", "unexpected", "doubled", "wrong")
            if (ids := getattr(self, name))
        ]
        return found + [
            f"only {self.succeeded.get(kind, 0)} of '{kind}' succeeded"
            for kind in KINDS
            if self.succeeded.get(kind, 0) < self.least
        ]

    def __str__(self) -> str:
        slowest = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.slowest.items())
        return (
            f"ledger: sent {self.sent}, acknowledged {self.acknowledged}, lost {len(self.lost)}, "
            f"unexpected {len(self.unexpected)}, doubled {len(self.doubled)}, recovered {self.recovered}, "
            f"resent {self.resent}; killed {self.killed}, connections cut {self.cuts}; "
            f"green again at the latest after: {slowest}; answers {self.answers}; succeeded {self.succeeded}"
        )


def there(redpen: Running, project: str) -> Counter[str]:
    """How often each id is in the database."""
    with psycopg.connect(embedded_database_url(redpen.data_dir)) as connection:
        rows = connection.execute(
            "SELECT r.external_id, count(*) FROM annotation_reaction r JOIN accounts_project p ON p.id = r.project_id "
            "WHERE p.slug = %(project)s GROUP BY 1 UNION ALL "
            "SELECT r.external_id, count(*) FROM annotation_response r JOIN accounts_project p ON p.id = r.project_id "
            "WHERE p.slug = %(project)s GROUP BY 1",
            {"project": project},
        ).fetchall()
    return Counter(dict(rows))


def compare(journal: Journal, found: Counter[str], report: Report) -> Report:
    """The verdict on what the database holds now."""
    report.sent, report.acknowledged = len(journal.sent), len(journal.acknowledged)
    report.lost = [id for id in journal.acknowledged if id not in found]
    report.unexpected = [id for id in found if id not in journal.sent]
    report.doubled = [id for id, times in found.items() if times > 1]
    report.succeeded, report.answers = dict(journal.succeeded), dict(journal.answers)
    report.wrong = journal.wrong
    return report


def resend(redpen: Running, token: str, journal: Journal) -> int:
    """Everything that was never acknowledged, until it is; gives how many."""
    left = journal.unanswered()
    for kind in KINDS:
        ids = [id for id, of in left.items() if of == kind]
        size = {"batch": 100, "lines": 1000}.get(kind, 1)
        for start in range(0, len(ids), size):
            part = ids[start : start + size]
            for attempt in range(20):
                connection = http.client.HTTPConnection("127.0.0.1", int(redpen.port), timeout=30)
                try:
                    status, body = post(connection, token, kind, part)
                except (OSError, http.client.HTTPException):
                    time.sleep(0.2)
                    continue
                finally:
                    connection.close()
                journal.hear(kind, part, status, body)
                if status in (429, 503):
                    time.sleep(0.5)
                elif all(id in journal.acknowledged for id in part) or attempt == 3:
                    break
    return len(left)


def run(
    redpen: Running,
    *,
    project: str,
    token: str,
    kills: int,
    cuts: int,
    least: int,
    between: float = 1.0,
    seed: int = 0,
    send_again: bool = True,
) -> Report:
    """Eight writers at work while things die; then everything is sent again that nobody was told about."""
    journal, stop, killer = Journal(), threading.Event(), Killer(redpen, seed)
    rng = random.Random(seed)
    with Proxy(int(redpen.port)) as proxy:
        writers = [Writer(number, proxy.port, token, journal, stop) for number in range(len(WRITERS))]
        for writer in writers:
            writer.start()
        time.sleep(between)
        steps = ["kill"] * kills + ["cut"] * cuts
        rng.shuffle(steps)
        for step in steps:
            if step == "kill":
                killer.kill_one()
            else:
                proxy.cut(rng.choice([REPLY, REQUEST]))
            time.sleep(between * (0.5 + rng.random()))
        time.sleep(between)
        stop.set()
        for writer in writers:
            writer.join(60)
            assert not writer.is_alive(), "a writer hangs"
        made = proxy.cuts
    wait_for(redpen.ready, READY_WITHIN)
    before = there(redpen, project)
    unanswered = journal.unanswered()
    report = compare(
        journal, before, Report(killed=dict(killer.killed), slowest=killer.slowest, cuts=made, least=least)
    )
    if not send_again:
        return report
    lost = report.lost
    report.recovered = sum(1 for id in unanswered if id in before)
    report.resent = resend(redpen, token, journal)
    report = compare(journal, there(redpen, project), report)
    report.lost = sorted({*lost, *report.lost, *journal.unanswered()})
    return report
