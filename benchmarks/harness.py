"""What the benchmarks share: a signed-in client of a real `manage.py up`, percentiles, the last line."""

import json
import re
import statistics
import sys
from collections.abc import Sequence

import httpx

from tests.running import Running


def sign_in(redpen: Running, email: str, password: str) -> httpx.Client:
    """A client with a session and the CSRF header."""
    client = httpx.Client(base_url=redpen.url(""), timeout=60, follow_redirects=True)
    client.get("/sign-in/")
    fields = {"username": email, "password": password, "csrfmiddlewaretoken": client.cookies["csrftoken"]}
    page = client.post("/sign-in/", data=fields)
    if page.status_code != 200 or not re.search(r"sign-out", page.text):
        raise SystemExit(f"{email} could not sign in: {page.status_code}")
    client.headers["X-CSRFToken"] = client.cookies["csrftoken"]
    return client


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def milliseconds(seconds: Sequence[float]) -> dict[str, float]:
    return {"p50_ms": round(statistics.median(seconds) * 1000, 1), "p95_ms": round(percentile(seconds, 0.95) * 1000, 1)}


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def finish(**figures: object) -> None:
    """The last line of standard output, for scripts."""
    print(json.dumps(figures), flush=True)
