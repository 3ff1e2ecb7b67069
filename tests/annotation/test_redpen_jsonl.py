"""Our own JSON lines: what goes out comes back the same; what is damaged is named by line."""

from __future__ import annotations

import io
import json
import tracemalloc

import pytest
from django.db import connection
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation.actions import judgements, reactions, spans
from annotation.actions.people import Author
from annotation.actions.prompts import NewPrompt, add_prompt, add_response
from annotation.actions.tasks import Given, create_tasks, deal_next, submit
from annotation.exports.redpen_jsonl import export, export_text
from annotation.importers.base import FAULTS, run
from annotation.importers.reading import CHUNK, read_items
from annotation.importers.redpen_jsonl import Builder, RedpenJSONL
from annotation.models import IntakeSettings, Label, Reaction, ReactionKind, Response, SpanCritique
from annotation.pseudonyms import pseudonym
from redpen.accounts.models import AuditEvent
from tests.annotation.test_offsets import texts


def take(project, content, **options):
    importer = RedpenJSONL(project=project, author=Author.program("import:test"))
    return run(importer, io.BytesIO(content), **options)


def lines_of(project):
    return sorted(json.dumps(line, sort_keys=True) for line in export(project))


def say_everything(desk):
    """One record of each kind, by people, a program and a model."""
    ben, sim = Author.person(desk.cast.ben), Author.program("sim:ines")
    a, b = desk.answers
    create_tasks(author=ben, campaign=desk.campaign, responses=[a, b])
    held = deal_next(user=desk.cast.ben, project=desk.cast.project, kind="spans").assignment
    label = Label.objects.get(project=desk.cast.project, key="rude")
    spans.mark_span(
        author=ben,
        response=held.task.response,
        start=0,
        end=3,
        quote=held.task.response.text[:3],
        said=spans.judgement(label=label, severity=3, critique="Ünkind 👩‍🚀\r\n", replacement=""),
        assignment=held,
    )
    submit(author=ben, assignment=held, given=Given(verdict="bad", words="On the whole."))
    not_yet = deal_next(user=desk.cast.ben, project=desk.cast.project, kind="spans").assignment
    spans.mark_span(
        author=ben,
        response=not_yet.task.response,
        start=0,
        end=0,
        quote="",
        said=spans.judgement(sentiment=-1, critique="a draft, which does not go out"),
        assignment=not_yet,
    )
    gone, _ = judgements.critique(author=ben, response=a, text="taken back, which does not go out")
    judgements.retract(author=ben, row=gone)
    judgements.prefer(author=sim, a=a, b=b, compared=judgements.Compared(choice="b", strength=3), client_key="k")
    judgements.rate(author=Author.model("judge-1"), response=a, dimension="truth", value=0.25)
    judgements.rate(author=sim, response=a, dimension="stars", value=4, external_user="u1")
    judgements.rewrite(author=ben, response=a, text="Better.")
    judgements.rank(author=sim, places=[[b], [a]], reason="so")
    judgements.choose(author=sim, offered=[a, b], chosen=None)
    judgements.tell_outcome(author=sim, response=a, stage="hindsight", action="tried", result="broke", value=-1.0)
    kind = ReactionKind.objects.get(project=desk.cast.project, key="like")
    marked = [{"start": 0, "end": 3, "quote": "The", "sentiment": -1}]
    reactions.react(author=sim, kind=kind, event_at=timezone.now(), response=a, external_user="u1", spans=marked)
    now = timezone.now()
    reactions.react(author=sim, kind=kind, event_at=now, response=a, external_user="u3", external_id="e-3")
    reactions.react(author=sim, kind=kind, event_at=now, response=a, external_user="u4", text="does not go out")
    reactions.withdraw(author=sim, response=a, kind=kind, external_user="u4")
    tested = {"external_user": "u5", "test": True, "response_external_id": "t"}
    reactions.react(author=sim, kind=kind, event_at=now, text="a test, which does not go out", **tested)
    reactions.react(author=sim, kind=kind, event_at=timezone.now(), response_external_id="later", external_user="u2")
    program = Author.program("writer")
    prompt, _ = add_prompt(
        author=program,
        project=desk.cast.project,
        new=NewPrompt(
            messages=[{"role": "user", "content": "And now?"}],
            context=[{"id": "s1", "title": "Here", "text": "It is night."}],
            metadata={"topic": "time"},
            external_id="p-2",
        ),
    )
    first, _ = add_response(
        author=program,
        prompt=prompt,
        text="Night.",
        external_id="r-2",
        model="tiny",
        token_ids=[1, 2],
        token_logprobs=[-0.5, -1.25],
        sampling={"temperature": 0.7},
        conversation="c",
        turn=1,
    )
    live = {"external_user": "u1", "language": "de-AT", "written_at": timezone.now(), "parent_external_id": "gone"}
    add_response(author=program, prompt=prompt, text="It is night.", parent=first)
    add_response(author=program, prompt=prompt, text="Late.", **live)
    add_response(author=program, prompt=prompt, text="A test, which does not go out.", external_id="t-1", test=True)
    spans.mark_span(
        author=sim,
        response=first,
        start=0,
        end=5,
        quote="Night",
        said=spans.judgement(sentiment=1),
        evidence=(spans.Proof(passage="s1", sentences=(1,), start=6, end=11, quote="night"),),
    )


