"""One interface for all formats: items are read as a stream, taken in batches of one transaction, and accounted for.

An item is taken whole or not at all, a second import of the same adds nothing, and a dry run takes the real path and
rolls it back.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, BinaryIO, ClassVar

from django.db import DataError, IntegrityError, InterfaceError, OperationalError, connection, transaction

from annotation import text as texts
from annotation.actions.people import Author
from annotation.importers.reading import Item, read_items
from redpen.accounts.constraints import constraint_of
from redpen.accounts.errors import RedpenError
from redpen.accounts.models import Project

log = logging.getLogger(__name__)
LISTED = 1000  # refusals that a report lists; all are counted

FAULTS = 20  # of ours, at single items, before the import as a whole has failed
LONGEST_WORDS = 500  # characters of one refusal


@dataclass
class Report:
    """What became of a file."""

    items: int = 0
    taken: Counter[str] = field(default_factory=Counter)
    repeated: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    refusals: list[dict[str, Any]] = field(default_factory=list)
    dry_run: bool = False
    left_out: Counter[str] = field(default_factory=Counter)  # what the file holds beside feedback, in words
    asked: dict[str, int] = field(default_factory=dict)  # new work for people, by kind
    faults: int = 0  # of ours, among what was refused

    def refuse(self, item: Item, problems: list[tuple[str, str, str]]) -> None:
        """One line for each problem of an item: (where in it, code, words)."""
        self.refused += 1
        for pointer, code, message in problems:
            if len(self.refusals) < LISTED:
                where = {"line": item.line, "item": item.number, "pointer": shown(pointer)}
                self.refusals.append({**where, "code": code, "message": shown(message)})

    def count(self, kind: str, *, new: int, repeated: int) -> None:
        if new:
            self.taken[kind] += new
        if repeated:
            self.repeated[kind] += repeated

    def as_json(self) -> dict[str, Any]:
        return {
            "items": self.items,
            "taken": dict(self.taken),
            "repeated": dict(self.repeated),
            "refused": self.refused,
            "refusals": self.refusals,
            "left_out": dict(self.left_out),
            "dry_run": self.dry_run,
            "asked": self.asked,
        }


def shown(text: str) -> str:
    """What quotes the file, fit for a report: it may hold anything, of any length."""
    text = texts.UNSTORABLE.sub("\ufffd", text)
    return text if len(text) <= LONGEST_WORDS else f"{text[:LONGEST_WORDS]}…"


Counts = list[tuple[str, int, int]]  # (kind, new, repeated)


class Faults:
    """Collects all that is wrong with one item, so that a file is mended in one go."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str, str]] = []

    @contextmanager
    def at(self, pointer: str) -> Iterator[None]:
        """A refusal inside is noted at `pointer`, and the work goes on after the block."""
        try:
            yield
        except RedpenError as error:
            self.found += [(pointer + inner, code, message) for inner, code, message in problems_of(error)]

    def add(self, pointer: str, message: str, code: str = "import.unexpected") -> None:
        self.found.append((pointer, code, message))


def problems_of(error: RedpenError | IntegrityError | DataError) -> list[tuple[str, str, str]]:
    if not isinstance(error, RedpenError):
        rule = constraint_of(error)
        if not rule:
            return [("", "import.does_not_fit", "A value here is too long or too large to be stored.")]
        return [("", "import.against_a_rule", f"The database refuses this by its rule {rule}.")]
    if error.problems:
        return [(one["pointer"], one.get("code", error.code), one["message"]) for one in error.problems]
    return [("", error.code, error.message)]


class Importer:
    """A format. `parse` checks one item without the database; `store` writes what was parsed and counts it."""

    name: ClassVar[str]
    title: ClassVar[str]
    about: ClassVar[str]
    batch: ClassVar[int] = 100

    def __init__(self, *, project: Project, author: Author) -> None:
        self.project, self.author = project, author
        self.left_out: Counter[str] = Counter()  # what `parse` passes over, since it is no feedback

    def read(self, stream: BinaryIO) -> Iterator[Item]:
        """The file's items, one at a time."""
        return read_items(stream)

    def prepare(self) -> None:
        """What the project needs before the first item, such as labels. Inside the import's transaction."""

    def parse(self, item: Item, faults: Faults) -> Any:
        """The item as this format's own plain object; what is wrong goes into `faults`."""
        raise NotImplementedError

    def store(self, parsed: list[Any]) -> Counts:
        """Write many; raises a RedpenError when one of them cannot be stored."""
        raise NotImplementedError


def run(
    importer: Importer,
    stream: BinaryIO,
    *,
    dry_run: bool = False,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Import all of `stream`. Each batch is one transaction; a dry run is one in all, and rolled back."""
    report = Report(dry_run=dry_run)
    if not dry_run:
        with transaction.atomic():
            importer.prepare()
        _run(importer, stream, report, progress)
        return report
    with transaction.atomic():
        with connection.cursor() as cursor:  # nobody who erases waits for us: what we say is not kept
            cursor.execute("SELECT set_config('redpen.trying', 'on', true)")
        importer.prepare()
        _run(importer, stream, report, progress)
        transaction.set_rollback(True)
    return report


def _run(importer: Importer, stream: BinaryIO, report: Report, progress: Callable[[Report], None]) -> None:
    report.left_out = importer.left_out
    for items in _batches(importer.read(stream), importer.batch):
        good = []
        for item in items:
            report.items += 1
            if item.problem:
                report.refuse(item, [("", "import.not_readable", item.problem)])
                continue
            faults = Faults()
            try:
                parsed = importer.parse(item, faults)
            except Exception as error:  # a fault of ours costs one item, not the file
                faults.found = [stumbled(report, item, error)]
            if faults.found:
                report.refuse(item, faults.found)
            else:
                good.append((item, parsed))
        _store(importer, good, report)
        progress(report)


def _store(importer: Importer, good: list[tuple[Item, Any]], report: Report) -> None:
    """All at once; if that is refused, one by one, so that a refusal falls on the item that it is about."""
    if not good:
        return
    try:
        with transaction.atomic():
            counts = importer.store([parsed for _, parsed in good])
    except (OperationalError, InterfaceError):  # the database is away: that is not the items' doing
        raise
    except Exception as error:
        if len(good) == 1:
            item = good[0][0]
            foreseen = isinstance(error, RedpenError | IntegrityError | DataError)
            report.refuse(item, problems_of(error) if foreseen else [stumbled(report, item, error)])  # type: ignore
            return
        for one in good:
            _store(importer, [one], report)
        return
    for kind, new, repeated in counts:
        report.count(kind, new=new, repeated=repeated)


def stumbled(report: Report, item: Item, error: Exception) -> tuple[str, str, str]:
    """What a report says of an item at which our own code stumbled; the log says where. Too often: the import fails."""
    report.faults += 1
    if report.faults > FAULTS:
        raise error
    log.error("import.item_broken", exc_info=error, extra={"line": item.line, "item": item.number})
    return "", "import.fault", "This could not be understood, and Redpen should have said why: its log says more."


def _batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while batch := list(islice(items, size)):
        yield batch


def news(kind: str, rows: list[Any], stored: list[Any]) -> tuple[str, int, int]:
    """How many of `rows` were stored as they are, and how many were there already."""
    new = sum(kept is row for kept, row in zip(stored, rows, strict=True))
    return kind, new, len(rows) - new
