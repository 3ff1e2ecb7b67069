"""How many records a file import and single marks take in per second: `make bench-imports`.

A file through the importer (first time and again), and single marks over HTTP from one and from four writers, each
acknowledged after its commit. Over a real `manage.py up` with fsync on. Figures, not ratios; `make bench-ingest`
measures the live API beside its peers.
"""

import json
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.harness import finish, milliseconds, say, sign_in
from tests.running import Running, running

PROMPTS, ANSWERS_EACH, SPANS_EACH = 250, 4, 3
MARKS = 400
PASSWORD = "a long enough password"
PREPARE = f"""
from redpen.accounts.models import Membership, Project, User
ada = User.objects.create_user("ada@example.org", {PASSWORD!r}, name="Ada")
project = Project.objects.create(name="Bench", slug="bench")
Membership.objects.create(project=project, user=ada, role="admin")
"""


def write_file(path: Path) -> int:
    """Prompts, answers, spans and preferences as redpen_jsonl; returns the number of lines."""
    rng = random.Random(0)
    words = [f"word{number}" for number in range(2000)]
    lines = 0
    with path.open("w") as file:

        def put(**fields: object) -> None:
            nonlocal lines
            lines += 1
            file.write(json.dumps(fields) + "\n")

        for p in range(PROMPTS):
            put(type="prompt", key=f"p{p}", messages=[{"role": "user", "content": " ".join(rng.sample(words, 30))}])
            for a in range(ANSWERS_EACH):
                text = " ".join(rng.choices(words, k=120))
                put(type="response", key=f"r{p}.{a}", prompt=f"p{p}", text=text, model="bench")
                for s in range(SPANS_EACH):
                    start = rng.randrange(len(text) - 40)
                    end = start + rng.randint(5, 40)
                    span = {"start": start, "end": end, "quote": text[start:end], "sentiment": -1, "by": "bench"}
                    put(type="span", key=f"s{p}.{a}.{s}", response=f"r{p}.{a}", critique="not so", **span)
            put(type="preference", key=f"v{p}", a=f"r{p}.0", b=f"r{p}.1", choice="a", by="bench")
    return lines


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def mark_over_http(redpen: Running, writers: int) -> tuple[float, list[float]]:
    """Marks per second and the seconds of each, from `writers` clients at the same time."""
    clients = [sign_in(redpen, "ada@example.org", PASSWORD) for _ in range(writers)]
    answers = clients[0].get("/api/v1/projects/bench/responses").json()["items"]

    def write(writer: int) -> list[float]:
        seconds = []
        for number in range(MARKS // writers):
            answer = answers[number % len(answers)]
            text = answer["text"]
            start = (writer * 97 + number * 7) % (len(text) - 10)
            body = {"start": start, "end": start + 8, "quote": text[start : start + 8], "sentiment": -1}
            url = f"/api/v1/projects/bench/responses/{answer['id']}/spans"
            headers = {"Idempotency-Key": f"{writers}-{writer}-{number}"}
            started = time.perf_counter()
            stored = clients[writer].post(url, json=body, headers=headers)
            seconds.append(time.perf_counter() - started)
            if stored.status_code != 201:
                raise SystemExit(f"a mark was answered with {stored.status_code}: {stored.text[:300]}")
        return seconds

    started = time.perf_counter()
    with ThreadPoolExecutor(writers) as pool:
        each = [second for seconds in pool.map(write, range(writers)) for second in seconds]
    return len(each) / (time.perf_counter() - started), each


def main() -> None:
    with running() as redpen, tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "records.jsonl"
        lines = write_file(file)
        say("starting a Redpen ...")
        redpen.start_and_wait(300)
        redpen.manage("shell", "-c", PREPARE)
        bare = timed(lambda: redpen.manage("shell", "-c", "pass"))  # what any command costs before it does anything
        importing = ("import_feedback", "redpen_jsonl", str(file), "--project", "bench")
        first = timed(lambda: redpen.manage(*importing)) - bare
        again = timed(lambda: redpen.manage(*importing)) - bare
        say(f"import of {lines} lines: {first:.1f} s, again: {again:.1f} s")
        alone, alone_each = mark_over_http(redpen, 1)
        together, together_each = mark_over_http(redpen, 4)
        say(f"marks over HTTP: {alone:.0f}/s from one writer, {together:.0f}/s from four")
    finish(
        import_lines_per_s=round(lines / first),
        import_again_lines_per_s=round(lines / again),
        marks_per_s_one_writer=round(alone, 1),
        marks_per_s_four_writers=round(together, 1),
        mark_one_writer=milliseconds(alone_each),
        mark_four_writers=milliseconds(together_each),
    )


if __name__ == "__main__":
    main()
