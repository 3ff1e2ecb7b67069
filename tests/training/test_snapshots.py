"""Snapshots: which records are in, that the same records give the same bytes, that memory stays flat."""

import json
import tracemalloc
from datetime import timedelta

import pyarrow.parquet as parquet
import pytest
from django.conf import settings
from django.utils import timezone

from tests.training.factories import (
    end,
    make_assignment,
    make_label,
    make_prompt,
    make_response,
    mark,
    prefer,
)
from training.actions.snapshots import build_snapshot, folder, freeze_query, write_snapshot
from training.models import Snapshot
from training.queries.snapshots import preview
from training.snapshots import files
from training.snapshots.query import SnapshotQuery

EVERYTHING = SnapshotQuery(kinds=("response", "preference", "prompt"))
ANSWERS = SnapshotQuery(kinds=("response",))


def rows_of(snapshot, **filters):
    return list(files.read(folder(snapshot), **filters))


def test_a_row_names_the_records_it_came_from_and_counts_code_points(cast):
    response = make_response(make_prompt(cast.project, split="dev"), "Two years 👩‍🔬 or سنتان.")
    span = mark(response, "سنتان", label=make_label(cast.project), critique="invented", author=cast.ben)
    snapshot = build_snapshot(cast.project, ANSWERS, cast.ada)
    [row] = rows_of(snapshot)
    assert row["records"] == [str(span.pk)]
    assert (row["split"], row["kind"], row["response_id"]) == ("dev", "response", str(response.pk))
    [found] = row["spans"]
    assert row["text"][found["start"] : found["end"]] == found["quote"] == "سنتان"
    assert (found["label"], found["sentiment"], found["author"], found["origin"]) == (
        "fact",
        -1,
        str(cast.ben.pk),
        "human",
    )
    assert snapshot.state == "ready"
    assert files.manifest(folder(snapshot))["labels"][0]["key"] == "fact"


def test_only_live_records_count_that_were_handed_in_or_never_assigned(cast):
    response = make_response(make_prompt(cast.project), "one two three four five")
    mark(response, "one")
    mark(response, "two", author=cast.ben, assignment=make_assignment(response, cast.ben))
    mark(response, "three", author=cast.mia, assignment=make_assignment(response, cast.mia, state="held"))
    end(mark(response, "four"))
    other = make_response(make_prompt(cast.other_project), "six")
    mark(other, "six")
    [row] = rows_of(build_snapshot(cast.project, ANSWERS, cast.ada))
    assert [span["quote"] for span in row["spans"]] == ["one", "two"]


def test_an_answer_reviewed_without_marks_is_a_row_and_one_nobody_reviewed_is_not(cast):
    clean = make_response(make_prompt(cast.project))
    make_assignment(clean, cast.ben)
    make_assignment(make_response(make_prompt(cast.project)), cast.ben, state="held")
    make_response(make_prompt(cast.project))
    [row] = rows_of(build_snapshot(cast.project, ANSWERS, cast.ada))
    assert (row["response_id"], row["spans"], row["reviewed"]) == (str(clean.pk), [], True)
    assert row["reviewers"] == [str(cast.ben.pk)]


def test_an_answer_that_was_sampled_here_keeps_its_tokens_and_their_log_probabilities(cast):
    prompt = make_prompt(cast.project)
    mark(make_response(prompt, "one", token_ids=[1, 2], token_logprobs=[-0.5, -0.25]), "one")
    mark(make_response(prompt, "two"), "two")
    rows = {row["text"]: row for row in rows_of(build_snapshot(cast.project, ANSWERS, cast.ada))}
    assert (rows["one"]["token_ids"], rows["one"]["token_logprobs"]) == ([1, 2], [-0.5, -0.25])
    assert not {"token_ids", "token_logprobs"} & set(rows["two"])


def test_preferences_and_prompts_are_rows_of_their_own_kind(cast):
    prompt = make_prompt(cast.project, context=[{"id": "h1", "title": "Warranty", "text": "Two years."}])
    a, b = make_response(prompt, "Two years."), make_response(prompt, "Ten years.")
    judgement = prefer(a, b, "a", strength=3)
    snapshot = build_snapshot(cast.project, EVERYTHING, cast.ada)
    [row] = rows_of(snapshot, kind="preference")
    assert (row["a"]["text"], row["b"]["text"], row["choice"], row["strength"]) == ("Two years.", "Ten years.", "a", 3)
    assert row["records"] == [str(judgement.pk)]
    [row] = rows_of(snapshot, kind="prompt")
    assert row["context"][0]["text"] == "Two years."
    assert rows_of(snapshot, split="test") == []


