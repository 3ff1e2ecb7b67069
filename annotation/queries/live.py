"""The Live page's reads: the newest reactions by filter, how many are new, the answers that they are about.

Every filter walks down an index of `LiveEvent` or `LiveSlice` in the order of the page and stops when the page is full,
so the number of reactions does not matter (tests/annotation/test_live_plans.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection

from annotation.models import Exposure, LiveEvent, Response
from redpen.accounts.models import Project

PERIODS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "quarter": timedelta(days=90),
}
BEGINNING = 160  # characters of an answer
LINES = 40
LOOKED_AT = 5_000  # lines behind which answers are no longer counted
ARRIVED = 5_000  # new events among which those that fit are looked for


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What the page shows; empty fields do not filter. `name` and `value` are of a slice."""

    kind: UUID | None = None
    taps: bool = False  # only what users did, not that they were shown something
    model: str = ""
    user: str = ""
    name: str = ""
    value: str = ""
    since: datetime | None = None
    test: bool = False


@dataclass(frozen=True)
class Line:
    """One reaction, as a line of the page."""

    id: UUID
    at: datetime
    came: datetime
    kind: str
    polarity: int
    user: str
    text: str
    marked: int
    response: UUID | None
    waits_for: str
    model: str
    beginning: str

    @property
    def sign(self) -> str:
        return {-1: "bad", 1: "good"}.get(self.polarity, "")

    @property
    def late(self) -> bool:
        """It came much later than it happened: a log, or somebody who was offline."""
        return self.came - self.at > timedelta(hours=1)


def values_for(project: Project, wanted: Wanted) -> dict[str, Any]:
    return {
        "project": project.pk,
        "test": wanted.test,
        "kind": wanted.kind,
        "model": wanted.model,
        "user": wanted.user,
        "name": wanted.name,
        "value": wanted.value,
        "since": wanted.since,
    }


# What each filter says of a line, and the index that it is walked by where it leads.
LEADS = {
    "user": "l.project_id = %(project)s AND l.external_user = %(user)s AND coalesce(l.test, l.test) = %(test)s",
    "both": "l.project_id = %(project)s AND l.test = %(test)s AND l.model = %(model)s AND l.kind_id = %(kind)s",
    "model": "l.project_id = %(project)s AND l.test = %(test)s AND l.model = %(model)s",
    "slice": "s.project_id = %(project)s AND s.test = %(test)s AND s.name = %(name)s AND s.value = %(value)s",
    "kind": "l.project_id = %(project)s AND l.test = %(test)s AND l.kind_id = %(kind)s",
    "taps": "l.project_id = %(project)s AND l.test = %(test)s AND l.tap",
    "all": "l.project_id = %(project)s AND l.test = %(test)s",
}
OF_SLICE = "(SELECT s.value FROM annotation_liveslice s WHERE s.reaction_id = l.reaction_id AND s.name = %(name)s)"
# The filters that do not lead. They are written so that the planner uses no index for them: it takes values for evenly
# spread over time, and would walk down years of one filter in search of a model that has long been retired.
FOLLOW = {
    "user": "(l.external_user = %(user)s) IS TRUE",
    "model": "(l.model = %(model)s) IS TRUE",
    "slice": f"{OF_SLICE} = %(value)s",
    "kind": "(l.kind_id = %(kind)s) IS TRUE",
    "taps": "coalesce(l.tap, false)",
}
# Behind a slice they are looked up line by line: joined, all lines of the table would be hashed.
BEHIND_SLICE = "(SELECT {} FROM annotation_liveevent l WHERE l.reaction_id = s.reaction_id)"
SMALL = 2_000  # lines; a filter with fewer leads, whatever the others are


def given(wanted: Wanted) -> list[str]:
    """The filters that are on; the first ones lead, where none has but a few lines."""
    on = {
        "user": bool(wanted.user),
        "model": bool(wanted.model),
        "slice": bool(wanted.name),
        "kind": wanted.kind is not None,
        "taps": wanted.taps and wanted.kind is None,
    }
    return [name for name, yes in on.items() if yes]


def leader(project: Project, wanted: Wanted) -> str:
    """Which filter's index is walked down; the others are looked at line by line."""
    on = given(wanted)
    leads = [name for name in on if name != "taps"]
    if len(leads) > 1:
        values = values_for(project, wanted)
        sizes = {}
        with connection.cursor() as cursor:
            for name in leads:
                of = "s" if name == "slice" else "l"
                # in the order of the index: else the planner would read the table until it has found enough
                order = f"ORDER BY {of}.at DESC, {of}.reaction_id DESC"
                one = f"SELECT 1 FROM {table(name)} WHERE {LEADS[name]} {order} LIMIT {SMALL}"
                cursor.execute(f"SELECT count(*) FROM ({one}) few", values)
                sizes[name] = cursor.fetchone()[0]
        smallest = min(leads, key=lambda name: sizes[name])
        if sizes[smallest] < SMALL:
            return smallest
    if leads and leads[0] == "model" and "kind" in leads:
        return "both"
    return leads[0] if leads else "taps" if on else "all"


