"""Pages, work and exports never mix what test keys sent with live data."""

from __future__ import annotations

import json

import pytest

from tests.annotation.keyed import make_answer, make_reaction


@pytest.fixture
def mixed(desk):
    """One tap on an answer live, two in test."""
    project = desk.cast.project
    live = make_answer(project, "Live answer", external_id="live")
    make_reaction(project, "dislike", response=live, external_user="u", text="live words")
    test = make_answer(project, "Test answer", external_id="test", test=True)
    for user in ("u", "v"):
        make_reaction(project, "dislike", response=test, external_user=user, text="test words", test=True)
    desk.live, desk.test = live, test
    return desk


def test_the_data_page_shows_one_or_the_other(mixed):
    client = mixed.cast.client(mixed.cast.ada)
    page = f"/p/{mixed.cast.project.slug}/data/"
    live, test = client.get(page).text, client.get(page, {"data": "test"}).text
    assert "live words" in live
    assert "test words" not in live
    assert "test words" in test
    assert "live words" not in test
    assert "test data" in test
    assert client.get(page, {"data": "nonsense"}).status_code == 422


def test_the_session_api_shows_one_or_the_other(mixed):
    client = mixed.cast.client(mixed.cast.ada)
    for path in ("records", "responses", "prompts"):
        assert "Test answer" not in client.get(mixed.api(path)).text
    counts = [len(client.get(mixed.api("records"), {"data": data}).json()["items"]) for data in ("live", "test")]
    assert counts == [1, 2]


def test_the_page_of_a_test_answer_says_so_and_shows_its_records(mixed):
    client = mixed.cast.client(mixed.cast.ada)
    page = client.get(f"/p/{mixed.cast.project.slug}/answers/{mixed.test.pk}/").text
    assert "test data" in page
    assert "test words" in page


def test_nobody_is_asked_about_test_data(mixed):
    from annotation.actions.people import Author
    from annotation.actions.tasks import ask_about_unread, create_tasks
    from annotation.errors import BadValue
    from annotation.models import Task
    from annotation.queries.unread import unread_answers

    project, ada = mixed.cast.project, Author.person(mixed.cast.ada)
    assert mixed.test not in unread_answers(project)
    ask_about_unread(author=ada, project=project)
    asked = Task.objects.filter(project=project)
    assert asked.exists()
    assert not asked.filter(response__test=True).exists()
    with pytest.raises(BadValue):
        create_tasks(author=ada, campaign=mixed.campaign, responses=[mixed.test])
    with pytest.raises(BadValue):
        create_tasks(author=ada, campaign=mixed.campaign, pairs=[(mixed.live, mixed.test)])


def test_home_counts_live_data(mixed):
    from datetime import timedelta

    from django.utils import timezone

    from frontend.queries.home import came_in, steps_of

    today = timezone.now().date()
    [taps] = came_in(mixed.cast.project, [today - timedelta(days=1), today], author=None)
    assert taps.total == 1
    make_answer(mixed.cast.other_project, "only a test", test=True)
    assert not steps_of(mixed.cast.other_project, "admin")[0].done


def test_the_export_of_a_project_holds_live_data(mixed):
    from annotation.exports.redpen_jsonl import export_text

    lines = [json.loads(line) for line in b"".join(export_text(mixed.cast.project)).splitlines()]
    assert [line["text"] for line in lines if line["type"] == "reaction"] == ["live words"]
    assert "Test answer" not in [line["text"] for line in lines if line["type"] == "response"]
