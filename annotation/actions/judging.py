"""Judging users by what the database holds of them: a due job, done in bounded portions.

`note_due` marks whoever did something since the last time; `judge_due` judges them, some thousand a portion. What one
user did is read up to the latest LONGEST answers, what others did on the same answers up to CROWD users each.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from annotation.actions.honesty import Judged, write_judged
from annotation.honesty import LEAVE_OUT, most_answers
from annotation.models import ReactionKind
from redpen.accounts.models import Project

log = logging.getLogger(__name__)

LOCK = 0x486F6E657374  # "Honest": one at a time
PORTION = 1000  # users
ENDLESS = 2**63 - 1
CROWD, CROWDS = 60, 200_000  # other users of one answer; of all answers of a portion
POPULATION = 20_000  # users that the others are compared with: those who came last
AGAIN = 3  # times that a text is written, to be one that is written again and again


@dataclass(frozen=True)
class Scope:
    """Whose users: live and test data know nothing of each other."""

    project: Project
    test: bool

    def about(self, **more: Any) -> dict[str, Any]:
        return {"project": self.project.pk, "test": self.test, **more}


@dataclass
class Done:
    judged: int = 0
    left_out: int = 0
    let_in: int = 0
    busy: bool = False  # somebody else was at it


NOTE = """
    INSERT INTO annotation_productuser (id, project_id, test, name, due)
    SELECT uuidv7(), e.project_id, e.test, e.external_user, 1 FROM (
        SELECT DISTINCT project_id, test, external_user FROM annotation_reaction
        WHERE xact >= %(from)s AND xact < %(until)s AND external_user <> ''
    ) e ORDER BY 2, 3, 4
    ON CONFLICT (project_id, test, name) DO UPDATE SET due = annotation_productuser.due + 1
"""


@transaction.atomic
def note_due(*, everything: bool = False) -> int:
    """Whoever did something that has been counted since we looked last is due. How many.

    `everything`: whatever can be seen has just been counted (`counting.catch_up`), also behind older transactions; who
    is found there is due once more later.
    """
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO annotation_honestycursor (id, done) VALUES (1, 0) ON CONFLICT DO NOTHING")
        cursor.execute("SELECT done FROM annotation_honestycursor WHERE id = 1 FOR UPDATE")
        done = cursor.fetchone()[0]
        cursor.execute("SELECT done FROM annotation_countingcursor WHERE id = 1")
        until = (cursor.fetchone() or [0])[0]
        if until == done and not everything:
            return 0
        # after a move to another cluster the counting begins again below us, and so do we
        begin = done if done <= until else 0
        cursor.execute(NOTE, {"from": begin, "until": ENDLESS if everything else until})
        noted = cursor.rowcount
        cursor.execute("UPDATE annotation_honestycursor SET done = %s WHERE id = 1", [until])
    return noted


def judge_due(
    *, project: Project | None = None, most: int = 10, everything: bool = False, everybody: bool = False
) -> Done:
    """Judge who is due, in `most` portions at most; `everybody`: all of the project's users are due again."""
    note_due(everything=everything)
    done = Done()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
        if not cursor.fetchone()[0]:
            return Done(busy=True)
        try:
            if everybody:
                cursor.execute(
                    "UPDATE annotation_productuser SET due = due + 1 "
                    "WHERE %(project)s::uuid IS NULL OR project_id = %(project)s",
                    {"project": project.pk if project else None},
                )
            for scope in _scopes(cursor, project):
                most -= _judge_scope(scope, most, done)
                if most <= 0:
                    break
        finally:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])
    return done


def _scopes(cursor: Any, project: Project | None) -> list[Scope]:
    cursor.execute(
        "SELECT DISTINCT project_id, test FROM annotation_productuser WHERE due > 0 "
        "AND (%(project)s::uuid IS NULL OR project_id = %(project)s) ORDER BY 1, 2",
        {"project": project.pk if project else None},
    )
    found = cursor.fetchall()
    projects = Project.objects.in_bulk([row[0] for row in found])
    return [Scope(projects[pk], test) for pk, test in found if pk in projects]


