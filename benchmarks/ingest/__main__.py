"""`make bench-ingest`; ARGS may hold --rounds, --seconds, --without-peers."""

import argparse
import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path

import psycopg

from benchmarks.harness import finish, say
from benchmarks.ingest.client import Client, Replayed
from benchmarks.ingest.copying import Copying
from benchmarks.ingest.ours import Ours
from benchmarks.peers.servers import PEERS, RESPONSES, Peer
from redpen.services.addresses import embedded_database_url
from redpen.services.postgres import Postgres
from redpen.services.process import stop
from tests.running import running

LINES = 100_000
FIRST = 8  # connections of (a)


class Bench:
    """Figures by (system, measure), and the running number of the reactions."""

    def __init__(self, client: Client, seconds: float) -> None:
        self.client, self.seconds = client, seconds
        self.numbers: Iterator[int] = count(1)
        self.acknowledged: dict[str, int] = defaultdict(int)
        self.rates: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.p50: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.p99: dict[tuple[str, str], list[float]] = defaultdict(list)

    def measure(
        self,
        system: Ours | Peer,
        name: str,
        *,
        items: int = 1,
        connections: int = FIRST,
        expect: float,
        note: bool = True,
    ) -> float:
        """Reactions a second. `expect` says how many a second to prepare for; the file must outlast the seconds."""
        requests = int(self.seconds * expect / items) + connections * 2
        made = (
            system.single(self.numbers) if items == 1 else system.batch(self.numbers, items) for _ in range(requests)
        )
        headers = system.headers if isinstance(system, Ours) else None
        file = self.client.write(f"{system.name}-{name}", made, headers)
        found = self._replay(system, file, items, connections, {"200", "201"})
        file.unlink()
        if note:
            self.note(system.name, name, items, found)
            if found.requests == requests:
                say(f"    (the prepared requests were used up after {found.seconds:.1f} s)")
        return found.requests * items / found.seconds

    def lines(self, ours: Ours) -> float:
        """One NDJSON request."""
        headers = {**ours.headers, "Content-Type": "application/x-ndjson"}
        file = self.client.write("lines", [ours.lines(self.numbers, LINES)], headers)
        found = self._replay(ours, file, LINES, 1, {"200"})
        file.unlink()
        self.note(ours.name, "ndjson", LINES, found)
        return LINES / found.seconds

    def _replay(self, system: Ours | Peer, file: Path, items: int, connections: int, accept: set[str]) -> Replayed:
        found = self.client.replay(file, system.port, connections=connections, seconds=self.seconds, accept=accept)
        self.acknowledged[system.name] += found.requests * items
        return found

    def note(self, system: str, name: str, items: int, found: Replayed) -> None:
        rate = found.requests * items / found.seconds
        self.rates[system, name].append(rate)
        self.p50[system, name].append(found.p50_ms)
        self.p99[system, name].append(found.p99_ms)
        times = f"   p50 {found.p50_ms:.1f} ms, p99 {found.p99_ms:.1f} ms" if found.p50_ms else ""
        say(f"  {system:8} {name:16} {rate:9,.0f}/s{times}")

    def median(self, system: str, name: str) -> float:
        return statistics.median(self.rates[system, name])

    def check(self, systems: list[Ours | Peer], copied: int) -> None:
        """Whatever was acknowledged is in the database."""
        for system in systems:
            there, said = system.count(), self.acknowledged[system.name] + (copied if isinstance(system, Ours) else 0)
            if there != said:
                raise SystemExit(f"{system.name} acknowledged {said} reactions, and {there} are in its database.")

    def figures(self) -> dict[str, dict[str, float]]:
        return {
            f"{system}_{name}": {
                "per_s": round(self.median(system, name)),
                "least": round(min(rates)),
                "most": round(max(rates)),
                **({"p50_ms": p50, "p99_ms": round(statistics.median(self.p99[system, name]), 2)} if p50 else {}),
            }
            for (system, name), rates in sorted(self.rates.items())
            for p50 in [round(statistics.median(self.p50[system, name]), 2)]
        }


def peers_ready(stack: ExitStack, folder: Path) -> list[Peer]:
    """Both peers, running, with their traces, on a Postgres server of their own."""
    postgres = Postgres(folder / "peers")
    postgres.initialise()
    (folder / "peers" / "log").mkdir(exist_ok=True)
    process = postgres.start()
    stack.callback(stop, process, seconds=30)
    postgres.wait(process)
    postgres.make_wal_ready()
    ready: list[Peer] = []
    with psycopg.connect(embedded_database_url(folder / "peers"), autocommit=True) as connection:
        for name, kind in PEERS.items():
            connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
            say(f"{name}: installing (once) and starting ...")
            peer = kind(folder / name, embedded_database_url(folder / "peers", name))
            if peer.install_seconds:
                say(f"  installed in {peer.install_seconds:.0f} s")
            stack.callback(peer.stop)
            peer.start()
            peer.prepare()
            ready.append(peer)
    return ready


