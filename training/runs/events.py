"""What a child says: whole lines of events.jsonl, kept as rows that are written once however often they are sent."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.db import IntegrityError, transaction

from training.models import RunEvent
from training.runs.lease import OURS, Fenced, Hold

log = logging.getLogger(__name__)
NAME = "events.jsonl"
BATCH = 500
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
    """The event that ends an attempt (done, error, cancelled), if it came to one."""
    word = None
    for event in every(path):
        if event["type"] in ("done", "error", "cancelled"):
            word = event
    return word


@transaction.atomic
def store(hold: Hold, events: list[dict[str, Any]]) -> None:
    """Append to the run's events and move its progress on; raise Fenced when this attempt no longer holds the run."""
    run = hold.lock()
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


def kept(event: dict[str, Any]) -> dict[str, Any]:
    """What the row keeps of an event. A new answer is kept as a Response, not here a second time."""
    if event["type"] == "response":
        return {"prompt_id": event.get("data", {}).get("prompt_id")}
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