def _judge_scope(scope: Scope, most: int, done: Done) -> int:
    """First all who are due are summed up, so that they are compared with what is known now; then they are judged."""
    kinds = Kinds.of(scope.project)
    due = _due(scope, most * PORTION)
    names = list(due)
    portions = [names[start : start + PORTION] for start in range(0, len(names), PORTION)]
    summed = {}
    for portion in portions:
        summed |= sum_up(scope, kinds, portion)
    population = population_of(scope, kinds)
    totals = _totals(scope)
    for portion in portions:
        verdicts = judge(scope, kinds, population, portion)
        judged = [
            Judged(
                name=verdict.user,
                due=due[verdict.user],
                score=verdict.score,
                left_out=verdict.score >= LEAVE_OUT,
                reasons=[reason.as_json() for reason in verdict.reasons],
                caps=_caps(scope, verdict.user, summed[verdict.user], totals),
            )
            for verdict in verdicts
        ]
        gone, back = write_judged(project=scope.project, test=scope.test, judged=judged)
        done.judged += len(judged)
        done.left_out += len(gone)
        done.let_in += len(back)
    log.info("honesty.judged", extra={"project": str(scope.project.pk), "users": len(names)})
    return len(portions)


def _due(scope: Scope, most: int) -> dict[str, int]:
    """Names and marks of who is due; and who is capped, once a day, because versions grow."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, due FROM annotation_productuser WHERE project_id = %(project)s AND test = %(test)s "
            "AND (due > 0 OR (caps <> '{}' AND judged_at < now() - interval '1 day')) "
            "ORDER BY judged_at NULLS FIRST, name LIMIT %(most)s",
            scope.about(most=most),
        )
        return dict(cursor.fetchall())


@dataclass(frozen=True)
class Kinds:
    good: list[UUID]
    bad: list[UUID]
    others: list[UUID]  # that say neither; without `shown`
    names: dict[UUID, str]

    @classmethod
    def of(cls, project: Project) -> Kinds:
        rows = list(ReactionKind.objects.filter(project=project).exclude(key="shown").order_by("key"))
        by = {sign: [row.pk for row in rows if row.polarity == sign] for sign in (1, -1, 0)}
        return cls(by[1], by[-1], by[0], {row.pk: row.key for row in rows})

    def about(self) -> dict[str, Any]:
        return {"good": self.good, "bad": self.bad, "taps": list(self.names)}


SUMS = """
    SELECT external_user, model, count(*), count(*) FILTER (WHERE kinds && %(good)s::uuid[]),
        count(*) FILTER (WHERE kinds && %(bad)s::uuid[]), count(*) FILTER (WHERE kinds <> '{}'), min(at), max(at)
    FROM annotation_exposure
    WHERE project_id = %(project)s AND external_user = ANY(%(names)s) AND test = %(test)s GROUP BY 1, 2
"""
TAPPED = """
    SELECT external_user, kind, count(*) FROM annotation_exposure, unnest(kinds) AS kind
    WHERE project_id = %(project)s AND external_user = ANY(%(names)s) AND test = %(test)s GROUP BY 1, 2
"""
TEXTS = """
    SELECT u.name, left(e.text, 500), count(*)
    FROM unnest(%(names)s::text[]) AS u(name) CROSS JOIN LATERAL (
        SELECT text FROM annotation_reaction e
        WHERE e.project_id = %(project)s AND e.external_user = u.name AND e.external_user <> ''
        AND e.test = %(test)s AND e.ended_at IS NULL ORDER BY e.id DESC LIMIT %(longest)s
    ) e WHERE e.text <> '' GROUP BY 1, 2
"""
KEEP = """
    UPDATE annotation_productuser u SET shown = n.shown, reacted = n.reacted, tapped = n.tapped, versions = n.versions,
        said = ARRAY(SELECT jsonb_array_elements_text(n.said)), first_at = n.first_at, last_at = n.last_at
    FROM json_to_recordset(%(rows)s::json) AS n (name text, shown int, reacted int, tapped jsonb, versions jsonb,
        said jsonb, first_at timestamptz, last_at timestamptz)
    WHERE u.project_id = %(project)s AND u.test = %(test)s AND u.name = n.name
