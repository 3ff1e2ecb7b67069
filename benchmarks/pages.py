"""How quickly the pages come, and how much a first visit loads: `make bench-pages`.

Over a real `manage.py up` with the demo project, one visitor at a time. No peer yet: figures, not ratios.
"""

import re
import time
from urllib.parse import urljoin

import httpx

from benchmarks.harness import finish, milliseconds, percentile, say, sign_in
from redpen.accounts.demo import DEMO_LOGINS, DEMO_PASSWORD
from tests.running import running

VISITS = 20
FIRST = "/p/demo/"
IMPORT = re.compile(r"""^(?:import|export)\b[^;(]*?["'](\.[^"']+)["']""", re.MULTILINE)
ASSET = re.compile(r'(?:href|src)="(/static/[^"]+)"')


def pages_of(client: httpx.Client) -> list[str]:
    """The project's home and what it links to inside the project, each kind of page once."""
    found = re.findall(r'href="(/p/demo/[^"#?]*)"', client.get(FIRST).text)
    kinds = {re.sub(r"[0-9a-f-]{36}", "<id>", path): path for path in [FIRST, *found] if "export" not in path}
    return sorted(kinds.values())


def time_page(client: httpx.Client, path: str) -> list[float]:
    seconds = []
    for _ in range(VISITS):
        started = time.perf_counter()
        answer = client.get(path)
        seconds.append(time.perf_counter() - started)
        if answer.status_code != 200:
            raise SystemExit(f"{path} answers {answer.status_code}")
    return seconds


def weight(client: httpx.Client, path: str) -> int:
    """Bytes over the wire for a first visit: the page, its styles and scripts, and the modules that these import."""
    page = client.get(path)
    total = int(page.headers.get("content-length", len(page.content)))
    todo, seen = ASSET.findall(page.text), set()
    while todo:
        asset = todo.pop()
        if asset in seen:
            continue
        seen.add(asset)
        with client.stream("GET", asset) as answer:
            total += int(answer.headers.get("content-length", 0))
            text = answer.read().decode(errors="replace") if asset.endswith(".js") else ""
        todo += [urljoin(asset, target) for target in IMPORT.findall(text)]
    return total


def main() -> None:
    with running(DEMO="true") as redpen:
        say("starting a Redpen with the demo ...")
        redpen.start_and_wait(300)
        client = sign_in(redpen, DEMO_LOGINS[0].email, DEMO_PASSWORD)
        while client.get("/api/v1/projects/demo/runs/1").json()["state"] in ("queued", "running"):
            time.sleep(2)  # the demo's reward model is being trained, which would be measured as well
        figures, all_seconds = {}, []
        for path in pages_of(client):
            seconds = time_page(client, path)
            all_seconds += seconds
            figures[path] = {**milliseconds(seconds), "first_visit_kb": round(weight(client, path) / 1000, 1)}
            say(f"{path:<40} {figures[path]}")
    finish(
        pages=len(figures),
        **milliseconds(all_seconds),
        p99_ms=round(percentile(all_seconds, 0.99) * 1000, 1),
        slowest_page_p95_ms=max(figure["p95_ms"] for figure in figures.values()),
        heaviest_first_visit_kb=max(figure["first_visit_kb"] for figure in figures.values()),
    )


if __name__ == "__main__":
    main()