def table(lead: str) -> str:
    return "annotation_liveslice s" if lead == "slice" else "annotation_liveevent l"


def walk(wanted: Wanted, lead: str) -> tuple[str, list[str], str]:
    """(tables and the leader's condition, the conditions of the others, the alias whose order is walked)."""
    of = "s" if lead == "slice" else "l"
    since = f" AND {of}.at >= %(since)s" if wanted.since is not None else ""
    leads = {"both": ("model", "kind")}.get(lead, (lead,))
    others = [FOLLOW[name] for name in given(wanted) if name not in leads]
    return f"{table(lead)} WHERE {LEADS[lead]}{since}", others, of


def page_sql(project: Project, wanted: Wanted, *, after: bool, limit: int) -> tuple[str, dict[str, Any]]:
    source, others, of = walk(wanted, leader(project, wanted))
    if of == "s":
        others = [BEHIND_SLICE.format(one) for one in others]
    if after:
        others = [f"({of}.at, {of}.reaction_id) < (%(after_at)s, %(after)s)", *others]
    where = "".join(f" AND {one}" for one in others)
    order = f"ORDER BY {of}.at DESC, {of}.reaction_id DESC"
    sql = f"SELECT {of}.reaction_id, {of}.at FROM {source}{where} {order} LIMIT {limit + 1}"
    return sql, values_for(project, wanted)


READ = """
    WITH page AS MATERIALIZED ({page})
    SELECT e.id, e.event_at, e.created_at, k.name, k.polarity, e.external_user, left(e.text, 300),
        CASE jsonb_typeof(e.spans) WHEN 'array' THEN jsonb_array_length(e.spans) ELSE 0 END,
        r.id, e.response_external_id, coalesce(nullif(r.model, ''), r.model_version::text, ''), left(r.text, %(most)s)
    FROM page JOIN annotation_reaction e ON e.id = page.reaction_id
    JOIN annotation_reactionkind k ON k.id = e.kind_id
    LEFT JOIN annotation_response r ON r.id = e.response_id
    ORDER BY page.at DESC, page.reaction_id DESC
"""


def newest(
    *, project: Project, wanted: Wanted, after: UUID | None = None, limit: int = LINES
) -> tuple[list[Line], UUID | None]:
    """One page, the latest first, and the key of the next. `after` is the last line of the page before."""
    sql, values = page_sql(project, wanted, after=after is not None, limit=limit)
    with connection.cursor() as cursor:
        if after is not None:
            cursor.execute(
                "SELECT event_at FROM annotation_reaction WHERE id = %s AND project_id = %s", [after, project.pk]
            )
            found = cursor.fetchone()
            if found is None:
                return [], None
            values |= {"after": after, "after_at": found[0]}
        cursor.execute(READ.replace("{page}", sql), {**values, "most": BEGINNING})
        lines = [Line(*row[:-1], row[-1] or "") for row in cursor.fetchall()]
    return lines[:limit], lines[limit - 1].id if len(lines) > limit else None


def last_arrived(*, project: Project, test: bool) -> UUID | None:
    """The youngest line there is, by its coming."""
    rows = LiveEvent.objects.filter(project=project, test=test).order_by("-reaction")
    return rows.values_list("reaction", flat=True).first()


def arrived_sql(project: Project, wanted: Wanted) -> tuple[str, dict[str, Any]]:
    fresh = (
        "SELECT * FROM annotation_liveevent WHERE project_id = %(project)s AND test = %(test)s "
        f"AND reaction_id > %(seen)s ORDER BY reaction_id DESC LIMIT {ARRIVED}"
    )
    others = [FOLLOW[name] for name in given(wanted)]
    others += ["l.at >= %(since)s"] if wanted.since is not None else []
    where = " AND ".join(others) or "true"
    return f"SELECT count(*) FROM ({fresh}) l WHERE {where}", values_for(project, wanted)


def arrived(*, project: Project, wanted: Wanted, seen: UUID) -> int:
    """How many lines that fit have come since `seen` was the youngest. Of very many only the youngest are looked at."""
    sql, values = arrived_sql(project, wanted)
    with connection.cursor() as cursor:
        cursor.execute(sql, {**values, "seen": seen})
        return cursor.fetchone()[0]


def answers_sql(project: Project, wanted: Wanted) -> tuple[str, dict[str, Any]]:
    source, others, of = walk(wanted, leader(project, wanted))
    where = " AND ".join(["l.response_id IS NOT NULL", *others])
    order = f"ORDER BY {of}.at DESC, {of}.reaction_id DESC"
    columns = "l.*"
    lines = "walked l"
    if of == "s":  # OFFSET 0: looked up line by line, and not joined by hashing the table
        columns = "s.reaction_id"
        one = "SELECT * FROM annotation_liveevent e WHERE e.reaction_id = walked.reaction_id OFFSET 0"
        lines = f"walked CROSS JOIN LATERAL ({one}) l"
    return (
        f"WITH walked AS MATERIALIZED (SELECT {columns} FROM {source} {order} LIMIT {LOOKED_AT + 1}) "
        f"SELECT l.response_id, (SELECT count(*) FROM walked) FROM {lines} WHERE {where} "
        "ORDER BY l.at DESC, l.reaction_id DESC",
        values_for(project, wanted),
    )


