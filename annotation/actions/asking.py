"""Asking people about the answers behind a filtered set of reactions: span tasks of a campaign, in bulk."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from annotation.actions.people import Author
from annotation.actions.tasks import create_tasks
from annotation.errors import BadValue
from annotation.models import Campaign, Response
from annotation.queries import live

MOST = 1000  # answers that go to a campaign at once


@dataclass(frozen=True)
class Sent:
    """What came of it."""

    campaign: str
    new: int
    known: int
    left: int  # answers that were too many for once
    more: bool  # and perhaps further ones

    @property
    def words(self) -> str:
        said = f"{self.new:,} answers were added to {self.campaign}"
        said += f"; {self.known:,} were in it already." if self.known else "."
        if self.left or self.more:
            said += f" {self.left:,}{' or more' if self.more else ''} are left: send again for the next {MOST:,}."
        return said


@transaction.atomic
def ask_about(*, author: Author, campaign: Campaign, wanted: live.Wanted) -> Sent:
    """Ask for marks on the answers behind the newest lines that fit, MOST at most that the campaign has not yet."""
    if campaign.state != Campaign.State.OPEN:
        raise BadValue("/campaign", f"{campaign.name} is {campaign.state}. Choose a campaign that is open.")
    if wanted.test:
        raise BadValue("/data", "Test data is not for people to read. Look at live data and send that.")
    found = live.answers(project=campaign.project, wanted=wanted)
    asked = set(campaign.tasks.filter(kind="spans", response__in=found.ids).values_list("response", flat=True))
    fresh = [pk for pk in found.ids if pk not in asked]
    rows = Response.objects.filter(project=campaign.project_id, pk__in=fresh[:MOST])
    by_id = {row.pk: row for row in rows.defer("text", "thinking", "steps", "metadata", "sampling")}
    answers = [by_id[pk] for pk in fresh[:MOST] if pk in by_id]
    new = create_tasks(author=author, campaign=campaign, responses=answers, priority_reason="users' reactions")
    return Sent(campaign.name, new, len(asked), max(0, len(fresh) - MOST), found.more)
