"""Who gets which piece of work. A lease only reserves the place: work that comes after it lapsed is kept.

Locks are taken in one order everywhere: the person (while dealing), the task, then its assignment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.db import connection, transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce, Now

from annotation.actions.people import Author
from annotation.errors import NotYours
from annotation.models import Assignment, Campaign, CampaignVersion, Task
from redpen.accounts.models import Project, User

LEASE = timedelta(minutes=10)  # the page's heartbeat comes every minute
COUNTED = 1000  # tasks that are left: who has more need not know how many
State = Assignment.State


@dataclass(frozen=True)
class Deal:
    """What somebody who asked for work gets. Without an assignment, `why` is done, held or closed."""

    assignment: Assignment | None
    why: str = ""
    left: int = 0

    @property
    def message(self) -> str:
        return MESSAGES[self.why]


MESSAGES = {
    "": "",
    "done": "All done: there is nothing left for you here just now.",
    "held": "Everything that is left is in other hands just now. Ask again in a few minutes.",
    "closed": "No campaign is open for this kind of work. An admin can open one.",
}


def lease_end() -> Now:
    """By Postgres' clock, which all servers share."""
    return Now() + LEASE


def in_hand() -> Q:
    """Assignments that take a place of their task: submitted, or held with a lease that still runs."""
    return Q(state=State.SUBMITTED) | Q(state=State.HELD, lease_expires_at__gt=Now())


def places_taken() -> Coalesce:
    taken = (
        Assignment.objects.filter(in_hand(), task=OuterRef("pk"))
        .order_by()
        .values("task")
        .annotate(n=Count("pk"))
        .values("n")
    )
    return Coalesce(Subquery(taken), Value(0))


def open_tasks(*, project: Project, kind: str, campaign: Campaign | None = None) -> QuerySet[Task]:
    """Open tasks of open campaigns. By the campaigns' ids, without a join: for one campaign the index task_to_deal has
    them in order."""
    campaigns = Campaign.objects.filter(project=project, state=Campaign.State.OPEN)
    if campaign is not None:
        campaigns = campaigns.filter(pk=campaign.pk)
    ids = list(campaigns.values_list("pk", flat=True))
    return Task.objects.filter(project=project, kind=kind, state=Task.State.OPEN, campaign_id__in=ids)


def never_mine(tasks: QuerySet[Task], user: User) -> QuerySet[Task]:
    """One person never gets a task twice, whatever became of the first time."""
    return tasks.filter(~Exists(Assignment.objects.filter(task=OuterRef("pk"), user=user)))


def with_a_place(tasks: QuerySet[Task]) -> QuerySet[Task]:
    return tasks.annotate(taken=places_taken()).filter(taken__lt=F("wanted")).order_by("-priority", "id")


@transaction.atomic
def deal_next(*, user: User, project: Project, kind: str, campaign: Campaign | None = None) -> Deal:
    """The next piece of work for `user`: what they hold already, else the open task of the highest priority.

    Two people never take the last place of one task, and nobody is told that there is nothing while a place is left.
    """
    one_at_a_time(user)
    tasks = open_tasks(project=project, kind=kind, campaign=campaign)
    if mine := resume(user=user, tasks=tasks):
        return Deal(mine)
    free = with_a_place(never_mine(tasks, user))
    # First past the tasks that others are taking at this moment; then, before saying no, wait for those too.
    task = claim(free, skip_locked=True) or claim(free, skip_locked=False)
    if task is not None:
        return Deal(hold(task=task, user=user))
    return Deal(None, why=why_nothing(user=user, project=project, kind=kind, tasks=tasks))


