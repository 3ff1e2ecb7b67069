"""What a child says: whole lines of events.jsonl, kept as rows that are written once however often they are sent."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction

from training.models import Run, RunEvent
from training.queries.runs import family
from training.recipes.context import COUNTED
from training.runs.lease import OURS, Fenced, Hold

log = logging.getLogger(__name__)
NAME = "events.jsonl"
BATCH = 500
ATTEMPT = re.compile(r"attempt-(\d+)")  # the name of an attempt's folder
SHOWN_TEXT = 20_000  # characters of one text that the run's page keeps


class Tail:
    """Reads events.jsonl as it grows. What was read counts only once `keep` has been called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = self._next = 0

    def read(self, limit: int = BATCH) -> list[dict[str, Any]]:
        """The next whole lines; a half-written one waits."""
        events: list[dict[str, Any]] = []
        self._next = self._offset
        if not self.path.exists():
            return events
        with self.path.open("rb") as file:
            file.seek(self._offset)
            while len(events) < limit:
                line = file.readline()
                if not line.endswith(b"\n"):
                    break
                self._next += len(line)
                if event := parse(line):
                    events.append(event)
        return events

    def keep(self) -> None:
        self._offset = self._next


def parse(line: bytes) -> dict[str, Any] | None:
    try:
        event = json.loads(line)
        if isinstance(event["type"], str) and isinstance(event["seq"], int) and 0 <= event["seq"] < OURS:
            return event
    except (ValueError, KeyError, TypeError):
        pass
    log.warning("run.event_unreadable", extra={"bytes": len(line)})
    return None


def every(path: Path) -> Iterator[dict[str, Any]]:
    """All events of a file, one at a time."""
    tail = Tail(path)
    while events := tail.read():
        yield from events
        tail.keep()


def last_word(path: Path) -> dict[str, Any] | None:
    """The event that ends an attempt (done, error, cancelled), if it came to one. Of several processes one may have
    failed and the others have been stopped for it: then the failure is the word.
    """
    word = None
    for event in every(path):
        if event["type"] in ("done", "error", "cancelled") and (word is None or word["type"] != "error"):
            word = event
    return word


def story(folder: Path) -> Iterator[dict[str, Any]]:
    """What a run has said of its training, each thing once: by the attempts that the one in `folder` goes on from, up
    to the checkpoint, and then by itself.
    """
    said: dict[str, int] = {}
    for event in _told(folder):
        number = int(event.get("n", said.get(event["type"], 0)))
        if number >= said.get(event["type"], 0):
            said[event["type"]] = number + 1
            yield event


def _told(folder: Path) -> Iterator[dict[str, Any]]:
    for event in every(folder / NAME):
        if event["type"] in COUNTED:
            yield event
        elif event["type"] == "resumed" and (named := ATTEMPT.fullmatch(str(event.get("folder")))):
            counts = event.get("said") or {}
            for earlier in _told(folder.with_name(named[0])):
                if int(earlier.get("n", 0)) < counts.get(earlier["type"], 0):
                    yield earlier


@transaction.atomic
def store(hold: Hold, events: list[dict[str, Any]]) -> None:
    """Append to the run's events and move its progress on; raise Fenced when this attempt no longer holds the run.

    An attempt that goes on from a checkpoint says again what came after it; what is stored already is not stored twice.
    """
    run = hold.lock()
    known = stored_before(run, hold.attempt, events)
    rows = [
        RunEvent(
            project_id=run.project_id,
            run=run,
            attempt=hold.attempt,
            seq=event["seq"],
            type=event["type"][:16],
            step=event.get("step"),
            data=kept(event),
            at=datetime.fromtimestamp(float(event.get("at", 0)), UTC),
        )
        for event in events
        if not (event["type"] in known and isinstance(event.get("n"), int) and event["n"] < known[event["type"]])
    ]
    try:
        with transaction.atomic():
            RunEvent.objects.bulk_create(rows, ignore_conflicts=True, batch_size=BATCH)
    except IntegrityError as error:
        if "run_event_fenced" in str(error) or "does not hold" in str(error):
            raise Fenced(str(error)) from error
        raise
    progress = [event for event in events if event["type"] == "metrics" and isinstance(event.get("step"), int)]
    if progress:
        last = progress[-1]
        hold.update(step=max(0, last["step"]), total_steps=max(0, int(last.get("total") or 0)))


def stored_before(run: Run, attempt: int, events: list[dict[str, Any]]) -> dict[str, int]:
    """How many of each counted kind are stored of the attempts that tell the same story as this one; empty for an
    attempt that began at the beginning.
    """
    attempts = [one for one in family(run, attempt, events) if one < attempt]
    if not attempts:
        return {}
    found = {}
    for kind in COUNTED:
        last = run.events.filter(type=kind, attempt__in=attempts).order_by("-attempt", "-seq").first()
        if last is not None and isinstance(last.data.get("n"), int):
            found[kind] = last.data["n"] + 1
    return found


def kept(event: dict[str, Any]) -> dict[str, Any]:
    """What the row keeps of an event. A new answer is kept as a Response, not here a second time."""
    if event["type"] == "response":
        return {"prompt_id": event.get("data", {}).get("prompt_id"), "n": event.get("n")}
    rest = {name: value for name, value in event.items() if name not in ("type", "seq", "at", "step")}
    return storable(rest)


def storable(value: Any) -> Any:
    """Text as Postgres can hold it: a model may write anything, NUL and half surrogate pairs included."""
    if isinstance(value, str):
        text = value[:SHOWN_TEXT].replace("\0", "\N{REPLACEMENT CHARACTER}")
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {storable(name): storable(one) for name, one in value.items()}
    if isinstance(value, list):
        return [storable(one) for one in value]
    return value