def best_connections(bench: Bench, system: Ours | Peer, expect: float) -> int:
    """8, 16 or 32 connections for batches of 100: whichever is fastest in a short trial."""
    trial = Bench(bench.client, 3)
    trial.numbers, trial.acknowledged = bench.numbers, bench.acknowledged
    rates = {
        n: trial.measure(system, "trial", items=100, connections=n, expect=expect, note=False) for n in (8, 16, 32)
    }
    return max(rates, key=rates.__getitem__)


def measure_all(bench: Bench, ours: Ours, peers: list[Peer], rounds: int) -> None:
    expected = {"phoenix": 2_000.0, "mlflow": 1_000.0, "redpen": 30_000.0}
    batching = [peer for peer in peers if peer.batches]
    many = {
        system.name: best_connections(bench, system, 80_000 if system is ours else 10_000)
        for system in [*batching, ours]
    }
    say(f"batches over so many connections: {many}")
    bench.measure(ours, "warm", expect=expected["redpen"], note=False)
    for peer in peers:
        bench.measure(peer, "warm", expect=expected[peer.name], note=False)
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for system in [system for peer in peers for system in (peer, ours)] or [ours]:
            bench.measure(system, "single", expect=expected[system.name])
        bench.measure(ours, "single_64", connections=64, expect=expected["redpen"])
        for system in [system for peer in batching for system in (peer, ours)] or [ours]:
            expect = 120_000 if system is ours else 10_000
            bench.measure(system, "batch_100", items=100, connections=many[system.name], expect=expect)
        bench.measure(ours, "batch_1000", items=1000, connections=4, expect=120_000)


def measure_copy(bench: Bench, ours: Ours, rounds: int) -> int:
    """NDJSON beside Postgres' COPY; gives how many rows COPY left in the table."""
    copying = Copying(ours)
    copied = 0
    for _ in range(rounds):
        bench.lines(ours)
        for name, rows, a_transaction in (("copy_staged", LINES, LINES), ("copy_staged_1000", LINES // 4, 1000)):
            rate = copying.staged(bench.numbers, rows, a_transaction=a_transaction)
            copied += rows
            bench.note("postgres", name, rows, Replayed(1, rows / rate, 0, 0, {}))
        for table in ("bench_heap", "bench_indexed"):
            rate = copying.bare(bench.numbers, LINES, table)
            bench.note("postgres", table.replace("bench", "copy"), LINES, Replayed(1, LINES / rate, 0, 0, {}))
    copying.close()
    return copied


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.ingest", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=6, help="of each measure")
    parser.add_argument("--without-peers", action="store_true")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="redpen-bench-")))
        folder.chmod(0o755)  # Postgres has an account of its own
        client = Client(folder)
        say(f"{client.words}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; fsync on everywhere")
        redpen = stack.enter_context(running())
        say("starting a Redpen ...")
        redpen.start_and_wait(300)
        ours = Ours(redpen)
        ours.prepare()
        peers = [] if options.without_peers else peers_ready(stack, folder)
        bench = Bench(client, options.seconds)
        measure_all(bench, ours, peers, options.rounds)
        copied = measure_copy(bench, ours, options.rounds)
        bench.check([ours, *peers], copied)
        say("everything that was acknowledged is in the databases")
    figures: dict[str, object] = {
        "single_vs_best_peer": None,
        "batch_vs_best_peer": None,
        "share_of_copy": round(bench.median("redpen", "ndjson") / bench.median("postgres", "copy_staged"), 3),
        "responses": RESPONSES,
        "load": round(os.getloadavg()[0], 1),
        "client": client.words,
    }
    if peers:
        best = max(bench.median(peer.name, "single") for peer in peers)
        figures["single_vs_best_peer"] = round(bench.median("redpen", "single") / best, 1)
        best = max(bench.median(peer.name, "batch_100" if peer.batches else "single") for peer in peers)
        figures["batch_vs_best_peer"] = round(bench.median("redpen", "batch_100") / best, 1)
    finish(**figures, **bench.figures())


if __name__ == "__main__":
    main()
