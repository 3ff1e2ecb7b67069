"""How often users react to answers: shares of exposures with intervals, over time, by model, language or a slice.

Read off the cells that `annotation.actions.counting` keeps; no reaction is looked at, however many there are. An
exposure belongs to the hour in which its user first met the answer, and so does all that the user did with it later:
every share is of the same exposures above and below the line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from math import sqrt
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from annotation.errors import BadValue
from annotation.models import IntakeSettings, ReactionKind
from annotation.queries.live import counted_up_to
from redpen.accounts.models import Project

BUILT_IN = ("language", "model_version")
Z95 = 1.959963984540054  # of the normal distribution: 95 % lie within
FEW = 30  # exposures; a share of fewer says so
GROUPS = 50  # of a split, the largest first
HOURS = timedelta(days=7)  # by the hour over no more than this
LONGEST = timedelta(days=2 * 366)
USUAL = timedelta(days=30)


def wilson(n: int, of: int, z: float = Z95) -> tuple[float, float]:
    """The score interval of a share (Wilson 1927): where the true share may lie, given `n` of `of`.

    Unlike the usual mean +- z * error it stays within 0 and 1 and is right for few records and for shares near 0 or 1,
    which reactions have. With nothing seen it is all of 0 to 1.
    """
    if of == 0:
        return 0.0, 1.0
    share, square = n / of, z * z
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = z / (1 + square / of) * sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is wanted. Times are cut to whole hours, over more than three days to whole days (UTC).

    `split`: '', 'model', or the name of a slice. `slice` and `value`: only these answers; then a split is by model or
    by the same slice. `left_out`: users who are not believed are 'without', 'with' or 'only'.
    """

    since: datetime | None = None
    until: datetime | None = None
    grain: str = ""  # over time by 'hour' or 'day', or not
    split: str = ""
    model: str | None = None
    slice: str = ""
    value: str = ""
    left_out: str = ""  # as the project's settings say
    test: bool = False
    kinds: tuple[str, ...] = ()  # over time only these; none: all


@dataclass(frozen=True)
class Share:
    """`n` of `of` exposures had the reaction; the rate lies between `low` and `high` with 95 % confidence."""

    n: int
    of: int

    @property
    def rate(self) -> float | None:
        return self.n / self.of if self.of else None

    @cached_property
    def interval(self) -> tuple[float, float]:
        return wilson(self.n, self.of)

    @property
    def low(self) -> float:
        return self.interval[0]

    @property
    def high(self) -> float:
        return self.interval[1]

    @property
    def few(self) -> bool:
        return self.of < FEW


@dataclass
class Group:
    """The answers of one model, or of one value of a slice; '' are those that say none."""

    value: str
    exposures: int = 0
    taps: dict[str, int] = field(default_factory=dict)  # by kind

    def share(self, kind: str) -> Share:
        return Share(self.taps.get(kind, 0), self.exposures)


@dataclass
class Rates:
    """What the cells say. `groups` is one group, or those of the split; `more` tells of smaller groups left out."""

    asked: Asked
    since: datetime
    until: datetime
    kinds: list[ReactionKind]
    groups: list[Group]
    total: Group
    more: int
    over_time: dict[datetime, dict[str, Group]]
    counted_up_to: datetime


@dataclass(frozen=True)
class Ways:
    """How a project counts: by which names its answers can be told apart, whether users are left out, its kinds.

    `kinds` are what users do; `all_kinds` have `shown` too, last.
    """

    slices: list[str]
    leave_out: bool
    all_kinds: list[ReactionKind]

    @property
    def kinds(self) -> list[ReactionKind]:
        return [kind for kind in self.all_kinds if kind.key != "shown"]

    @classmethod
    def of(cls, project: Project) -> Ways:
        ways = IntakeSettings.objects.filter(project=project).values_list("slices", "leave_out").first()
        own, leave_out = ways or ([], True)
        kinds = ReactionKind.objects.filter(project=project).order_by("built_in", "-polarity", "name")
        return cls([*BUILT_IN, *(name for name in own if name not in BUILT_IN)], leave_out, list(kinds))


def rates(project: Project, asked: Asked, ways: Ways | None = None) -> Rates:
    """Raises BadValue for what cannot be told."""
    ways = ways or Ways.of(project)
    since, until, unit = period(asked)
    check(ways, asked, since, until)
    kinds = ways.kinds
    names = {kind.pk: kind.key for kind in kinds}
    where, values = cells(project, ways, asked, since, until, unit)
    group = group_of(asked)
    total = total_of(where, values, names)
    groups, more = [total], 0
    if group:
        groups, more = groups_of(where, values, names, group, total)
    over_time: dict[datetime, dict[str, Group]] = {}
    if asked.grain:
        about = {
            **values,
            "grain": asked.grain,
            "kinds": [pk for pk, key in names.items() if key in asked.kinds] or None,
        }
        over_time = series(where, about, names, group, [one.value for one in groups])
    return Rates(asked, since, until, kinds, groups, total, more, over_time, counted_up_to())


def period(asked: Asked) -> tuple[datetime, datetime, str]:
    """From when to when, and of which cells: hours for up to three days, days for more."""
    until = (asked.until or timezone.now()).astimezone(UTC)
    usual = HOURS if asked.grain == "hour" else USUAL
    since = (asked.since or until - usual).astimezone(UTC)
    if since >= until:
        raise BadValue("/since", "`since` lies before `until`.")
    if until - since > LONGEST:
        raise BadValue("/since", f"At most {LONGEST.days} days at once.")
    unit = "hour" if asked.grain == "hour" or until - since <= timedelta(days=3) else "day"
    cut = {"minute": 0, "second": 0, "microsecond": 0, **({"hour": 0} if unit == "day" else {})}
    return since.replace(**cut), until, unit


