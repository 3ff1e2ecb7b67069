"""What test keys sent never reaches a snapshot unless it is asked for; a product's users are told apart."""

from __future__ import annotations

import pytest

from annotation.actions.people import Author
from annotation.models import Choice, Critique, Outcome, Ranking, Rating, Reaction, ReactionKind, Rewrite
from tests.training.factories import make_assignment, make_label, make_prompt, make_response, mark, prefer
from training.actions.snapshots import build_snapshot, folder
from training.queries.snapshots import preview
from training.snapshots import files
from training.snapshots.query import ROW_KINDS, SnapshotQuery

BY = {"agent": "key:rp_live_abc", "origin": "human", "external_user": "u-1"}


def say_everything(project, *, test: bool, key: str):
    """One record of every kind, as a key brings it."""
    prompt = make_prompt(project, f"What about {key}?", test=test)
    a, b = (make_response(prompt, f"Two years. {key} {n}", test=test) for n in "ab")
    about = {**BY, "project": project, "test": test}
    kind, _ = ReactionKind.objects.get_or_create(project=project, key="like", defaults={"name": "Like", "polarity": 1})
    for row in (a, b):
        marked = mark(row, "Two years", label=make_label(project), external_user="u-1", test=test)
        assert marked.agent == "sim:ines"
    prefer(a, b, external_user="u-1", test=test)
    Rating.objects.create(response=a, dimension="tone", value=1.0, **about)
    Critique.objects.create(response=a, verdict="bad", text="no", **about)
    Reaction.objects.create(response=a, kind=kind, **about)
    Ranking.objects.create(prompt=prompt, places=[[str(a.pk)], [str(b.pk)]], **about)
    Choice.objects.create(prompt=prompt, response=a, offered=[str(a.pk), str(b.pk)], **about)
    Outcome.objects.create(response=a, stage="at_once", action="sent", **about)
    better = make_response(prompt, "Three years.", test=test, origin="human")
    Rewrite.objects.create(response=a, better=better, **about)
    make_response(prompt, "By hand.", test=test, origin="human")
    make_assignment(a, project.memberships.get(user__name="Ada").user)
    return prompt


def rows_of(project, **asked):
    snapshot = build_snapshot(project, SnapshotQuery(kinds=ROW_KINDS, **asked), None)
    return list(files.read(folder(snapshot)))


@pytest.fixture
def project(cast):
    say_everything(cast.project, test=True, key="test")
    return cast.project


def test_test_data_reaches_no_snapshot(project):
    assert rows_of(project) == []
    counted = preview(project, SnapshotQuery(kinds=ROW_KINDS))
    assert sum(sum(splits.values()) for splits in counted["rows"].values()) == 0
    assert counted["labels"] == []


def test_live_data_beside_test_data_comes_alone(project):
    live = say_everything(project, test=False, key="live")
    rows = rows_of(project)
    assert {row["kind"] for row in rows} == set(ROW_KINDS)
    assert {row["prompt_id"] for row in rows} == {str(live.pk)}
    counted = preview(project, SnapshotQuery(kinds=ROW_KINDS))
    totals = {kind: sum(splits.values()) for kind, splits in counted["rows"].items()}
    assert totals == {kind: sum(row["kind"] == kind for row in rows) for kind in ROW_KINDS}
    assert [label["count"] for label in counted["labels"]] == [2]


def test_a_query_may_ask_for_test_data(project):
    say_everything(project, test=False, key="live")
    rows, both = rows_of(project), rows_of(project, test=True)
    assert len(both) == 2 * len(rows)
    counted = preview(project, SnapshotQuery(kinds=ROW_KINDS, test=True))
    assert sum(sum(splits.values()) for splits in counted["rows"].values()) == len(both)


def test_words_of_a_products_user_are_theirs_and_not_the_keys(project):
    say_everything(project, test=False, key="live")
    rows = rows_of(project)
    for row in rows:
        if "author" in row:
            assert row["author"] == "user:u-1", row["kind"]
    spans = [span for row in rows if row["kind"] == "response" for span in row["spans"]]
    assert {span["author"] for span in spans} == {"user:u-1"}


def test_what_is_said_about_test_data_is_test_data(cast):
    from annotation.actions import building

    prompt = make_prompt(cast.project, test=True)
    a, b = make_response(prompt, "one", test=True), make_response(prompt, "two", test=True)
    ada = Author.person(cast.ada)
    made = [
        building.rating(author=ada, response=a, dimension="tone", value=1.0),
        building.preference(author=ada, a=a, b=b, compared=building.Compared(choice="a")),
        building.ranking(author=ada, places=[[a], [b]]),
        building.choice(author=ada, offered=[a, b], chosen=a),
    ]
    assert all(row.test for row in made)


def test_a_run_and_a_snapshot_take_the_wish_for_test_data_over_http(project, cast):
    client = cast.client(cast.ada)
    path = f"/api/v1/projects/{project.slug}/snapshots/preview"
    asked = {"kinds": ["rating"]}
    without = client.post(path, asked, "application/json").json()
    with_test = client.post(path, {**asked, "test": True}, "application/json").json()
    totals = [sum(answer["rows"]["rating"].values()) for answer in (without, with_test)]
    assert totals == [0, 1]
    page = f"/p/{project.slug}/train/raft/"
    assert 'name="test"' in client.get(page).text