def test_import_of_our_export_is_the_identity(desk):
    say_everything(desk)
    mine, other = desk.cast.project, desk.cast.other_project
    out = b"".join(export_text(mine))
    assert b"does not go out" not in out
    types = {json.loads(line)["type"] for line in out.splitlines()}
    assert len(types) == 14
    report = take(other, out)
    assert (report.refused, report.refusals) == (0, [])
    assert lines_of(other) == lines_of(mine)


def test_our_export_comes_back_to_the_same_project_and_adds_nothing(desk):
    say_everything(desk)
    before = lines_of(desk.cast.project), AuditEvent.objects.count()
    for _ in range(2):
        report = take(desk.cast.project, b"".join(export_text(desk.cast.project)))
        assert (report.refusals, dict(report.taken)) == ([], {})
    assert (lines_of(desk.cast.project), AuditEvent.objects.count()) == before


def test_an_import_does_not_speak_for_members(desk):
    ben = desk.cast.ben
    span = {"type": "span", "key": "s", "response": str(desk.answer.pk), "start": 4, "end": 8, "quote": "lamp"}
    line = json.dumps({**span, "sentiment": -1, "by": f"user:{ben.pk}"}).encode()
    take(desk.cast.project, line)
    stored = SpanCritique.objects.get()
    assert (stored.author, stored.agent) == (None, f"user:{ben.pk}")


