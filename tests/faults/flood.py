"""Scene 6: a quiet project beside a hostile one. `flooder` is the hostile half; here is the quiet one, and measures."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field

import psycopg

from redpen.services.addresses import embedded_database_url
from tests.running import REPOSITORY, Running, clean_environment

MB = 1024 * 1024


@dataclass
class Report:
    quiet_p50: float = 0.0  # ms, alone
    quiet_p99: float = 0.0
    flooded_p50: float = 0.0  # ms, beside the flood
    flooded_p99: float = 0.0
    quiet_sent: int = 0
    quiet_not_stored: list[str] = field(default_factory=list)
    memory_before: float = 0.0  # MB of the web process
    memory_most: float = 0.0
    deadlocks: int = 0
    items: dict[str, int] = field(default_factory=dict)
    requests: dict[str, int] = field(default_factory=dict)
    neighbours_refused: list[str] = field(default_factory=list)
    in_database: int = 0

    @property
    def ratio(self) -> float:
        return self.flooded_p99 / self.quiet_p99

    @property
    def growth(self) -> float:
        return self.memory_most - self.memory_before

    @property
    def unaccounted(self) -> int:
        """Items that were sent and whose fate nobody knows; 0 when accepted + refused + limited = sent."""
        return self.items["sent"] - sum(
            self.items.get(name, 0) for name in ("stored", "repeated", "refused", "limited")
        )

    def __str__(self) -> str:
        return (
            f"flood: quiet project p99 {self.quiet_p99:.1f} ms alone, {self.flooded_p99:.1f} ms beside it "
            f"({self.ratio:.1f}x; p50 {self.quiet_p50:.1f} and {self.flooded_p50:.1f} ms; {self.quiet_sent} sent, "
            f"{len(self.quiet_not_stored)} not stored); memory {self.memory_before:.0f} -> {self.memory_most:.0f} MB; "
            f"deadlocks {self.deadlocks}; neighbours refused {len(self.neighbours_refused)}; items {self.items}; "
            f"requests {self.requests}"
        )


class Quiet:
    """One request each 20 ms, timed."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.token, self.number, self.sent = port, token, 0, time.time_ns()
        self.not_stored: list[str] = []

    def send(self, seconds: float) -> list[float]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        times = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.number += 1
            body = {"id": f"quiet-{self.sent}-{self.number}", "response": "answer-3-1", "kind": "like", "user": "u1"}
            began = time.perf_counter()
            connection.request("POST", "/api/v1/reactions", body=json.dumps(body), headers=headers)
            answer = connection.getresponse()
            said = answer.read()
            times.append((time.perf_counter() - began) * 1000)
            if answer.status != 201:
                self.not_stored.append(f"{answer.status} {said[:200]!r}")
            time.sleep(0.02)
        connection.close()
        return sorted(times)


class Memory(threading.Thread):
    """The most that the web process holds while this runs."""

    def __init__(self, redpen: Running) -> None:
        super().__init__(daemon=True)
        self.process = redpen.child("web")
        self.before = self.most = self.process.memory_info().rss / MB
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.1):
            self.most = max(self.most, self.process.memory_info().rss / MB)


def ask(redpen: Running, query: str) -> int:
    with psycopg.connect(embedded_database_url(redpen.data_dir)) as connection:
        found = connection.execute(query).fetchone()
    return int(found[0])


def run(redpen: Running, *, keys: dict[str, str], seconds: float, quiet_seconds: float, slow: int = 200) -> Report:
    """`keys` are of the projects quiet, loud and mixed."""
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    quiet = Quiet(int(redpen.port), keys["quiet"])
    quiet.send(1)  # connections and caches are warm
    report = Report(deadlocks=-ask(redpen, deadlocks))
    times = quiet.send(quiet_seconds)
    report.quiet_p50, report.quiet_p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    memory = Memory(redpen)
    memory.start()
    # A flood comes from other machines. Its process gives way here, so that it takes no turns on the server's cores.
    flooder = subprocess.Popen(
        [
            "nice",
            "-n",
            "10",
            sys.executable,
            "-m",
            "tests.faults.flooder",
            redpen.port,
            keys["loud"],
            keys["mixed"],
            f"{seconds + 3}",
            f"{slow}",
        ],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        env=clean_environment(),
        text=True,
    )
    try:
        time.sleep(3)  # it makes its bombs and connections first
        times = quiet.send(seconds)
        said, _ = flooder.communicate(timeout=120)
    finally:
        flooder.kill()
        flooder.wait()
    memory.stopped.set()
    memory.join()
    for name, value in json.loads(said.splitlines()[-1]).items():
        setattr(report, name, value)
    report.flooded_p50, report.flooded_p99 = times[len(times) // 2], times[len(times) * 99 // 100]
    report.quiet_sent, report.quiet_not_stored = quiet.number, quiet.not_stored
    report.memory_before, report.memory_most = memory.before, memory.most
    time.sleep(1)  # statistics of the backends are written now and then
    report.deadlocks += ask(redpen, deadlocks)
    report.in_database = ask(
        redpen,
        "SELECT count(*) FROM annotation_reaction r JOIN accounts_project p ON p.id = r.project_id "
        "WHERE p.slug IN ('loud', 'mixed')",
    )
    return report