@dataclass(frozen=True)
class Answers:
    """The answers behind the lines, the latest reaction first. `more`: there may be further ones behind these."""

    ids: list[UUID]
    more: bool


def answers(*, project: Project, wanted: Wanted) -> Answers:
    """Each answer once. Of the filter that leads, the newest LOOKED_AT lines are looked at."""
    sql, values = answers_sql(project, wanted)
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        found = cursor.fetchall()
    return Answers(list(dict.fromkeys(row[0] for row in found)), bool(found) and found[0][1] > LOOKED_AT)


OFFERED = """
    WITH RECURSIVE told(name, value, place) AS (
        SELECT n.name, (
            SELECT s.value FROM annotation_liveslice s WHERE s.project_id = %(project)s AND s.test = %(test)s
            AND s.name = n.name ORDER BY s.value LIMIT 1
        ), 1 FROM unnest(%(names)s::text[]) AS n(name)
        UNION ALL
        SELECT t.name, (
            SELECT s.value FROM annotation_liveslice s WHERE s.project_id = %(project)s AND s.test = %(test)s
            AND s.name = t.name AND s.value > t.value ORDER BY s.value LIMIT 1
        ), place + 1 FROM told t WHERE t.value IS NOT NULL AND place < %(most)s
    ), wrote(model, place) AS (
        SELECT (
            SELECT l.model FROM annotation_liveevent l WHERE l.project_id = %(project)s AND l.test = %(test)s
            AND l.model > '' ORDER BY l.model LIMIT 1
        ), 1
        UNION ALL
        SELECT (
            SELECT l.model FROM annotation_liveevent l WHERE l.project_id = %(project)s AND l.test = %(test)s
            AND l.model > w.model ORDER BY l.model LIMIT 1
        ), place + 1 FROM wrote w WHERE w.model IS NOT NULL AND place < %(most)s
    )
    SELECT '', model FROM wrote WHERE model IS NOT NULL
    UNION ALL SELECT name, value FROM told WHERE value IS NOT NULL
"""


def offered(*, project: Project, names: Sequence[str], test: bool, most: int = 50) -> dict[str, list[str]]:
    """The values of these slices, and under '' the models: from value to value in the index, not over all lines."""
    found: dict[str, list[str]] = {"": [], **{name: [] for name in names}}
    with connection.cursor() as cursor:
        cursor.execute(OFFERED, {"project": project.pk, "test": test, "names": list(names), "most": most})
        for name, value in cursor.fetchall():
            found[name].append(value)
    return found


WAITING = """
    WITH c AS MATERIALIZED (SELECT coalesce(max(done), 0) AS done FROM annotation_countingcursor)
    SELECT min(created_at), clock_timestamp() FROM (
        (SELECT created_at FROM annotation_reaction WHERE xact >= (SELECT done FROM c) ORDER BY xact LIMIT 1) UNION ALL
        (SELECT created_at FROM annotation_response WHERE xact >= (SELECT done FROM c) ORDER BY xact LIMIT 1) UNION ALL
        (SELECT created_at FROM annotation_takenback WHERE xact >= (SELECT done FROM c) ORDER BY xact LIMIT 1)
    ) waits
"""


def counted_up_to() -> datetime:
    """Everything that had come by then is in the figures: now, unless something waits to be counted."""
    with connection.cursor() as cursor:
        cursor.execute(WAITING)
        waits, now = cursor.fetchone()
    return now if waits is None else min(now, waits)


def conversation(answer: Response, *, most: int = 200) -> list[Response]:
    """All answers of its conversation, in order; without one, the answer and those that it replaced, or that replaced
    it.
    """
    rows = Response.objects.filter(project=answer.project_id, test=answer.test).select_related("prompt")
    if answer.conversation:
        found = list(rows.filter(conversation=answer.conversation).order_by("turn", "id")[:most])
        return sorted(
            found, key=lambda one: (one.turn is None, one.turn or 0, one.written_at or one.created_at, one.pk)
        )
    chain = {answer.pk: answer}
    edge = [answer]
    while edge and len(chain) < most:
        parents = [one.parent_id for one in edge if one.parent_id and one.parent_id not in chain]
        near = rows.filter(pk__in=parents) | rows.filter(parent__in=[one.pk for one in edge])
        edge = [one for one in near[:most] if one.pk not in chain]
        chain |= {one.pk: one for one in edge}
    return sorted(chain.values(), key=lambda one: (one.written_at or one.created_at, one.pk))


def shown_to(answer: Response) -> int:
    """How many users, that we have a name for, were shown it."""
    return Exposure.objects.filter(response=answer).count()