def test_the_same_records_give_the_same_hash_and_another_record_another(cast):
    response = make_response(make_prompt(cast.project), "one two")
    mark(response, "one")
    first = build_snapshot(cast.project, EVERYTHING, cast.ada)
    again = build_snapshot(cast.project, EVERYTHING, None)
    assert first.content_hash == again.content_hash == files.content_hash(folder(first))
    mark(response, "two")
    assert build_snapshot(cast.project, EVERYTHING, cast.ada).content_hash != first.content_hash


def test_a_snapshot_shows_the_records_as_they_were_at_its_moment(cast):
    response = make_response(make_prompt(cast.project), "one two")
    before = timezone.now()
    span = mark(response, "one", created_at=before - timedelta(hours=2))
    then = SnapshotQuery(kinds=("response",), until=before - timedelta(hours=1))
    end(span, at=before)
    mark(response, "two")
    [row] = rows_of(build_snapshot(cast.project, then, cast.ada))
    assert [found["quote"] for found in row["spans"]] == ["one"]
    assert [s["quote"] for s in rows_of(build_snapshot(cast.project, ANSWERS, cast.ada))[0]["spans"]] == ["two"]


def test_origins_and_campaigns_filter_the_records(cast):
    response = make_response(make_prompt(cast.project), "one two")
    mark(response, "one")
    mark(response, "two", author=cast.ben)
    people = build_snapshot(cast.project, ANSWERS.model_copy(update={"origins": ("human",)}), cast.ada)
    assert [span["quote"] for span in rows_of(people)[0]["spans"]] == ["two"]


def test_what_the_preview_counts_is_what_is_written(cast):
    for split in ("train", "train", "dev"):
        response = make_response(make_prompt(cast.project, split=split), "one two")
        mark(response, "one", label=make_label(cast.project))
        mark(response, "two", author=cast.ben, assignment=make_assignment(response, cast.ben), sentiment=1)
    prefer(response, make_response(response.prompt, "three"))
    counted = preview(cast.project, EVERYTHING)
    written = build_snapshot(cast.project, EVERYTHING, cast.ada).counts
    assert counted["rows"]["response"] == {"train": 2, "dev": 1, "test": 0}
    for kind, splits in written["rows"].items():
        assert {split: n for split, n in counted["rows"][kind].items() if n} == splits
    assert {label["key"]: label["count"] for label in counted["labels"]} == written["labels"] == {"fact": 3, "": 3}


def test_the_parquet_file_holds_the_same_rows(cast):
    response = make_response(make_prompt(cast.project), "one two")
    mark(response, "one", label=make_label(cast.project))
    prefer(response, make_response(response.prompt, "three"))
    snapshot = build_snapshot(cast.project, EVERYTHING, cast.ada)
    table = parquet.read_table(folder(snapshot) / "rows.parquet").to_pylist()
    lines = rows_of(snapshot)
    assert [(row["kind"], row["prompt_id"], row["records"]) for row in table] == [
        (row["kind"], row["prompt_id"], row["records"]) for row in lines
    ]
    assert table[0]["spans"][0]["label"] == "fact"
    assert json.loads(table[0]["messages"]) == lines[0]["messages"]


def test_a_snapshot_that_fails_half_way_leaves_nothing_and_can_be_written_again(cast, monkeypatch):
    mark(make_response(make_prompt(cast.project), "one"), "one")
    snapshot = freeze_query(project=cast.project, query=ANSWERS, author=cast.ada)

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files, "_flush", full)
        with pytest.raises(OSError, match="No space left"):
            write_snapshot(snapshot)
    assert [path.name for path in (settings.DATA_DIR / "snapshots").glob(f"{snapshot.pk}*")] == []
    assert write_snapshot(snapshot).state == Snapshot.State.READY
    assert write_snapshot(snapshot).content_hash == files.content_hash(folder(snapshot))


def test_memory_does_not_grow_with_the_number_of_rows(cast):
    from annotation.models import Prompt, Response, SpanCritique

    text = "word " * 100

    def fill(count):
        prompts = [
            Prompt(
                project=cast.project,
                messages=[{"role": "user", "content": text}],
                content_hash=f"{count}-{i}",
                split="train",
            )
            for i in range(count)
        ]
        responses = [Response(project=cast.project, prompt=prompt, text=text) for prompt in prompts]
        spans = [
            SpanCritique(
                project=cast.project,
                response=r,
                start=0,
                end=4,
                quote="word",
                sentiment=-1,
                agent="sim:x",
                origin="program",
            )
            for r in responses
        ]
        for span in spans:
            span.lineage = span.id
        for model, objects in ((Prompt, prompts), (Response, responses), (SpanCritique, spans)):
            model.objects.bulk_create(objects, batch_size=500)

    def peak():
        tracemalloc.start()
        build_snapshot(cast.project, ANSWERS, cast.ada)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    fill(500)
    small = peak()
    fill(1500)
    assert peak() < 1.5 * small
