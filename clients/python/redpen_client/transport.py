"""One request with a batch of items, and what its answer means for them. No waiting, no state but the connections."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from time import time
from typing import Union
from urllib.parse import quote

import httpx

from redpen_client.errors import Problem, json_of
from redpen_client.items import Item, new_id

VERSION = "0.1.0"
GZIP_FROM = 1024
LONGEST_WAIT = 600.0  # that a Retry-After is believed
COME_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504}
KEY_OR_ADDRESS = {401, 403, 404, 405}  # about us, not about the items


@dataclass
class Batch:
    """Items that go in one request. A repeat keeps the key, the bytes and the number of drops it tells of."""

    items: list[Item]
    key: str = field(default_factory=new_id)
    dropped: int | None = None


@dataclass(frozen=True)
class Fate:
    """What became of one item: stored, repeated, refused or retry."""

    status: str
    problem: Problem | None = None


@dataclass(frozen=True)
class Judged:
    """Each item has its fate."""

    fates: list[Fate]
    after: float | None = None


@dataclass(frozen=True)
class Later:
    """Nothing is known to be stored; the same request may be sent again, not before `after` seconds."""

    why: str
    after: float | None = None


@dataclass(frozen=True)
class Refused:
    """The request as a whole was refused."""

    problem: Problem


@dataclass(frozen=True)
class ShutOut:
    """The key or the address is wrong: no item will go through until that is mended."""

    problem: Problem


Outcome = Union[Judged, Later, Refused, ShutOut]


class Transport:
    """Posts batches. Used by one thread at a time."""

    def __init__(self, endpoint: str, key: str, *, timeout: float) -> None:
        self.endpoint, self.timeout = address(endpoint), timeout
        self.headers = headers(key)
        self.http: httpx.Client | None = None
        self.inherited: list[httpx.Client] = []  # of the process that forked us: its sockets must not be closed
        self.lock = threading.Lock()

    def send(self, batch: Batch, *, timeout: float | None = None) -> Outcome:
        """Never raises for what a network or a server does."""
        with self.lock:
            if self.http is None:
                self.http = httpx.Client(base_url=self.endpoint, headers=self.headers)
        request = self._request(self.http, batch, httpx.Timeout(min(self.timeout, timeout or self.timeout)))
        try:
            reply = self.http.send(request)
        except httpx.HTTPError as error:
            return Later(f"{type(error).__name__}: {error}")
        return outcome(reply, batch.items)

    def close(self) -> None:
        with self.lock:
            if self.http is not None:
                self.http.close()
                self.http = None

    def after_fork(self) -> None:
        self.lock = threading.Lock()
        if self.http is not None:
            self.inherited.append(self.http)
            self.http = None

    def _request(self, http: httpx.Client, batch: Batch, timeout: httpx.Timeout) -> httpx.Request:
        # A tap without an id is named by answer, user, kind and time; the server would name it after the key instead.
        extra = {"Idempotency-Key": batch.key} if all(item.id for item in batch.items) else {}
        if batch.dropped:
            extra["Redpen-Dropped"] = str(batch.dropped)
        first = batch.items[0]
        if first.withdraws:
            path = f"/api/v1/reactions/{quote(first.id or '', safe='')}"
            return http.build_request("DELETE", path, headers=extra, timeout=timeout)
        body = b"[" + b",".join(item.body for item in batch.items) + b"]"
        extra["Content-Type"] = "application/json"
        if len(body) >= GZIP_FROM:
            body = gzip.compress(body, compresslevel=5, mtime=0)
            extra["Content-Encoding"] = "gzip"
        return http.build_request("POST", f"/api/v1/{first.path}", content=body, headers=extra, timeout=timeout)


def outcome(reply: httpx.Response, items: Sequence[Item]) -> Outcome:
    status = reply.status_code
    after = retry_after(reply)
    if reply.is_success:
        fates = [Fate("stored")] if items[0].withdraws else fates_of(json_of(reply))
        if fates is None or len(fates) != len(items):  # not Redpen's answer: nothing is known
            return Later(f"an answer with status {status} that does not list what became of the items", after)
        return Judged(fates, after)
    problem = Problem.of_reply(reply)
    if items[0].withdraws and status == 404:
        return Judged([Fate("refused", problem)])
    if status in COME_AGAIN or status >= 500:
        return Later(str(problem), after)
    if status in KEY_OR_ADDRESS or reply.is_redirect:
        return ShutOut(problem)
    return Refused(problem)


def fates_of(told: object) -> list[Fate] | None:
    results = told.get("results") if isinstance(told, dict) else None
    if not isinstance(results, list):
        return None
    fates = []
    for one in results:
        status = one.get("status") if isinstance(one, dict) else None
        if status not in ("stored", "repeated", "refused", "retry"):
            return None
        problem = Problem.of(one.get("problem"), 422) if status in ("refused", "retry") else None
        if status == "refused" and problem and problem.status in (401, 403):
            status = "retry"  # the key ended just now, which is not the item's fault; the next request will say so
        fates.append(Fate(status, problem))
    return fates


def retry_after(reply: httpx.Response) -> float | None:
    """The header in seconds, whether it tells seconds or a date."""
    said = reply.headers.get("Retry-After", "").strip()
    if not said:
        return None
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(said).timestamp() - time()
        except (TypeError, ValueError):
            return None
    return min(max(seconds, 0.0), LONGEST_WAIT) if seconds == seconds else None


def address(endpoint: str) -> str:
    if not endpoint.startswith(("http://", "https://")):
        raise ValueError(f"The endpoint is an address like https://redpen.example.org, not {endpoint!r}.")
    return endpoint.rstrip("/")


def headers(key: str) -> dict[str, str]:
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise ValueError("The key is missing, or is none: it begins with rp_ and comes from the project's settings.")
    return {
        "Authorization": f"Bearer {key}",
        "User-Agent": f"redpen-client/{VERSION}",
        "Accept": "application/json",
    }
