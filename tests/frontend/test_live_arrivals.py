"""The page that tells a product's developer what became of what was sent."""

from __future__ import annotations

import pytest
from django.utils import timezone

from annotation.models import IntakeCount

pytestmark = pytest.mark.django_db


def count(project, outcome: str, number: int, code: str = "", *, hours: int = 0, test: bool = False):
    hour = timezone.now().replace(minute=0, second=0, microsecond=0) - timezone.timedelta(hours=hours)
    place = {"project": project, "hour": hour, "operation": "reactions", "outcome": outcome, "code": code}
    IntakeCount.objects.create(test=test, count=number, **place)


@pytest.fixture
def page(cast, client):
    client.force_login(cast.dev)
    return lambda query="": client.get(f"/p/{cast.project.slug}/live/arrivals/{query}").content.decode()


def test_where_nothing_came_the_page_says_what_to_do(page):
    assert "Make an API key" in page()


def test_what_was_turned_away_is_listed_with_its_reason_and_the_most_frequent_first(cast, page):
    count(cast.project, "stored", 7000)
    count(cast.project, "refused", 3, "kind.unknown")
    count(cast.project, "refused", 4, "kind.unknown", hours=5)
    count(cast.project, "limited", 12, "unavailable")
    count(cast.project, "refused", 900, "text.unstorable", hours=30)
    count(cast.other_project, "refused", 55, "number.too_large")
    shown = page()
    assert shown.index("unavailable") < shown.index("kind.unknown")
    assert "a kind of reaction that is not declared" in shown
    assert ">7,000<" in shown
    assert ">7<" in shown
    assert "text.unstorable" not in shown
    assert "number.too_large" not in shown
    assert "text.unstorable" in page("?period=week")
    assert ">3<" in page("?period=hour")


def test_test_data_has_counts_of_its_own(cast, page):
    count(cast.project, "refused", 5, "kind.unknown", test=True)
    assert "kind.unknown" not in page()
    assert "kind.unknown" in page("?data=test")


def test_the_bar_shows_the_section_of_a_page_below_it(page):
    assert '/live/" aria-current="true">Live</a>' in page()