PROMPT = {"type": "prompt", "key": "p", "messages": [{"role": "user", "content": "Why?"}]}
ANSWER = {"type": "response", "key": "r", "prompt": "p", "text": "Because 👩‍🚀 said so."}
SPAN = {"type": "span", "key": "s", "response": "r", "start": 8, "end": 11, "quote": "👩‍🚀", "sentiment": -1, "by": "x"}
TAP = {"type": "reaction", "response": "r", "kind": "like", "event_at": "2026-11-01T10:00:00Z", "by": "x", "user": "u"}
DAMAGE = [
    ({**SPAN, "key": "d1", "quote": "🚀"}, "/quote", "The text at 8-11 is '👩‍🚀', not '🚀'."),
    ({**SPAN, "key": "d2", "end": 99}, "/end", "does not lie in the text"),
    ({**SPAN, "key": "d3", "sentiment": 4}, "/sentiment", "Sentiment is -1, 0 or 1"),
    ({**SPAN, "key": "d4", "response": "nobody"}, "/response", "There is no response 'nobody' here"),
    ({**SPAN, "key": "d5", "label": "shiny"}, "/label", "There is no label 'shiny'"),
    ({**SPAN, "key": "d6", "start": "8"}, "/start", "'start' is a whole number, not '8'."),
    ({**SPAN, "key": "d7", "colour": "red"}, "/colour", "A span has no 'colour'."),
    ({name: SPAN[name] for name in SPAN if name != "by"}, "/by", "'by' is missing."),
    ({**SPAN, "severity": 3}, "", "has already brought a record with other content (severity)"),
    ({**ANSWER, "text": "Other."}, "", "The key 'r' has already brought a record with other content (text)"),
    ({**PROMPT, "key": "p9", "messages": []}, "/messages", "at least one message"),
    ({"type": "preference", "key": "x", "a": "r", "b": "r", "choice": "a", "by": "x"}, "/b", "two different answers"),
    ({"type": "riddle", "key": "x"}, "/type", "not 'riddle'"),
    ({**SPAN, "key": "d8", "critique": "a\0b"}, "/critique", "a NUL character"),
    ({**SPAN, "key": "d9", "at": "yesterday"}, "/at", "no time with a zone"),
    (["a", "list"], "", "A line is an object"),
    ({**SPAN, "key": "e1", "evidence": [{"passage": "1", "sentences": 5}]}, "/evidence", "a list of their numbers"),
    ({**SPAN, "key": "e2", "evidence": [{"passage": "1", "sentences": ["a"]}]}, "/evidence", "a list of their numbers"),
    ({**SPAN, "key": "e3", "evidence": [{"passage": "1", "start": "x"}]}, "/evidence", "at whole numbers"),
    ({**SPAN, "key": "e4", "evidence": [{"passage": "1", "quote": []}]}, "/evidence", "The quote of evidence is text"),
    ({**ANSWER, "key": "e5", "token_ids": ["a"]}, "/token_ids", "a whole number for each token, not 'a'"),
    ({**ANSWER, "key": "e6", "token_ids": [2**31]}, "/token_ids", "not 2147483648"),
    ({**ANSWER, "key": "e7", "turn": 2**40}, "", "too long or too large to be stored"),
    ({**SPAN, "key": "e8", "a\0b": 1}, "", "a NUL character"),
    ({**SPAN, "key": "f1", "user": "[object Object]"}, "/user", "what programs send when they know no user"),
    ({**ANSWER, "key": "f2", "language": "x" * 36}, "/language", "0 to 35 characters"),
    ({**ANSWER, "key": "f3", "at": "noon"}, "/at", "no time with a zone"),
    ({**TAP, "key": "f4", "spans": [{"start": "0"}]}, "/spans/0", "A phrase has a start and an end"),
    ({**TAP, "key": "f5", "retracts": 1}, "/retracts", "'retracts' is true or false, not 1."),
    ({**SPAN, "key": "e9", "x" * 5000: 1}, "/" + "x" * 499 + "…", "A span has no 'xxx"),
]


def test_each_kind_of_damage_gets_its_line_and_the_good_rest_comes_in(cast):
    ReactionKind.objects.create(project=cast.project, key="like", name="Like", polarity=1)
    good = [PROMPT, ANSWER, SPAN]
    lines = [json.dumps(one) for one in [*good, *(damaged for damaged, _, _ in DAMAGE)]]
    lines += ["{broken", "", json.dumps({**SPAN, "key": "last"})]
    report = take(cast.project, "\n".join(lines).encode() + b'\n{"type": "span\xff"}')
    assert dict(report.taken) == {"prompt": 1, "response": 1, "span": 2}
    assert report.refused == len(DAMAGE) + 2
    at = {one["line"]: one for one in report.refusals}
    for number, (_, pointer, words) in enumerate(DAMAGE, start=4):
        assert (at[number]["pointer"], words in at[number]["message"]) == (pointer, True), at[number]
    assert any(one["pointer"] == "/a\ufffdb" for one in report.refusals)  # a report is stored: it holds no NUL
    assert "This is not JSON" in at[len(DAMAGE) + 4]["message"]
    assert "is not UTF-8" in at[len(DAMAGE) + 7]["message"]