"""


def sum_up(scope: Scope, kinds: Kinds, names: Sequence[str]) -> dict[str, dict[str, list[int]]]:
    """Write down what these users did, in numbers. Gives their versions."""
    from annotation.honesty.judging import LONGEST

    about = scope.about(names=list(names), longest=LONGEST, **kinds.about())
    rows: dict[str, dict[str, Any]] = {
        name: {"name": name, "shown": 0, "reacted": 0, "tapped": {}, "versions": {}, "said": []} for name in names
    }
    texts: dict[str, Counter[str]] = defaultdict(Counter)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(SUMS, about)
        for name, model, shown, good, bad, reacted, first, last in cursor.fetchall():
            row = rows[name]
            row["shown"] += shown
            row["reacted"] += reacted
            row["versions"][model] = [shown, good, bad]
            first, last = first.isoformat(), last.isoformat()
            row["first_at"] = min(row.get("first_at", first), first)
            row["last_at"] = max(row.get("last_at", last), last)
        cursor.execute(TAPPED, about)
        for name, kind, count in cursor.fetchall():
            if kind in kinds.names:
                rows[name]["tapped"][kinds.names[kind]] = count
        cursor.execute(TEXTS, about)
        for name, text, count in cursor.fetchall():
            if told := digest(text):
                texts[name][told] += count
        for name, counted in texts.items():
            rows[name]["said"] = [told for told, times in counted.most_common(50) if times >= AGAIN]
        cursor.execute(KEEP, {**about, "rows": json.dumps(list(rows.values()))})
    return {name: row["versions"] for name, row in rows.items()}


def digest(text: str) -> str:
    """The same for texts that say the same; '' where too little is said."""
    from annotation.honesty.judging import same

    told = same(text)
    return hashlib.md5(told.encode(), usedforsecurity=False).hexdigest() if told else ""


def population_of(scope: Scope, kinds: Kinds) -> Any:
    from annotation.honesty.judging import Summary, build

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT versions, reacted, tapped, left_out FROM annotation_productuser "
            "WHERE project_id = %(project)s AND test = %(test)s AND last_at IS NOT NULL "
            "ORDER BY last_at DESC NULLS LAST, name LIMIT %(most)s",
            scope.about(most=POPULATION),
        )
        found = cursor.fetchall()
    return build(
        Summary({model: tuple(counts) for model, counts in _json(versions).items()}, reacted, _json(tapped), out)  # type: ignore[misc]
        for versions, reacted, tapped, out in found
    )


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) else value


EXPOSURES = """
    SELECT u.place - 1, x.response_id, x.model, x.kinds && %(good)s::uuid[], x.kinds && %(bad)s::uuid[]
    FROM unnest(%(names)s::text[]) WITH ORDINALITY AS u(name, place) CROSS JOIN LATERAL (
        SELECT * FROM annotation_exposure x
        WHERE x.project_id = %(project)s AND x.external_user = u.name AND x.test = %(test)s
        ORDER BY x.response_id DESC LIMIT %(longest)s
    ) x ORDER BY u.place, x.at, x.response_id
"""
TAPS = """
    SELECT u.place - 1, coalesce(e.response_id, e.dedup), e.kind_id, extract(epoch FROM e.event_at)::float8,
        left(e.text, 500)
    FROM unnest(%(names)s::text[]) WITH ORDINALITY AS u(name, place) CROSS JOIN LATERAL (
        SELECT * FROM annotation_reaction e
        WHERE e.project_id = %(project)s AND e.external_user = u.name AND e.external_user <> ''
        AND e.test = %(test)s AND e.ended_at IS NULL AND e.kind_id = ANY(%(taps)s::uuid[])
        ORDER BY e.id DESC LIMIT %(longest)s
    ) e ORDER BY u.place, e.event_at, e.id
