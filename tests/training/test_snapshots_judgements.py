"""What people said of whole answers, as rows: each with the records it came from, in its prompt's split."""

from datetime import timedelta

import pyarrow.parquet as parquet
import pytest
from django.utils import timezone

from annotation.models import Choice, Critique, Ranking, Rating, Reaction, ReactionKind, Rewrite
from tests.training.factories import end, make_prompt, make_response, prefer
from training.actions.snapshots import build_snapshot, folder
from training.queries.snapshots import preview
from training.snapshots import files
from training.snapshots.query import ROW_KINDS, SnapshotQuery

JUDGEMENTS = ("ranking", "choice", "rating", "verdict", "reaction", "rewrite", "demonstration")
BY = {"agent": "sim:ines", "origin": "program"}
NOW = timezone.now


@pytest.fixture
def prompt(cast):
    return make_prompt(cast.project, split="dev", context=[{"id": "h", "title": "Help", "text": "Two years."}])


def rows_of(project, kind, **filters):
    snapshot = build_snapshot(project, SnapshotQuery(kinds=(kind,), **filters), None)
    return list(files.read(folder(snapshot)))


def said(table, response, **fields):
    return table.objects.create(project=response.project, response=response, **{**BY, **fields})


def tap(response, kind, *, user="u1", hours_ago=30.0, polarity=None):
    """A tap of a user, some hours ago; kinds are made as they are needed."""
    made, _ = ReactionKind.objects.get_or_create(
        project=response.project, key=kind, defaults={"name": kind, "polarity": polarity or 0}
    )
    at = NOW() - timedelta(hours=hours_ago)
    return said(Reaction, response, kind=made, external_user=user, event_at=at)


def test_a_ranking_keeps_its_ties_and_its_order(prompt):
    a, b, c = (make_response(prompt, text) for text in ("first", "second", "third"))
    record = Ranking.objects.create(
        project=prompt.project, prompt=prompt, places=[[str(c.pk)], [str(b.pk), str(a.pk)]], dimension="tone", **BY
    )
    [row] = rows_of(prompt.project, "ranking")
    assert [(one["text"], one["place"]) for one in row["answers"]] == [("third", 1), ("second", 2), ("first", 2)]
    assert (row["split"], row["dimension"], row["records"]) == ("dev", "tone", [str(record.pk)])
    assert row["context"][0]["text"] == "Two years."


def test_a_choice_names_what_was_offered_and_what_was_picked_if_anything(prompt):
    a, b = make_response(prompt, "one"), make_response(prompt, "two")
    offered = [str(b.pk), str(a.pk)]
    Choice.objects.create(project=prompt.project, prompt=prompt, response=a, offered=offered, **BY)
    Choice.objects.create(project=prompt.project, prompt=prompt, response=None, offered=offered, **BY)
    picked, none = rows_of(prompt.project, "choice")
    assert [one["text"] for one in picked["answers"]] == ["two", "one"]
    assert (picked["chosen"], none["chosen"]) == (str(a.pk), None)


def test_ratings_verdicts_and_rewrites_name_their_answer_and_their_record(prompt):
    answer, better = make_response(prompt, "bad"), make_response(prompt, "good", token_ids=[5, 6])
    rating = said(Rating, answer, dimension="quality", value=0.25)
    said(Rating, answer, dimension="quality", value=1.0, part="thinking")
    critique = said(Critique, answer, text="It is wrong.", verdict="bad")
    said(Critique, answer, text="No verdict in this one.")
    rewrite = said(Rewrite, answer, better=better)
    [row] = rows_of(prompt.project, "rating")
    assert (row["text"], row["dimension"], row["value"], row["records"]) == ("bad", "quality", 0.25, [str(rating.pk)])
    [row] = rows_of(prompt.project, "verdict")
    assert (row["verdict"], row["words"], row["records"]) == ("bad", "It is wrong.", [str(critique.pk)])
    [row] = rows_of(prompt.project, "rewrite")
    assert (row["text"], row["records"]) == ("bad", [str(rewrite.pk)])
    assert row["better"] == {"response_id": str(better.pk), "text": "good", "token_ids": [5, 6]}
    assert "token_ids" not in row