def test_a_fault_of_ours_at_one_line_costs_that_line_only(cast, monkeypatch):
    stumble = {"parse": "d1", "store": "d2"}
    parse, build = RedpenJSONL.parse, Builder.build

    def stumbling_parse(self, item, faults):
        if item.value["key"] == stumble["parse"]:
            raise TypeError
        return parse(self, item, faults)

    def stumbling_build(self, line):
        if line["key"] == stumble["store"]:
            raise RecursionError
        return build(self, line)

    monkeypatch.setattr(RedpenJSONL, "parse", stumbling_parse)
    monkeypatch.setattr(Builder, "build", stumbling_build)
    lines = [PROMPT, ANSWER, *({**SPAN, "key": key} for key in ("d1", "d2", "d3"))]
    report = take(cast.project, "\n".join(map(json.dumps, lines)).encode())
    assert [(one["line"], one["code"]) for one in report.refusals] == [(3, "import.fault"), (4, "import.fault")]
    assert report.taken["span"] == 1


def test_faults_of_ours_at_many_lines_fail_the_import(cast, monkeypatch):
    def stumble(self, item, faults):
        raise TypeError

    monkeypatch.setattr(RedpenJSONL, "parse", stumble)
    assert take(cast.project, json.dumps(PROMPT).encode()).refused == 1
    with pytest.raises(TypeError):
        take(cast.project, (json.dumps(PROMPT) + "\n").encode() * (FAULTS + 1))


def test_lines_of_one_batch_may_stand_in_any_order(cast):
    child = {**ANSWER, "key": "r2", "parent": "r", "text": "More."}
    report = take(cast.project, "\n".join(json.dumps(one) for one in [SPAN, child, ANSWER, PROMPT]).encode())
    assert report.refusals == []
    assert dict(report.taken) == {"prompt": 1, "response": 2, "span": 1}


def test_a_dry_run_over_several_batches_sees_its_own_earlier_batches(cast, monkeypatch):
    monkeypatch.setattr(RedpenJSONL, "batch", 1)
    content = "\n".join(json.dumps(one) for one in [PROMPT, ANSWER, SPAN]).encode()
    assert take(cast.project, content, dry_run=True).taken == {"prompt": 1, "response": 1, "span": 1}
    assert lines_of(cast.project) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15, deadline=None)
@given(whole=texts, data=st.data())
def test_any_marked_text_survives_the_way_out_and_in(desk, whole, data):
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, len(whole)))
    marked = {"start": start, "end": end, "quote": whole[start:end]}
    program, (mine, other) = Author.program("x"), (desk.cast.project, desk.cast.other_project)
    answer, _ = add_response(author=program, prompt=desk.prompt, text=whole)
    mark, _ = spans.mark_span(author=program, response=answer, said=spans.judgement(sentiment=1), **marked)
    report = take(other, b"".join(export_text(mine)))
    assert report.refusals == []
    stored = SpanCritique.objects.get(project=other, client_key=str(mark.pk))
    assert (stored.start, stored.end, stored.quote, stored.response.text) == (start, end, whole[start:end], whole)


# Reading


def values(content: bytes):
    return [(item.number, item.line, item.value, item.problem) for item in read_items(io.BytesIO(content))]


def test_an_array_is_read_over_the_borders_of_chunks():
    elements = [{"n": number, "text": "é👩‍🚀]" * (number * 700)} for number in range(12)]
    content = json.dumps(elements, ensure_ascii=False, indent=2).encode()
    assert len(content) > 3 * CHUNK
    found = values(content)
    assert [value for _, _, value, _ in found] == elements
    lines = content.decode().splitlines()
    assert [lines[line - 1].strip() for _, line, _, _ in found] == ["{"] * 12


