"""How a project takes in what its product sends: its settings, and the kinds of reactions that it knows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction

from annotation import redaction
from annotation import text as texts
from annotation.actions.people import Author
from annotation.errors import BadValue
from annotation.models import IntakeSettings, ReactionKind
from redpen.accounts.actions.names import one_line
from redpen.accounts.constraints import constraint_of
from redpen.accounts.errors import Conflict
from redpen.accounts.models import Project

RETAINED = ("reaction", "response", "record")  # what may be deleted by age; records: all other feedback
LONGEST_RETENTION = 3650  # days
MOST_SLICES, LONGEST_SLICE = 10, 60  # rates are counted apart for every value of each
MOST_KINDS = 100
KEY = re.compile("[a-z0-9][a-z0-9_-]{0,39}")


class KindTaken(Conflict):
    """The project has another kind under this key."""

    code = "kind.taken"


class BuiltIn(Conflict):
    """`shown` means the same in every project."""

    code = "kind.built_in"


# ---- settings ----


@transaction.atomic
def change_intake(
    *,
    author: Author,
    project: Project,
    hash_users: bool | None = None,
    redact: Sequence[str] | None = None,
    slices: Sequence[str] | None = None,
    retention_days: Mapping[str, int] | None = None,
    leave_out: bool | None = None,
) -> IntakeSettings:
    """Change what is given; what is None stays. It holds for what comes from now on (the intake sees it in seconds)."""
    wanted: dict[str, Any] = {"hash_users": hash_users, "leave_out": leave_out}
    if redact is not None:
        redaction.check_names(redact)
        wanted["redact"] = [name for name in redaction.NAMES if name in redact]
    if slices is not None:
        wanted["slices"] = checked_slices(slices)
    if retention_days is not None:
        wanted["retention_days"] = checked_retention(retention_days)
    IntakeSettings.objects.get_or_create(project=project)
    settings = IntakeSettings.objects.select_for_update().get(project=project)
    changed = [name for name, value in wanted.items() if value is not None and value != getattr(settings, name)]
    for name in changed:
        setattr(settings, name, wanted[name])
    if changed:
        settings.save(update_fields=changed)
        author.audit("intake.changed", project=project, subject=project, fields=changed)
    return settings


def checked_slices(slices: Sequence[str]) -> list[str]:
    if len(slices) > MOST_SLICES:
        raise BadValue("/slices", f"Rates are split by at most {MOST_SLICES} keys of metadata, not {len(slices)}.")
    for index, key in enumerate(slices):
        texts.check(key, f"/slices/{index}")
        if not key.strip() or len(key) > LONGEST_SLICE or not key.isprintable():
            raise BadValue(
                f"/slices/{index}", f"A key of metadata has 1 to {LONGEST_SLICE} printable characters, not only spaces."
            )
    return list(dict.fromkeys(slices))


def checked_retention(retention_days: Mapping[str, int]) -> dict[str, int]:
    for kind, days in retention_days.items():
        pointer = f"/retention_days/{texts.check(kind, '/retention_days').replace('~', '~0').replace('/', '~1')}"
        if kind not in RETAINED:
            raise BadValue(pointer, f"There is no '{kind}' to delete by age. There are: {', '.join(RETAINED)}.")
        if isinstance(days, bool) or not isinstance(days, int) or not 1 <= days <= LONGEST_RETENTION:
            raise BadValue(pointer, f"This is a whole number of days from 1 to {LONGEST_RETENTION}.")
    return {kind: retention_days[kind] for kind in RETAINED if kind in retention_days}


# ---- kinds of reactions ----


@transaction.atomic
def create_kind(
    *, author: Author, project: Project, key: str, name: str = "", polarity: int = 0
) -> tuple[ReactionKind, bool]:
    """A kind of reaction that the product's users can give; for good. False: it was there, and means the same.

    A product may declare its kinds each time it starts, so a name that people have changed here stays. Raises KindTaken
    where the key has another polarity.
    """
    if not KEY.fullmatch(key):
        raise BadValue("/key", "A key has 1 to 40 of a-z, 0-9, - and _, and begins with a letter or digit.")
    name = checked_name(name) if name.strip() else key.replace("_", " ").replace("-", " ").capitalize()
    polarity = checked_polarity(polarity)
    if ReactionKind.objects.filter(project=project).exclude(key=key).count() >= MOST_KINDS:
        raise BadValue("/key", f"A project has at most {MOST_KINDS} kinds of reactions.", code="kind.too_many")
    try:
        with transaction.atomic():
            kind = ReactionKind.objects.create(project=project, key=key, name=name, polarity=polarity)
    except IntegrityError as error:
        if constraint_of(error) != "reaction_kind_once":
            raise
        there = ReactionKind.objects.get(project=project, key=key)
        if there.polarity == polarity:
            return there, False
        raise KindTaken(
            f"There is a kind '{key}' already: {there.name}, polarity {there.polarity}. Change that one.",
            data={"key": key, "name": there.name, "polarity": there.polarity},
        ) from None
    author.audit("kind.made", project=project, subject=kind, polarity=polarity)
    return kind, True


@transaction.atomic
def change_kind(
    *, author: Author, kind: ReactionKind, name: str | None = None, polarity: int | None = None
) -> ReactionKind:
    """Call it otherwise, or count it otherwise: past reactions of the kind are counted so too. Its key stays."""
    wanted = {
        "name": checked_name(name) if name is not None else None,
        "polarity": checked_polarity(polarity) if polarity is not None else None,
    }
    kind = ReactionKind.objects.select_for_update().get(pk=kind.pk)
    if kind.built_in:
        raise BuiltIn(f"'{kind.key}' is built in and means the same in every project. It cannot change.")
    changed = [field for field, value in wanted.items() if value is not None and value != getattr(kind, field)]
    for field in changed:
        setattr(kind, field, wanted[field])
    if changed:
        kind.save(update_fields=changed)
        author.audit("kind.changed", project=kind.project, subject=kind, fields=changed)
    return kind


def checked_name(name: str) -> str:
    return one_line(texts.check(name, "/name"), pointer="/name", what="The name", longest=60)


def checked_polarity(polarity: int) -> int:
    if polarity not in (-1, 0, 1):
        raise BadValue("/polarity", "A polarity is -1 (bad), 0 (neither) or 1 (good).")
    return polarity