"""
NEIGHBOURS = """
    SELECT x.external_user, x.response_id, x.model, x.kinds && %(good)s::uuid[], x.kinds && %(bad)s::uuid[]
    FROM unnest(%(answers)s::uuid[]) AS a(id) CROSS JOIN LATERAL (
        SELECT * FROM annotation_exposure x WHERE x.response_id = a.id ORDER BY x.external_user LIMIT %(crowd)s
    ) x WHERE x.external_user NOT IN (SELECT unnest(%(names)s::text[])) LIMIT %(crowds)s
"""
WRITTEN = """
    SELECT text, count(*) FROM annotation_productuser u, unnest(u.said) AS text
    WHERE u.project_id = %(project)s AND u.test = %(test)s AND u.said && %(texts)s::varchar[] GROUP BY 1
"""


def judge(scope: Scope, kinds: Kinds, population: Any, names: Sequence[str]) -> list[Any]:
    """Verdicts on these users by their own doings and those of others on the same answers."""
    import numpy as np

    from annotation.honesty import judging

    about = scope.about(names=list(names), longest=judging.LONGEST, crowd=CROWD, crowds=CROWDS, **kinds.about())
    places, answers, versions = {name: place for place, name in enumerate(names)}, Numbers(), Numbers()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL jit = off")
        cursor.execute(EXPOSURES, about)
        rows = cursor.fetchall()
        shared = list({answer for _, answer, _, good, bad in rows if good or bad})
        cursor.execute(NEIGHBOURS, {**about, "answers": shared})
        for name, *rest in sorted(cursor.fetchall()):
            rows.append((places.setdefault(name, len(places)), *rest))
        cursor.execute(TAPS, about)
        taps = cursor.fetchall()
        texts = [digest(row[4]) if row[4] else "" for row in taps]
        cursor.execute(WRITTEN, {**about, "texts": sorted(set(texts) - {""})})
        written = {text: users - 1 for text, users in cursor.fetchall()}
    kind_places = {pk: place for place, pk in enumerate(kinds.names)}
    table = [(user, answers[answer], versions[model], good, bad) for user, answer, model, good, bad in rows]
    user, answer, version, good, bad = np.array(table, dtype=np.int64).reshape(-1, 5).T
    told = [(user, answers[on], kind_places[kind], at) for user, on, kind, at, _ in taps]
    tapper, on, kind, at = np.array(told, dtype=np.float64).reshape(-1, 4).T
    evidence = judging.Evidence(
        users=list(places),
        judged=len(names),
        versions=list(versions),
        kinds=list(kinds.names.values()),
        exposures=judging.Exposures(user=user, answer=answer, version=version, good=good > 0, bad=bad > 0),
        taps=judging.Taps(user=tapper.astype(int), answer=on.astype(int), kind=kind.astype(int), at=at, text=texts),
        written_by=written,
    )
    return judging.judge(evidence, population)


class Numbers(dict[Any, int]):
    """Numbers things from 0 as they come."""

    def __missing__(self, key: Any) -> int:
        self[key] = len(self)
        return self[key]


def _totals(scope: Scope) -> dict[str, int]:
    """Answers of each model that were shown, to anybody."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT model, sum(n) FROM annotation_ratecell WHERE project_id = %(project)s AND test = %(test)s "
            "AND grain = 'day' AND slice = '' AND kind_id IS NULL GROUP BY 1",
            scope.about(),
        )
        return dict(cursor.fetchall())


def _caps(scope: Scope, name: str, versions: dict[str, list[int]], totals: dict[str, int]) -> dict[str, str]:
    """The last answer of each model with which this user counts, where they saw more than one user may count with."""
    caps = {}
    for model, (shown, _, _) in versions.items():
        most = most_answers(int(totals.get(model, 0)))
        if shown <= most:
            continue
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT response_id FROM annotation_exposure "
                "WHERE project_id = %(project)s AND external_user = %(name)s AND test = %(test)s "
                "AND model = %(model)s ORDER BY response_id OFFSET %(most)s LIMIT 1",
                scope.about(name=name, model=model, most=most - 1),
            )
            if row := cursor.fetchone():
                caps[model] = str(row[0])
    return caps
