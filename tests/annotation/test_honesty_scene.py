"""Scene 11: bought hands. Through the database as it is in use: taken in, counted, judged, left out, let in again."""

from __future__ import annotations

import pytest
from django.db import connection

from annotation.actions import counting, honesty, judging
from annotation.actions.campaigns import furnish
from annotation.actions.people import Author
from annotation.models import ProductUser, RateCell
from benchmarks.bought_hands import Crowd, love
from tests.annotation.crowd import pour


def p_love(project, *, left_out: tuple[bool, ...] = (False,)) -> float:
    """P(love) of v2 in percent, as the rates page reads it."""
    cells = RateCell.objects.filter(project=project, grain="day", slice="", model="v2", left_out__in=left_out)
    n = dict.fromkeys((None, "love"), 0)
    for kind, count in cells.values_list("kind__key", "n"):
        if kind in n:
            n[kind] += count
    return 100 * n["love"] / n[None]


@pytest.mark.parametrize(("share", "allowed"), [(0.01, 1.0), (0.05, 3.0)])
def test_bought_hands_move_love_by_little_and_are_told_why(cast, share, allowed):
    people = Crowd(501, honest=300, attack="mixed", share=share).people
    honest = [person.name for person in people if not person.attack]
    furnish(project=cast.project, actor=None)
    pour(cast.project, people)
    counting.catch_up()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    truth = 100 * love([person for person in people if not person.attack])
    unfiltered = p_love(cast.project)
    assert unfiltered - truth > allowed, "the attack must be worth something, or nothing is shown"

    done = judging.judge_due(everything=True)
    assert done.judged == len(people)
    assert abs(p_love(cast.project) - truth) <= allowed
    assert p_love(cast.project, left_out=(False, True)) == unfiltered, "nothing is deleted"
    gone = ProductUser.objects.filter(left_out=True)
    assert gone.filter(name__in=honest).count() <= 0.02 * len(honest)
    assert all(one.reasons and all(reason["words"] for reason in one.reasons) for one in gone)
    assert not counting.check(cast.project)

    # one call takes it back, and it stays taken back whatever the judging finds
    one = gone.exclude(name__in=honest).first()
    honesty.decide(author=Author.person(cast.mia), user=one, left_out=False)
    assert judging.judge_due(everybody=True).left_out == 0
    one.refresh_from_db()
    assert (one.left_out, one.decided_by, one.score >= 0.9) == (False, cast.mia, True)
    assert not counting.check(cast.project)