def test_of_a_users_taps_the_last_that_says_something_counts(prompt):
    answer = make_response(prompt)
    taps = [tap(answer, "shown", hours_ago=5), tap(answer, "like", hours_ago=4, polarity=1)]
    taps += [tap(answer, "dislike", hours_ago=3, polarity=-1), tap(answer, "copy", hours_ago=2, polarity=0)]
    tap(answer, "like", user="u2", polarity=1)
    end(tap(answer, "dislike", user="u2", hours_ago=1, polarity=-1))
    first, second = rows_of(prompt.project, "reaction")
    assert (first["polarity"], first["silent"]) == (-1, False)
    assert first["reactions"] == ["shown", "like", "dislike", "copy"]
    assert first["records"] == sorted(str(one.pk) for one in taps)
    assert second["polarity"] == 1


@pytest.mark.parametrize(
    ("taps", "rows"),
    [
        ([("shown", 25)], [(-1, True)]),  # a day and no word
        ([("shown", 23)], []),  # it may still come
        ([("shown", 25), ("copy", 1)], []),  # a tap that says nothing is not silence
        ([("shown", 25), ("like", 1)], [(1, False)]),
        ([("like", 1)], [(1, False)]),
    ],
)
def test_shown_and_no_tap_becomes_a_negative_after_a_day(prompt, taps, rows):
    answer = make_response(prompt)
    for kind, hours in taps:
        tap(answer, kind, hours_ago=hours, polarity={"like": 1}.get(kind, 0))
    assert [(row["polarity"], row["silent"]) for row in rows_of(prompt.project, "reaction")] == rows


def test_nobodys_silence_is_no_negative(prompt):
    answer = make_response(prompt)
    tap(answer, "shown", user="", hours_ago=50)
    said(
        Reaction,
        answer,
        kind=ReactionKind.objects.create(project=prompt.project, key="like", name="Like", polarity=1),
        event_at=NOW(),
    )
    assert [(row["polarity"], row["silent"]) for row in rows_of(prompt.project, "reaction")] == [(1, False)]


def test_a_demonstration_is_written_by_a_person_and_mends_no_answer(prompt):
    mine = make_response(prompt, "as it should be", origin="human")
    mended = make_response(prompt, "mended", origin="human")
    said(Rewrite, make_response(prompt, "broken"), better=mended)
    [row] = rows_of(prompt.project, "demonstration")
    assert (row["response_id"], row["text"], row["records"]) == (str(mine.pk), "as it should be", [])
    assert rows_of(prompt.project, "demonstration", origins=("program",)) == []


def test_sampled_answers_keep_the_tokens_they_were_sampled_as(prompt):
    a = make_response(prompt, "one", token_ids=[1, 2, 3], token_logprobs=[-0.1, -0.2, -0.3])
    prefer(a, make_response(prompt, "two"))
    [row] = rows_of(prompt.project, "preference")
    assert row["a"]["token_ids"] == [1, 2, 3]
    assert "token_ids" not in row["b"]


def everything(cast, prompt):
    answers = [make_response(prompt, text) for text in ("one", "two")]
    places = [[str(one.pk)] for one in answers]
    Ranking.objects.create(project=prompt.project, prompt=prompt, places=places, **BY)
    Choice.objects.create(project=prompt.project, prompt=prompt, response=None, offered=sum(places, []), **BY)
    said(Rating, answers[0], dimension="quality", value=3)
    said(Critique, answers[0], text="", verdict="good")
    said(Rewrite, answers[0], better=answers[1])
    tap(answers[0], "like", polarity=1)
    tap(answers[0], "shown", user="u2")
    make_response(prompt, "by hand", origin="human")


def test_what_the_preview_counts_of_judgements_is_what_is_written(cast, prompt):
    everything(cast, prompt)
    query = SnapshotQuery(kinds=JUDGEMENTS)
    counted = preview(cast.project, query)["rows"]
    written = build_snapshot(cast.project, query, cast.ada).counts
    assert {kind: splits["dev"] for kind, splits in counted.items()} == {**dict.fromkeys(JUDGEMENTS, 1), "reaction": 2}
    assert {kind: splits["dev"] for kind, splits in written["rows"].items()} == {
        kind: splits["dev"] for kind, splits in counted.items()
    }
    assert written["records"]["reaction"] == 2


def test_judgements_are_in_the_parquet_file_too(cast, prompt):
    everything(cast, prompt)
    snapshot = build_snapshot(cast.project, SnapshotQuery(kinds=ROW_KINDS), cast.ada)
    table = {row["kind"]: row for row in parquet.read_table(folder(snapshot) / "rows.parquet").to_pylist()}
    assert [one["place"] for one in table["ranking"]["answers"]] == [1, 2]
    assert table["rewrite"]["better"]["text"] == "two"
    assert (table["rating"]["value"], table["verdict"]["verdict"]) == (3.0, "good")
    assert table["reaction"]["silent"] is True
