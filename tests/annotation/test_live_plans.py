"""Every query of the Live pages finds its way by an index: no plan reads a whole table, whatever is filtered.

Fewer rows than in life (benchmarks/live_pages.py has a million), but enough that the planner would rather not.
"""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import chain, combinations
from uuid import UUID

import pytest
from django.db import connection, transaction
from django.utils import timezone

from annotation.actions import counting
from annotation.models import IntakeSettings, LiveEvent, ReactionKind, Response
from annotation.queries import live
from annotation.queries import rates as rating
from annotation.queries.rates import Asked, rates
from benchmarks.live_data import fill
from redpen.accounts.models import Project
from tests.annotation.stream import Stream

LARGE = {f"annotation_{name}" for name in ("reaction", "response", "exposure", "liveevent", "liveslice", "ratecell")}
MOST_ROWS = 25_000  # that any step of a plan may go through, of some fifty thousand


@pytest.fixture(scope="module")
def shop(django_db_setup, django_db_blocker):
    """Made once; taken back at the end."""
    with django_db_blocker.unblock(), transaction.atomic():
        project = Project.objects.create(name="Plans", slug="plans")
        Stream(project)
        IntakeSettings.objects.create(project=project, slices=["plan"])
        fill(connection, project.pk, reactions=50_000)
        counting.catch_up()
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
        yield project
        transaction.set_rollback(True)


@pytest.fixture(autouse=True)
def unblocked(django_db_blocker):
    with django_db_blocker.unblock():
        yield


def nodes(plan):
    yield plan
    for below in plan.get("Plans", []):
        yield from nodes(below)


def wrong_in(sql, params) -> list[str]:
    """What is wrong with a statement's plan and with what it did."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
        found = cursor.fetchone()[0]
    plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    wrong = []
    for node in nodes(plan):
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in LARGE:
            wrong.append(f"reads all of {node['Relation Name']}")
        rows = node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0)
        if rows > MOST_ROWS:
            wrong.append(f"{node['Node Type']} goes through {rows:,.0f} rows")
    return wrong


def watched(does) -> dict[str, list[str]]:
    """What is wrong with each SELECT that `does` sends."""
    sent = []

    def keep(execute, sql, params, many, context):
        sent.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(keep):
        does()
    assert sent
    reads = [(sql, params) for sql, params in sent if sql.lstrip().startswith(("SELECT", "WITH"))]
    return {" ".join(sql.split())[:150]: wrong for sql, params in reads if (wrong := wrong_in(sql, params))}


def combined(project, most: int = 3):
    """Filters by ones, twos and threes."""
    kind = ReactionKind.objects.get(project=project, key="regenerate")
    user = LiveEvent.objects.filter(project=project, tap=True).values_list("external_user", flat=True)[0]
    parts = [
        {"kind": kind.pk},
        {"taps": True},
        {"model": "writer-1"},
        {"model": "writer-5"},
        {"name": "language", "value": "fr"},
        {"name": "plan", "value": "team"},
        {"user": user},
        {"since": timezone.now() - timedelta(days=7)},
        {"since": timezone.now() - timedelta(days=85)},
    ]
    for some in chain.from_iterable(combinations(parts, size) for size in range(most + 1)):
        if len({key for part in some for key in part}) == sum(len(part) for part in some):
            yield live.Wanted(**{key: value for part in some for key, value in part.items()})


def test_no_list_of_reactions_reads_a_whole_table(shop):
    wrong = {}
    for wanted in combined(shop):
        wrong |= watched(lambda wanted=wanted: live.newest(project=shop, wanted=wanted))
    last, following = live.newest(project=shop, wanted=live.Wanted())
    wrong |= watched(lambda: live.newest(project=shop, wanted=live.Wanted(), after=following))
    assert wrong == {}
    assert len(last) == live.LINES


def test_filters_show_the_same_lines_as_a_plain_query(shop):
    for wanted in combined(shop, most=2):
        rows = LiveEvent.objects.filter(project=shop, test=False)
        if wanted.kind:
            rows = rows.filter(kind=wanted.kind)
        elif wanted.taps:
            rows = rows.filter(tap=True)
        if wanted.model:
            rows = rows.filter(model=wanted.model)
        if wanted.user:
            rows = rows.filter(external_user=wanted.user)
        if wanted.since:
            rows = rows.filter(at__gte=wanted.since)
        if wanted.name:
            about = Response.objects.filter(project=shop, language=wanted.value)
            if wanted.name == "plan":
                about = Response.objects.filter(project=shop, metadata__plan=wanted.value)
            rows = rows.filter(response__in=about)
        expected = list(rows.order_by("-at", "-reaction").values_list("reaction", flat=True)[: live.LINES])
        lines, following = live.newest(project=shop, wanted=wanted)
        assert [line.id for line in lines] == expected, wanted
        if following:
            more, _ = live.newest(project=shop, wanted=wanted, after=following)
            behind = rows.order_by("-at", "-reaction").values_list("reaction", flat=True)
            assert [line.id for line in more] == list(behind[live.LINES : 2 * live.LINES]), wanted


def test_what_the_page_asks_beside_the_list_reads_no_whole_table(shop, monkeypatch):
    monkeypatch.setattr(live, "LOOKED_AT", 200)  # as few of these rows as it is of a million
    wrong = watched(lambda: live.offered(project=shop, names=["language", "plan", "model_version"], test=False))
    wrong |= watched(lambda: live.last_arrived(project=shop, test=False))
    wrong |= watched(live.counted_up_to)
    answer = Response.objects.filter(project=shop).order_by("-id")[5]
    wrong |= watched(lambda: live.conversation(answer))
    wrong |= watched(lambda: live.shown_to(answer))
    for wanted in combined(shop, most=2):
        wrong |= watched(lambda wanted=wanted: live.answers(project=shop, wanted=wanted))
        wrong |= watched(lambda wanted=wanted: live.arrived(project=shop, wanted=wanted, seen=UUID(int=0)))
    assert wrong == {}


def test_no_rate_reads_a_whole_table(shop, monkeypatch):
    monkeypatch.setattr(rating, "counted_up_to", timezone.now)
    now = timezone.now()
    wrong = {}
    for days in (1, 7, 30):
        for split in ("", "model", "language", "plan"):
            for more in (
                {},
                {"model": "writer-2"},
                {"slice": split, "value": "pro"} if split in ("language", "plan") else {},
            ):
                asked = Asked(
                    since=now - timedelta(days=days),
                    until=now,
                    split=split,
                    grain="hour" if days == 1 else "day",
                    **more,
                )
                wrong |= watched(lambda asked=asked: rates(shop, asked))
    assert wrong == {}


def test_rates_are_those_of_the_records(shop):
    found = rates(shop, Asked(since=timezone.now() - timedelta(days=92), split="model", left_out="with"))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT r.model, k.key, count(DISTINCT (e.response_id, e.external_user)) FROM annotation_reaction e "
            "JOIN annotation_response r ON r.id = e.response_id JOIN annotation_reactionkind k ON k.id = e.kind_id "
            "WHERE e.project_id = %s GROUP BY 1, 2",
            [shop.pk],
        )
        expected = {(model, key): n for model, key, n in cursor.fetchall()}
    told = {(group.value, key): n for group in found.groups for key, n in group.taps.items()}
    told |= {(group.value, "shown"): group.exposures for group in found.groups}
    assert told == expected
