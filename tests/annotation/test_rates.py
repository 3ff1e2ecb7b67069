"""Rates: shares of exposures with Wilson's intervals, over time, by model and by slice."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotation.actions import counting
from annotation.errors import BadValue
from annotation.models import IntakeSettings
from annotation.queries.rates import Asked, rates, wilson
from tests.annotation.shop import make_key
from tests.annotation.stream import NOON, Stream

DAYS = {"since": datetime(2026, 11, 18, tzinfo=UTC), "until": datetime(2026, 11, 28, tzinfo=UTC)}


@pytest.fixture
def shop(cast) -> Stream:
    shop = Stream(cast.project)
    IntakeSettings.objects.create(project=cast.project, slices=["plan"])
    shop.answer("a", model="m-1", language="en", metadata={"plan": "pro"})
    shop.answer("b", model="m-2", language="de")
    shop.answer("c", model="m-2", language="")
    for user in range(4):
        shop.tap("shown", on="a", user=f"u{user}")
    shop.tap("like", on="a", user="u0", minute=1)
    shop.tap("shown", on="b", user="u0", minute=60 * 24 * 2)
    shop.tap("dislike", on="b", user="u1", minute=60 * 24 * 2)
    shop.tap("like", on="c", user="u1", minute=60 * 24 * 2)
    counting.catch_up()
    return shop


@pytest.mark.parametrize(
    ("n", "of", "low", "high"),
    [  # Wilson's interval by hand, and as R's prop.test(correct = FALSE) gives it
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (5, 10, 0.2366, 0.7634),
        (81, 263, 0.2553, 0.3662),
        (0, 0, 0.0, 1.0),
    ],
)
def test_the_interval_is_wilsons(n, of, low, high):
    assert wilson(n, of) == pytest.approx((low, high), abs=5e-5)


@given(of=st.integers(1, 10**6), share=st.floats(0, 1))
def test_the_interval_holds_the_share_and_stays_within_0_and_1(of, share):
    n = round(share * of)
    low, high = wilson(n, of)
    assert 0 <= low <= n / of + 1e-12
    assert n / of - 1e-12 <= high <= 1


def test_rates_by_kind(shop):
    found = rates(shop.project, Asked(**DAYS))
    assert found.total.exposures == 7
    like = found.total.share("like")
    assert (like.n, like.of, like.few) == (2, 7, True)
    assert [kind.key for kind in found.kinds][-1] in ("dislike", "regenerate")
    assert "shown" not in [kind.key for kind in found.kinds]


def test_rates_by_model_language_and_slice(shop):
    def by(split, **more):
        found = rates(shop.project, Asked(split=split, **DAYS, **more))
        return {one.value: (one.exposures, one.taps) for one in found.groups}

    assert by("model") == {"m-1": (4, {"like": 1}), "m-2": (3, {"dislike": 1, "like": 1})}
    assert by("language") == {"en": (4, {"like": 1}), "de": (2, {"dislike": 1}), "": (1, {"dislike": 0, "like": 1})}
    assert by("plan")["pro"] == (4, {"like": 1})
    assert by("language", model="m-2")["de"] == (2, {"dislike": 1})
    assert by("model", slice="language", value="de") == {"m-2": (2, {"dislike": 1})}
    assert by("", slice="language", value="de") == {"": (2, {"dislike": 1})}


def test_rates_over_time(shop):
    found = rates(shop.project, Asked(grain="day", split="model", **DAYS))
    days = {at.day: {name: one.exposures for name, one in groups.items()} for at, groups in found.over_time.items()}
    assert days == {20: {"m-1": 4}, 22: {"m-2": 3}}
    week = {"since": datetime(2026, 11, 18, tzinfo=UTC), "until": datetime(2026, 11, 24, tzinfo=UTC)}
    hourly = rates(shop.project, Asked(grain="hour", **week))
    assert list(hourly.over_time)[0] == NOON
    assert hourly.over_time[NOON][""].taps == {"like": 1}


@pytest.mark.parametrize(
    "wrong",
    [
        {"split": "colour"},
        {"slice": "colour"},
        {"slice": "plan", "split": "language"},
        {"grain": "minute"},
        {"left_out": "perhaps"},
        {"since": DAYS["until"]},
        {"since": datetime(2020, 1, 1, tzinfo=UTC)},
        {"since": datetime(2026, 9, 1, tzinfo=UTC), "grain": "hour"},
    ],
)
def test_what_cannot_be_told_is_refused_in_words(shop, wrong):
    with pytest.raises(BadValue):
        rates(shop.project, Asked(**{**DAYS, **wrong}))


def test_the_api_tells_people_and_programs_the_same(shop, client):
    cast_client = shop.project
    query = {"since": "2026-11-18T00:00:00Z", "until": "2026-11-28T00:00:00Z", "split": "model", "grain": "day"}
    token, _ = make_key(shop.project)
    found = client.get("/api/v1/rates", query, headers={"Authorization": f"Bearer {token}"})
    assert found.status_code == 200
    like = found.json()["groups"][1]["kinds"]["like"]
    assert like == {
        "n": 1,
        "rate": pytest.approx(1 / 3),
        "low": pytest.approx(0.0615, abs=1e-4),
        "high": pytest.approx(0.7923, abs=1e-4),
    }
    assert [one["at"][:10] for one in found.json()["over_time"]] == ["2026-11-20", "2026-11-22"]
    token, _ = make_key(cast_client, test=True, name="try")
    found = client.get("/api/v1/rates", query, headers={"Authorization": f"Bearer {token}"})
    assert found.json()["total"]["exposures"] == 0


def test_people_see_the_rates_of_their_project(shop, cast):
    path = f"/api/v1/projects/{cast.project.slug}/rates"
    mia = cast.client(cast.mia)
    assert (
        mia.get(path, {"since": "2026-11-18T00:00:00Z", "until": "2026-11-28T00:00:00Z"}).json()["total"]["exposures"]
        == 7
    )
    for wrong in ({"split": "\0"}, {"since": "yesterday"}, {"model": "x" * 300}, {"colour": "red"}, {"test": "1"}):
        assert mia.get(path, wrong).status_code in (400, 422), wrong