@given(st.lists(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=4)))
def test_any_array_and_any_lines_are_read_as_they_are(elements):
    assert [value for _, _, value, _ in values(json.dumps(elements).encode())] == elements
    objects = [{"value": element} for element in elements]
    content = "\n".join(json.dumps(one) for one in objects).encode()
    assert [value for _, _, value, _ in values(content)] == objects


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'[{"a": 1}, {"a": }]', "Element 2 is not JSON"),
        (b'[{"a": 1} {"a": 2}]', "where ',' or ']' should be"),
        (b'[{"a": 1}', "The array does not end"),
        (b'[{"a": 1}, {"a": "\xff"}]', "not UTF-8"),
        (b'[{"a": 1}, NaN]', "NaN is not JSON"),
        (b'[{"a": 1}, 1e999]', "1e999 is too large a number"),
        (b'[{"a": 1}, ' + b"[" * 101 + b"]" * 101 + b"]", "nested too deep"),
        (b'{"a": 1}\n{"a": ' + b"[" * 100_000, "nested too deep"),
        (b'{"a": 1}\n' + b"[" * 101 + b"]" * 101, "nested too deep"),
        (b'{"a": 1}\n{"a": ' + b"1" * 5000 + b"}", "a number has more than 4300 digits"),
    ],
)
def test_what_stands_before_the_damage_is_read(content, problem):
    first, second = values(content)
    assert first[2] == {"a": 1}
    assert problem in second[3]


def test_an_empty_file_has_no_items():
    assert values(b"") == values(b" \n") == values(b"[]") == []


def peak_of_export(desk, count) -> int:
    """The most memory that the export of so many answers of 5 kB more has in hand."""
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO annotation_response
            (id, project_id, prompt_id, text, thinking, origin, model, sampling, conversation, metadata)
            SELECT uuidv7(), %s, %s, repeat('x', 5000), '', 'model', '', '{}', '', '{}'
            FROM generate_series(1, %s)""",
            [desk.cast.project.pk, desk.prompt.pk, count],
        )
    tracemalloc.start()
    try:
        assert sum(len(piece) for piece in export_text(desk.cast.project, types=["response"])) > 5000 * count
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_export_needs_the_same_memory_for_three_times_as_much(desk):
    small = peak_of_export(desk, 700)
    assert peak_of_export(desk, 1400) < 1.2 * small


def test_a_tap_that_came_before_its_answer_is_known_when_it_comes_again(desk):
    """And one that was taken back later no longer counts, in whatever order the lines come."""
    project = desk.cast.project
    taps = [{**TAP, "key": "k1"}, {**TAP, "key": "k2", "user": "v", "external_id": "e-2"}]
    back = {**TAP, "key": "k3", "event_at": "2026-11-01T11:00:00Z", "retracts": True}
    lines = [json.dumps(one) for one in (back, *taps)]
    first = take(project, "\n".join(lines).encode())
    take(project, "\n".join(json.dumps(one) for one in (PROMPT, ANSWER)).encode())
    again = take(project, "\n".join(reversed(lines)).encode())
    assert (first.taken["reaction"], again.refusals, dict(again.taken), again.repeated["reaction"]) == (3, [], {}, 3)
    standing = Reaction.objects.filter(ended_at=None).values_list("external_user", "response__external_id")
    assert list(standing) == [("v", "r")]
    other = take(project, json.dumps({**TAP, "key": "k1", "text": "other"}).encode())
    assert "other content (text)" in other.refusals[0]["message"]


def test_users_are_hashed_where_the_project_wants_it(cast):
    settings = IntakeSettings.objects.create(project=cast.project, hash_users=True)
    ReactionKind.objects.create(project=cast.project, key="like", name="Like", polarity=1)
    lines = [PROMPT, {**ANSWER, "user": "ines"}, {**TAP, "key": "k", "user": "ines"}, {**SPAN, "user": "ines"}]
    for _ in range(2):
        report = take(cast.project, "\n".join(json.dumps(one) for one in lines).encode())
        assert report.refusals == []
    hidden = pseudonym(settings.user_secret, "ines")
    assert {row.external_user for model in (Response, Reaction, SpanCritique) for row in model.objects.all()} == {
        hidden
    }


def test_an_answer_finds_the_one_that_it_replaces_when_that_comes(cast):
    later = {**ANSWER, "key": "r2", "text": "Once more.", "parent": "r", "user": "u", "language": "en"}
    take(cast.project, "\n".join(json.dumps(one) for one in (PROMPT, later)).encode())
    assert Response.objects.get(external_id="r2").parent is None
    take(cast.project, "\n".join(json.dumps(one) for one in (PROMPT, ANSWER)).encode())
    assert Response.objects.get(external_id="r2").parent.external_id == "r"
