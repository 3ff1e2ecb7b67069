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


def interval(values: Sequence[float]) -> dict[str, float]:
    """Mean and Student's 95 % interval over seeds; without one where there are fewer than two."""
    from scipy.stats import t

    n, mean = len(values), statistics.fmean(values)
    half = float(t.ppf(0.975, n - 1)) * statistics.stdev(values) / n**0.5 if n > 1 else float("nan")
    found = {"mean": mean, "low": mean - half, "high": mean + half}
    return {name: round(value, 4) for name, value in found.items() if value == value}


def paired(mine: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """The same of the differences, seed by seed: mine minus theirs."""
    return interval([a - b for a, b in zip(mine, theirs, strict=True)])
