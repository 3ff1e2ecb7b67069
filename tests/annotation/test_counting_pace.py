"""The counting gives way to who writes: how long it rests between its passes."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from django.db import connection

from annotation import tasks
from annotation.actions import counting, judging
from annotation.actions.counting import pace, passes
from annotation.models import ProductUser
from redpen.accounts.models import Project
from tests.annotation.stream import Stream, rates_of


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("a_second", "waited", "times"), [(2_000, 5, pace.BUSY_REST), (2_000, 900, pace.LATE_REST), (10, 5, pace.CALM_REST)]
)
def test_who_is_behind_rests_longer_while_much_comes_in_unless_it_is_late(monkeypatch, a_second, waited, times):
    shop = Stream(Project.objects.create(name="Busy", slug="busy"))
    shop.answer()
    for minute in range(11):
        shop.tap("like", user=f"u{minute}", minute=minute)
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE annotation_reaction DISABLE TRIGGER keep_record")
        cursor.execute("UPDATE annotation_reaction SET created_at = now() - make_interval(secs => %s)", [waited])
        cursor.execute("ALTER TABLE annotation_reaction ENABLE TRIGGER keep_record")
    clock = {"now": 0.0}
    pauses: list[float] = []

    def three_seconds_a_look() -> float:  # each look at the clock is three seconds later
        clock["now"] += 3.0
        return clock["now"]

    monkeypatch.setattr(passes, "ROWS", 4)
    monkeypatch.setattr(pace, "arrived", lambda cursor: int(clock["now"] * a_second))
    clockwork = SimpleNamespace(monotonic=three_seconds_a_look, sleep=pauses.append)
    monkeypatch.setattr(passes, "time", clockwork)
    monkeypatch.setattr(pace, "time", clockwork)
    done = counting.count_gently()
    assert len(pauses) == len(done.passes) - 1 >= 2  # none after the last
    assert pauses == [times * 3.0] * len(pauses)  # of a pass: the clock was looked at before and after it
    assert rates_of(shop.project)["m-1", "", "like"] == 11


@pytest.mark.django_db(transaction=True)
def test_what_was_stored_can_be_told_from_postgres_statistics():
    shop = Stream(Project.objects.create(name="Seen", slug="seen"))
    shop.answer()
    with connection.cursor() as cursor:
        before = pace.arrived(cursor)
        for number in range(7):
            shop.tap("like", user=f"u{number}")
        cursor.execute("SELECT pg_stat_force_next_flush()")
        assert pace.arrived(cursor) >= before + 7


@pytest.mark.django_db
def test_a_moment_in_which_the_statistics_say_nothing_is_no_calm(monkeypatch):
    pauses: list[float] = []
    monkeypatch.setattr(pace, "arrived", lambda cursor: 0)
    monkeypatch.setattr(
        pace, "time", SimpleNamespace(monotonic=iter([0.0, 1.0, 2.0, 3.0]).__next__, sleep=pauses.append)
    )
    monkeypatch.setattr(pace, "OLDEST", "SELECT 1.0::float8")
    with connection.cursor() as cursor:
        slow = pace.Pace(cursor)
        for _ in range(3):
            slow.rest(cursor, 1.0)
    assert pauses == [pace.BUSY_REST, pace.BUSY_REST, pace.CALM_REST]


@pytest.mark.django_db(transaction=True)
def test_who_is_called_while_another_rests_leaves_the_pause_alone(monkeypatch):
    shop = Stream(Project.objects.create(name="Paused", slug="paused"))
    shop.answer()
    for minute in range(11):
        shop.tap("like", user=f"u{minute}", minute=minute)
    others: list[int] = []

    def meanwhile(seconds: float) -> None:
        with ThreadPoolExecutor(1) as pool:  # with a connection of its own, as another worker has
            others.append(len(pool.submit(in_another_connection).result().passes))

    def in_another_connection() -> counting.Counted:
        try:
            return counting.count_gently()
        finally:
            connection.close()

    monkeypatch.setattr(passes, "ROWS", 4)
    monkeypatch.setattr(pace, "time", SimpleNamespace(monotonic=time.monotonic, sleep=meanwhile))
    done = counting.count_gently()
    assert len(done.passes) >= 3
    assert others
    assert not any(others)
    monkeypatch.undo()
    shop.tap("like", user="late", minute=30)
    assert in_another_connection().total("rows") >= 1  # the lock was given back


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("a_second", "waited", "judged"), [(2_000, 60, 0), (2_000, 1_000, 1), (10, 60, 1)])
def test_users_are_judged_after_a_flood_or_when_it_takes_too_long(monkeypatch, a_second, waited, judged):
    shop = Stream(Project.objects.create(name="Judged", slug="judged"))
    shop.answer()
    counting.count()
    judging.judge_due()  # the cursor stands somewhere
    shop.tap("like", user="u")
    counting.count()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE annotation_reaction DISABLE TRIGGER keep_record")
        cursor.execute("UPDATE annotation_reaction SET created_at = now() - make_interval(secs => %s)", [waited])
        cursor.execute("ALTER TABLE annotation_reaction ENABLE TRIGGER keep_record")
    clock = {"now": 0.0}

    def sleep(seconds: float) -> None:
        clock["now"] += seconds

    monkeypatch.setattr(pace, "arrived", lambda cursor: int(clock["now"] * a_second))
    monkeypatch.setattr(pace, "time", SimpleNamespace(sleep=sleep))
    tasks.judge_users()
    assert ProductUser.objects.count() == judged
