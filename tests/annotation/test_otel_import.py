"""Spans of OpenTelemetry's GenAI conventions become answers, with their own times, ids and users."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from django.core.management import call_command

from annotation.actions.people import Author
from annotation.importers.base import run
from annotation.importers.otel_genai import OTelGenAI
from annotation.importers.registry import FORMATS
from annotation.models import Critique, IntakeSettings, Rating, Reaction, Response
from annotation.pseudonyms import pseudonym

LOGS = Path(__file__).parent / "logs"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
COLLECTED = (LOGS / "otel_collector.jsonl").read_bytes()


def take(project, content, **options):
    importer = OTelGenAI(project=project, author=Author.program("import:otel_genai"))
    return run(importer, io.BytesIO(content), **options)


def answer(span: str) -> Response:
    return Response.objects.select_related("prompt").get(external_id=f"{TRACE}:{span}")


def test_what_a_collector_wrote_comes_in_whatever_the_age_of_its_conventions(desk):
    report = take(desk.cast.project, COLLECTED)
    assert report.refusals == []
    assert dict(report.taken) == {"prompt": 6, "response": 7, "rating": 1, "critique": 2, "reaction": 1}
    assert dict(report.left_out) == {
        "other spans": 1,
        "spans of tools, agents and embeddings": 1,
        "calls without their content": 1,
        "other log records": 1,
    }


def test_an_answer_keeps_what_its_span_said(desk):
    take(desk.cast.project, COLLECTED)
    row = answer("00f067aa0ba902b7")
    assert row.prompt.messages == [
        {"role": "system", "content": "You sell kettles."},
        {"role": "user", "content": "How do I descale the kettle?"},
    ]
    assert (row.text, row.thinking) == ("Use citric acid, not vinegar.", "The handbook, page 4.")
    assert (row.model, row.external_user, row.conversation, row.turn) == ("gpt-4o-2024-08-06", "u-17", "conv_5j66", 1)
    assert row.written_at == datetime.fromtimestamp(1763200000, tz=UTC).replace(microsecond=123456)
    assert row.sampling == {
        "temperature": 0.7,
        "max_tokens": 200,
        "stop": ["END"],
        "input_tokens": 52,
        "output_tokens": 9,
        "finish_reason": "stop",
    }
    assert row.metadata == {
        "trace": TRACE,
        "parent_span": "53995c3f42cd8ad8",
        "provider": "openai",
        "response_id": "chatcmpl-9J3uIL87gldCFtiIbyaOvTeYBRA3l",
        "service": "shop-assistant",
        "environment": "production",
    }


def test_older_conventions_hold_the_same_in_other_places(desk):
    take(desk.cast.project, COLLECTED)
    events = answer("10f067aa0ba902b7")
    assert [message["role"] for message in events.prompt.messages] == ["user", "assistant", "tool"]
    assert events.prompt.messages[1]["tool_calls"] == [
        {"id": "call_VSPy", "name": "get_weather", "arguments": '{"location":"Paris"}'}
    ]
    assert events.prompt.messages[2] == {"role": "tool", "content": "rainy, 57°F", "tool_call_id": "call_VSPy"}
    assert (events.text, events.sampling["input_tokens"], events.conversation) == ("It rains in Paris.", 47, "s-9")
    assert events.external_user == ""  # "anonymous" is nobody
    second = Response.objects.get(external_id=f"{TRACE}:10f067aa0ba902b7#1")
    assert (second.text, second.sampling["finish_reason"], second.prompt) == ("Rain, 57°F", "length", events.prompt)
    assert (answer("20f067aa0ba902b7").text, answer("30f067aa0ba902b7").text) == ("Knock knock.", "Hello!")
    assert answer("20f067aa0ba902b7").conversation == TRACE
    assert answer("40f067aa0ba902b7").prompt.messages == [{"role": "user", "content": "Is tea healthy?"}]
    called = answer("50f067aa0ba902b7")
    assert (called.text, called.steps) == (
        "",
        [{"kind": "tool_call", "id": "c1", "name": "search", "arguments": {"q": "kettle"}}],
    )


def test_evaluations_become_ratings_words_and_taps(desk):
    take(desk.cast.project, COLLECTED)
    rating = Rating.objects.get()
    assert (rating.dimension, rating.value, rating.agent, rating.origin) == (
        "Relevance",
        4,
        "otel:Relevance",
        "program",
    )
    assert rating.said_at == datetime.fromtimestamp(1763200100, tz=UTC)
    assert rating.response == answer("00f067aa0ba902b7")
    assert [(row.text, row.verdict) for row in Critique.objects.order_by("said_at")] == [
        ("It answers the question.", ""),
        ("", "good"),
    ]
    tap = Reaction.objects.select_related("kind").get()
    assert (tap.kind.key, tap.text, tap.external_user, tap.origin) == ("like", "Thanks!", "u-17", "human")
    assert tap.event_at == datetime.fromtimestamp(1763200200, tz=UTC)


def test_a_second_import_adds_nothing(desk):
    first = take(desk.cast.project, COLLECTED)
    again = take(desk.cast.project, COLLECTED)
    assert (again.refusals, dict(again.taken), again.repeated) == ([], {}, first.taken)


def test_spans_as_the_sdk_prints_them_come_in_too(desk):
    report = take(desk.cast.project, (LOGS / "otel_sdk.json").read_bytes())
    assert (report.refusals, report.taken["response"]) == ([], 1)
    row = Response.objects.get(text="A lighthouse.")
    assert row.external_id == "5bf92f3577b34da6a3ce929d0e0e4736:60f067aa0ba902b7"
    assert row.written_at == datetime(2026, 11, 1, 10, 0, 2, 500000, tzinfo=UTC)
    assert row.prompt.messages == [{"role": "user", "content": "What is this?\n[image]"}]


def test_users_are_hashed_and_personal_data_taken_out_where_the_project_wants_it(desk):
    settings = IntakeSettings.objects.create(project=desk.cast.project, hash_users=True, redact=["email"])
    for _ in range(2):
        report = take(desk.cast.project, COLLECTED.replace(b"not vinegar", b"says a@example.org"))
        assert report.refusals == []
    row = answer("00f067aa0ba902b7")
    assert row.external_user == pseudonym(settings.user_secret, "u-17") == Reaction.objects.get().external_user
    assert row.text == "Use citric acid, says [email]."


def spoilt(change):
    line = json.loads(COLLECTED.splitlines()[0])
    change(line["resourceSpans"][0]["scopeSpans"][0]["spans"][1])
    return json.dumps(line).encode()


def attribute(span, key, value):
    next(one for one in span["attributes"] if one["key"] == key)["value"] = {"stringValue": value}


HERE = "/resourceSpans/0/scopeSpans/0/spans/1"
DAMAGE = [
    (lambda span: span.update(traceId="xyz"), f"{HERE}/traceId", "no id of 16 bytes"),
    (lambda span: span.update(spanId=None), f"{HERE}/spanId", "no id of 8 bytes"),
    (lambda span: span.update(endTimeUnixNano="9" * 40), f"{HERE}/endTimeUnixNano", "nanoseconds"),
    (lambda span: span.update(events="none"), f"{HERE}/events", "a list"),
    (lambda span: attribute(span, "gen_ai.input.messages", "[{]"), HERE, "Messages are a list"),
    (lambda span: attribute(span, "user.id", "x" * 300), HERE, "at most 200 characters"),
    (lambda span: attribute(span, "gen_ai.response.model", "a\0b"), "", "NUL"),
    (lambda span: attribute(span, "gen_ai.response.model", "x" * 300), "", "at most 200"),
    (lambda span: attribute(span, "gen_ai.conversation.id", "x" * 300), "", "0 to 200"),
]


@pytest.mark.parametrize(("change", "pointer", "words"), DAMAGE)
def test_a_spoilt_line_is_refused_by_place_and_the_others_come_in(desk, change, pointer, words):
    report = take(desk.cast.project, spoilt(change) + b"\n" + b"\n".join(COLLECTED.splitlines()[1:]))
    assert report.refused >= 1
    first = report.refusals[0]
    assert first["line"] == 1
    assert first["pointer"].startswith(pointer)
    assert words in first["message"]
    assert report.taken["response"] == 6


@pytest.mark.parametrize(
    "line", [b"3", b"{}", b'{"resourceSpans": 3}', b'{"resourceSpans": [{"scopeSpans": [3]}]}', b"{"]
)
def test_what_is_no_otlp_is_refused(desk, line):
    report = take(desk.cast.project, line)
    assert (report.refused, report.faults) == (1, 0)


def test_the_command_imports_a_file_and_says_what_it_left_out(desk, capsys):
    call_command("import_feedback", "otel_genai", str(LOGS / "otel_collector.jsonl"), project=desk.cast.project.slug)
    out = capsys.readouterr().out
    assert "taken: 6 prompt, 7 response, 1 rating, 2 critique, 1 reaction" in out
    assert "left out: 1 other spans, 1 spans of tools, agents and embeddings, 1 calls without their content" in out


def test_the_import_page_offers_every_format(desk):
    page = desk.cast.client(desk.cast.ada).get(f"/p/{desk.cast.project.slug}/import/").content.decode()
    assert [name for name in FORMATS if f'value="{name}"' not in page] == []