def check(ways: Ways, asked: Asked, since: datetime, until: datetime) -> None:
    if asked.grain not in ("", "hour", "day"):
        raise BadValue("/grain", "`grain` is hour or day.")
    if asked.grain == "hour" and until - since > HOURS + timedelta(hours=1):
        raise BadValue("/grain", f"By the hour over at most {HOURS.days} days; take days for more.")
    if asked.left_out not in ("", "without", "with", "only"):
        raise BadValue("/left_out", "`left_out` is without, with or only.")
    known = ways.slices
    if asked.slice and asked.slice not in known:
        raise BadValue("/slice", f"There is no slice '{asked.slice[:60]}'. The project has {', '.join(known)}.")
    if asked.split not in ("", "model", *known):
        raise BadValue("/split", f"`split` is one of model, {', '.join(known)}.")
    if asked.slice and asked.split not in ("", "model", asked.slice):
        raise BadValue("/split", "Answers of one slice are split by model, or by the same slice.")


def group_of(asked: Asked) -> str:
    return {"": "", "model": "model"}.get(asked.split, "value")


def cells(
    project: Project, ways: Ways, asked: Asked, since: datetime, until: datetime, unit: str
) -> tuple[str, dict[str, Any]]:
    """The condition of the cells that matter, and its values; the order is that of the index rate_cell_once."""
    left_out = asked.left_out or ("without" if ways.leave_out else "with")
    parts = ["project_id = %(project)s AND test = %(test)s AND grain = %(unit)s AND slice = {slice}"]
    parts.append("at >= %(since)s AND at < %(until)s")
    parts += {"without": ["NOT left_out"], "only": ["left_out"], "with": []}[left_out]
    if asked.model is not None:
        parts.append("model = %(model)s")
    if asked.slice:
        parts.append("value = %(value)s")
    values = {
        "project": project.pk,
        "test": asked.test,
        "unit": unit,
        "since": since,
        "until": until,
        "model": asked.model,
        "value": asked.value,
        "all": asked.slice,
        "slice": asked.slice or (asked.split if group_of(asked) == "value" else ""),
    }
    return " AND ".join(parts), values


def total_of(where: str, values: dict[str, Any], names: dict[UUID, str]) -> Group:
    rows = read(
        f"SELECT kind_id, sum(n)::bigint FROM annotation_ratecell WHERE {where.format(slice='%(all)s')} GROUP BY 1",
        values,
    )
    total = Group("")
    for kind, n in rows:
        put(total, kind, n, names)
    return total


def groups_of(
    where: str, values: dict[str, Any], names: dict[UUID, str], by: str, total: Group
) -> tuple[list[Group], int]:
    """The largest groups, and how many more there are. Answers that say nothing of a slice are a group too."""
    rows = read(
        f"WITH g AS (SELECT {by} AS value, kind_id, sum(n)::bigint AS n FROM annotation_ratecell "
        f"WHERE {where.format(slice='%(slice)s')} GROUP BY 1, 2), "
        "big AS (SELECT value, row_number() OVER (ORDER BY n DESC, value) AS place, count(*) OVER () AS many "
        "FROM g WHERE kind_id IS NULL AND n > 0) "
        f"SELECT value, kind_id, n, many FROM g JOIN big USING (value) WHERE place <= {GROUPS} ORDER BY place",
        values,
    )
    found: dict[str, Group] = {}
    many = 0
    for value, kind, n, many in rows:  # noqa: B007 - the last one is as good as any
        put(found.setdefault(value, Group(value)), kind, n, names)
    more = max(0, many - len(found))
    groups = list(found.values())
    if by == "value" and not values["all"] and not more:
        silent = Group("", total.exposures - sum(one.exposures for one in groups))
        for key, n in total.taps.items():
            silent.taps[key] = n - sum(one.taps.get(key, 0) for one in groups)
        if silent.exposures > 0:
            groups.append(silent)
    return groups, more


def series(
    where: str, values: dict[str, Any], names: dict[UUID, str], by: str, wanted: Sequence[str]
) -> dict[datetime, dict[str, Group]]:
    """{time: {group: ...}}; times without an exposure are not there."""
    chosen = f" AND {by} = ANY(%(groups)s)" if by else ""
    name = by or "''::text"
    rows = read(
        f"SELECT date_trunc(%(grain)s, at, 'UTC') AS t, {name} AS g, kind_id, sum(n)::bigint "
        f"FROM annotation_ratecell WHERE {where.format(slice='%(slice)s')}{chosen} "
        "AND (kind_id IS NULL OR %(kinds)s::uuid[] IS NULL OR kind_id = ANY(%(kinds)s)) "
        "GROUP BY 1, 2, 3 ORDER BY 1",
        {**values, "groups": list(wanted)},
    )
    found: dict[datetime, dict[str, Group]] = {}
    for at, value, kind, n in rows:
        put(found.setdefault(at, {}).setdefault(value, Group(value)), kind, n, names)
    return found


def put(group: Group, kind: UUID | None, n: int, names: dict[UUID, str]) -> None:
    if kind is None:
        group.exposures += n
    elif n and kind in names:
        group.taps[names[kind]] = group.taps.get(names[kind], 0) + n


def read(sql: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall()
