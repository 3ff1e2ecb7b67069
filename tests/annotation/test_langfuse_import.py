"""Exports of Langfuse: generations become answers, scores what their data types say."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path

import pytest

from annotation.actions.people import Author
from annotation.importers.base import run
from annotation.importers.langfuse import Langfuse
from annotation.models import Critique, Rating, Reaction, Response, Rewrite

LOGS = Path(__file__).parent / "logs"


def take(project, name, **options):
    content = name if isinstance(name, bytes) else (LOGS / name).read_bytes()
    importer = Langfuse(project=project, author=Author.program("import:langfuse"))
    return run(importer, io.BytesIO(content), **options)


def test_generations_become_answers_with_their_own_times_and_users(desk):
    report = take(desk.cast.project, "langfuse_observations.jsonl")
    assert (report.refusals, dict(report.taken)) == ([], {"prompt": 2, "response": 2})
    assert dict(report.left_out) == {"observations of type span": 1, "generations without their input or output": 1}
    row = Response.objects.select_related("prompt").get(external_id="obs-1")
    assert [message["role"] for message in row.prompt.messages] == ["system", "user"]
    assert (row.text, row.model, row.external_user) == ("The K2 is the quietest.", "gpt-4o", "cust-5")
    assert (row.conversation, row.turn) == ("chat-77", 1)
    assert row.written_at == datetime(2026, 10, 1, 13, 46, 19, 963000, tzinfo=UTC)
    assert row.sampling == {"temperature": 0.7, "input_tokens": 21, "output_tokens": 7}
    assert row.metadata["trace"] == "tr-1"
    assert (row.metadata["tier"], row.metadata["release"], row.metadata["tags"]) == ("gold", "v12", ["web"])
    plain = Response.objects.select_related("prompt").get(external_id="obs-3")
    assert plain.prompt.messages == [{"role": "user", "content": "How heavy is it?"}]
    assert (plain.external_user, plain.conversation) == ("", "tr-2")


def test_scores_become_what_their_data_types_say(desk):
    take(desk.cast.project, "langfuse_observations.jsonl")
    report = take(desk.cast.project, "langfuse_scores.csv")
    assert dict(report.taken) == {"rating": 2, "critique": 3, "reaction": 1, "rewrite": 1}
    assert dict(report.left_out) == {"scores of sessions and of runs on datasets": 1}
    ratings = {row.dimension: (row.value, row.agent, row.origin) for row in Rating.objects.all()}
    assert ratings == {
        "accuracy": (0.9, "langfuse:accuracy", "model"),
        "is_correct": (1.0, "langfuse:is_correct", "model"),
    }
    assert {row.text: row.agent for row in Critique.objects.all()} == {
        'Matches the handbook, "page 2".': "langfuse:accuracy",
        "tone: too dry": "langfuse:user-ada",
        "Say the price too.": "langfuse:user-ada",
    }
    tap = Reaction.objects.select_related("kind", "response").get()
    assert (tap.kind.key, tap.text, tap.response.external_id) == ("like", "Great,\nthanks", "obs-1")
    assert tap.event_at == datetime(2026, 10, 1, 13, 51, tzinfo=UTC)
    rewrite = Rewrite.objects.select_related("better", "response").get()
    assert (rewrite.response.external_id, rewrite.better.text) == ("obs-3", "It weighs 1.2 kg.")
    assert rewrite.said_at == datetime(2026, 10, 1, 13, 55, tzinfo=UTC)


def test_bad_rows_of_a_csv_are_refused_by_line(desk):
    take(desk.cast.project, "langfuse_observations.jsonl")
    report = take(desk.cast.project, (LOGS / "langfuse_scores.csv").read_bytes() + b'"only","three","cells"\n')
    assert [(one["line"], one["message"]) for one in report.refusals] == [
        (11, "The value of a NUMERIC score is a number."),
        (12, "The row has 3 cells, and the header has 13."),
        (10, "There is no answer to 'tr-404' here. Import the answers before the scores."),
    ]


def test_a_second_import_adds_nothing(desk):
    for name in ("langfuse_observations.jsonl", "langfuse_scores.csv", "langfuse_trace.json"):
        first = take(desk.cast.project, name)
        again = take(desk.cast.project, name)
        assert (dict(again.taken), again.repeated) == ({}, first.taken), name


def test_a_downloaded_trace_holds_answers_and_scores(desk):
    report = take(desk.cast.project, "langfuse_trace.json")
    assert (report.refusals, dict(report.taken)) == ([], {"prompt": 1, "response": 1, "reaction": 1})
    row = Response.objects.get(external_id="o-90")
    assert (row.external_user, row.conversation, row.model) == ("cust-6", "chat-80", "gpt-4o-mini")
    assert row.sampling == {"temperature": 0, "max_tokens": 50, "input_tokens": 10, "output_tokens": 2}
    tap = Reaction.objects.select_related("kind").get()
    assert (tap.kind.key, tap.external_user, tap.text, tap.response) == ("dislike", "cust-6", "wrong", row)


def test_a_trace_is_an_answer_only_where_its_generations_are_not_known(desk):
    take(desk.cast.project, "langfuse_observations.jsonl")
    report = take(desk.cast.project, "langfuse_traces.json")
    assert (report.taken["response"], dict(report.left_out)) == (1, {"traces whose generations are here": 1})
    row = Response.objects.get(external_id="tr-50")
    assert (row.text, row.external_user) == ("Red.", "cust-7")


@pytest.mark.parametrize(
    "line",
    [
        b"3",
        b"{}",
        b'{"id": "x", "type": "GENERATION", "trace_id": "t", "input": "a", "output": "b", "end_time": "noon"}',
        b'{"id": {}, "type": "GENERATION", "trace_id": "t", "input": "a", "output": "b"}',
        b'{"id": "x", "name": "n", "value": 1, "trace_id": "t", "data_type": "MOOD", "timestamp": "2026-01-01"}',
        b'{"id": "x", "name": "n", "value": 1, "trace_id": "t"}',
        b'{"id": "x", "trace": 3, "observations": 3}',
        b'{"id": "x", "type": "GENERATION", "trace_id": "t", "input": "a\\u0000", "output": "b"}',
        b'{"id": "\\ud800", "type": "GENERATION", "trace_id": "t", "input": "a", "output": "b"}',
        b'{"id": "x", "name": "\\ud800", "value": 1, "observation_id": "o", "timestamp": "2026-01-01T00:00:00Z"}',
    ],
)
def test_what_is_no_export_is_refused_in_words(desk, line):
    report = take(desk.cast.project, line)
    assert (report.refused, report.faults) == (1, 0), report.refusals