def one_at_a_time(user: User) -> None:
    """A person's second tab waits for the first one, and then resumes what that one got."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"deal {user.pk}"])


def resume(*, user: User, tasks: QuerySet[Task]) -> Assignment | None:
    """The oldest piece of work in the user's hands, its lease renewed. A lapsed one only while its place is free."""
    mine = Assignment.objects.filter(user=user, task__in=tasks, state__in=[State.HELD, State.LAPSED]).order_by("id")
    for assignment in mine:
        with kept_if_used() as lock:
            task = Task.objects.select_for_update().get(pk=assignment.task_id)
            taken = Assignment.objects.filter(in_hand(), task=task).exclude(pk=assignment.pk).count()
            if task.state != Task.State.OPEN or taken >= task.wanted:
                continue
            lapsed = assignment.state == State.LAPSED
            lock.used = bool(
                Assignment.objects.filter(pk=assignment.pk, state__in=[State.HELD, State.LAPSED]).update(
                    state=State.HELD, lease_expires_at=lease_end(), attempt=F("attempt") + (1 if lapsed else 0)
                )
            )
        if lock.used:
            assignment.refresh_from_db()
            return assignment
    return None


def claim(tasks: QuerySet[Task], *, skip_locked: bool) -> Task | None:
    """Lock the first of `tasks` that has a place, or None."""
    passed: list[UUID] = []
    while True:
        with kept_if_used() as lock:
            task = tasks.exclude(pk__in=passed).select_for_update(skip_locked=skip_locked, of=("self",)).first()
            if task is None:
                return None
            # Counted again under the lock: whoever held it a moment ago may have taken the last place.
            lock.used = with_a_place(Task.objects.filter(pk=task.pk, state=Task.State.OPEN)).exists()
        if lock.used:
            return task
        passed.append(task.pk)


@dataclass
class Lock:
    used: bool = False


@contextmanager
def kept_if_used() -> Iterator[Lock]:
    """Row locks taken inside are given back unless `used` is set: nobody waits for a task while holding another one."""
    lock = Lock()
    savepoint = transaction.savepoint()
    try:
        yield lock
    finally:
        if lock.used:
            transaction.savepoint_commit(savepoint)
        else:
            transaction.savepoint_rollback(savepoint)


def hold(*, task: Task, user: User | None = None, agent: str = "") -> Assignment:
    """Reserve a place of a locked task."""
    version = CampaignVersion.objects.filter(campaign=task.campaign_id).order_by("-number")[0]
    return Assignment.objects.create(
        project_id=task.project_id,
        task=task,
        campaign_version=version,
        user=user,
        agent=agent,
        lease_expires_at=lease_end(),
    )


def why_nothing(*, user: User, project: Project, kind: str, tasks: QuerySet[Task]) -> str:
    if never_mine(tasks, user).exists():
        return "held"
    campaigns = Campaign.objects.filter(project=project, state=Campaign.State.OPEN)
    return "done" if campaigns.exists() else "closed"


def left_for(*, user: User, project: Project, kind: str, campaign: Campaign | None = None) -> int:
    """How many tasks with a free place the user has not had; counted no further than COUNTED."""
    free = with_a_place(never_mine(open_tasks(project=project, kind=kind, campaign=campaign), user))
    return free.order_by()[:COUNTED].count()


def lapse() -> int:
    """Mark the holds whose lease ran out. Dealing does not wait for this: it looks at the lease itself."""
    return Assignment.objects.filter(state=State.HELD, lease_expires_at__lt=Now()).update(state=State.LAPSED)


@transaction.atomic
def heartbeat(*, author: Author, assignment: Assignment, active_seconds: float = 0.0) -> Assignment:
    """Somebody is still at it: renew the lease, and add the time they worked."""
    author_must_hold(author, assignment)
    Assignment.objects.filter(pk=assignment.pk, state=State.HELD).update(
        lease_expires_at=lease_end(), active_seconds=F("active_seconds") + bounded(active_seconds)
    )
    assignment.refresh_from_db()
    return assignment


def author_must_hold(author: Author, assignment: Assignment) -> None:
    if not author.holds(assignment):
        raise NotYours("This piece of work belongs to somebody else. Ask for your own.")


def bounded(seconds: float) -> float:
    """What a page may claim between two calls: at most an hour, never less than nothing."""
    return min(max(float(seconds), 0.0), 3600.0)
