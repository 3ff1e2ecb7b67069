"""Label sets: made, grown, renamed, archived. Records point at a label's id, so names are free to change."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Max
from django.db.models.functions import Now
from django.utils.text import slugify

from annotation import text as texts
from annotation.actions.people import Author
from annotation.errors import BadValue
from annotation.models import Label, LabelSet
from annotation.models.campaigns import Sentiment
from redpen.accounts.constraints import constraint_of
from redpen.accounts.models import Project


@dataclass(frozen=True, kw_only=True)
class NewLabel:
    name: str
    key: str = ""  # made from the name where empty
    sentiment: int = -1
    description: str = ""
    shortcut: str = ""


def check_label(*, name: str, sentiment: int, shortcut: str) -> None:
    if not name.strip() or len(name) > 60:
        raise BadValue("/name", "A label's name has 1 to 60 characters.")
    texts.check(name, "/name")
    if sentiment not in Sentiment.values:
        raise BadValue("/sentiment", f"Sentiment is -1, 0 or 1, not {sentiment}.")
    if shortcut and shortcut not in "123456789":
        raise BadValue("/shortcut", "A label's key is one of 1 to 9.")


@transaction.atomic
def create_label_set(*, author: Author, project: Project, name: str, labels: Iterable[NewLabel]) -> LabelSet:
    """A set with its labels; the first nine get the keys 1 to 9 where they name none."""
    texts.check(name, "/name")
    label_set = LabelSet.objects.create(project=project, name=name)
    for position, new in enumerate(labels):
        check_label(name=new.name, sentiment=new.sentiment, shortcut=new.shortcut)
        Label.objects.create(
            project=project,
            label_set=label_set,
            key=new.key or slugify(new.name)[:60] or f"label-{position + 1}",
            name=new.name,
            description=texts.check(new.description, "/description"),
            sentiment=new.sentiment,
            shortcut=new.shortcut or (str(position + 1) if position < 9 else ""),
            position=position,
        )
    author.audit("label_set.created", project=project, subject=label_set, labels=label_set.labels.count())
    return label_set


@transaction.atomic
def label_for(*, author: Author, label_set: LabelSet, key: str, new: NewLabel | None = None) -> Label:
    """The label with this key; made where it is not there yet (an import may bring types nobody has listed)."""
    found = Label.objects.filter(label_set=label_set, key=key).first()
    if found is not None:
        return found
    new = new or NewLabel(name=key.replace("-", " ").capitalize()[:60])
    check_label(name=new.name, sentiment=new.sentiment, shortcut=new.shortcut)
    taken = set(label_set.labels.filter(archived_at=None).values_list("shortcut", flat=True))
    free = next((digit for digit in "123456789" if digit not in taken), "")
    last = label_set.labels.aggregate(last=Max("position"))["last"]
    label, made = Label.objects.get_or_create(
        label_set=label_set,
        key=key,
        defaults={
            "project_id": label_set.project_id,
            "name": new.name,
            "description": new.description,
            "sentiment": new.sentiment,
            "shortcut": new.shortcut if new.shortcut and new.shortcut not in taken else free,
            "position": 0 if last is None else last + 1,
        },
    )
    if made:
        author.audit("label.created", project=label_set.project, subject=label, key=key)
    return label


@transaction.atomic
def change_label(*, author: Author, label: Label, **changes: Any) -> Label:
    """Rename, describe, give another key on the keyboard. What was said with the label keeps its meaning's id."""
    for name, value in changes.items():
        if name not in ("name", "description", "sentiment", "shortcut", "position"):
            raise BadValue(f"/{name}", f"A label's {name} cannot be changed.")
        setattr(label, name, value)
    check_label(name=label.name, sentiment=label.sentiment, shortcut=label.shortcut)
    try:
        with transaction.atomic():
            label.save(update_fields=list(changes))
    except IntegrityError as error:
        if constraint_of(error) != "label_shortcut_once":
            raise
        raise BadValue("/shortcut", f"Another label has the key {label.shortcut}.") from error
    author.audit("label.changed", project=label.project, subject=label, fields=sorted(changes))
    return label


@transaction.atomic
def archive_label(*, author: Author, label: Label) -> Label:
    """No longer offered; what was said with it stays."""
    if Label.objects.filter(pk=label.pk, archived_at=None).update(archived_at=Now()):
        author.audit("label.archived", project=label.project, subject=label)
    label.refresh_from_db()
    return label
