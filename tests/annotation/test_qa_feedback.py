"""The QA-Feedback importer on the real file, whole and damaged."""

from __future__ import annotations

import io
import json
from collections import Counter

import pytest
from django.core.management import CommandError, call_command

from annotation.actions.people import Author
from annotation.importers.base import run
from annotation.importers.qa_feedback import QAFeedback
from annotation.models import Assignment, Evidence, Preference, Prompt, Response, Rewrite, SpanCritique
from redpen.accounts.models import AuditEvent
from tests.shared import shared

FILE = shared("data/qa_feedback/feedback.json")
needs_file = pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is not here")
QUESTION = "Who built the lighthouse?"
PASSAGES = [["Lighthouse", "The lighthouse is old.", "It was built in 1066.", "A king built it."]]


def example(**changes):
    first = "The lighthouse is old. It was built in 1067 by a queen."
    return {
        "question": QUESTION,
        "passages": PASSAGES,
        "gold": "A king.",
        "prediction 1": first,
        "prediction 2": "A king.",
        "prediction 3": "In 1066.",
        "prediction 4": "Nobody knows.",
        "feedback": {
            "errors": [
                {"error type": "Irrelevant", "explanation": "", "start": 0, "end": 22},
                {
                    "error type": "Wrong-Grounding",
                    "explanation": '{"passage_id":1,"sentence_id":[2]}',
                    "start": first.index("1067"),
                    "end": first.index("1067") + 4,
                },
            ],
            "missing-info": [{"error type": "Missing-Answer", "passage_id": 1, "sentence_id": [3]}],
            "corrected-prediction": "A king built it in 1066.",
        },
        "preference": [2, 1, 0, 1, 1, 2],
        **changes,
    }


def feedback(**changes):
    return {"feedback": {**example()["feedback"], **changes}}


def error(**changes):
    return feedback(errors=[{"error type": "Redundant", "explanation": "", "start": 0, "end": 3, **changes}])


@pytest.fixture
def take(cast):
    def take(content, **options):
        importer = QAFeedback(project=cast.project, author=Author.person(cast.dev))
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        return run(importer, io.BytesIO(data), **options)

    return take


@needs_file
def test_all_350_examples_and_988_spans_come_in_once(take):
    report = take(FILE.read_bytes())
    assert (report.items, report.refused) == (350, 0)
    assert report.taken == {
        "examples": 350,
        "answers": 1400,
        "spans": 988,
        "missing": 598,
        "preferences": 2100,
        "rewrites": 336,
    }
    assert SpanCritique.objects.exclude(quote="").count() == 988
    assert set(SpanCritique.objects.filter(quote="").values_list("label__name", flat=True)) == {
        "Missing-Answer",
        "Missing-Major-Auxiliary",
        "Missing-Minor-Auxiliary",
    }
    assert Counter(Preference.objects.values_list("choice", flat=True)) == {"a": 1111, "b": 725, "tie": 264}
    before = AuditEvent.objects.count()
    again = take(FILE.read_bytes())
    assert (dict(again.taken), again.refused) == ({}, 0)
    assert again.repeated == report.taken
    assert AuditEvent.objects.count() == before


@needs_file
def test_a_copy_with_wrong_offsets_is_refused_line_by_line(take):
    """Every tenth example with marks has one whose offsets were moved, by one or far out of the text."""
    content = json.loads(FILE.read_bytes())
    planted = []
    for number, one in enumerate(content, start=1):
        marks = one["feedback"]["errors"]
        if number % 10 == 0 and marks:
            move = 1 if number % 20 == 0 else 5000
            marks[0]["start"] += move
            marks[0]["end"] += move
            planted.append(number)
    lines = "\n".join(json.dumps(one) for one in content).encode()
    report = take(lines)
    assert [(one["line"], one["pointer"][:18]) for one in report.refusals] == [
        (number, "/feedback/errors/0") for number in planted
    ]
    assert len(planted) > 20
    assert report.taken["examples"] == 350 - len(planted)
    mended = take(FILE.read_bytes())
    assert mended.taken["examples"] == len(planted)
    assert SpanCritique.objects.exclude(quote="").count() == 988


def test_an_example_becomes_a_prompt_four_answers_marks_evidence_a_rewrite_and_preferences(take):
    assert take([example()]).refused == 0
    prompt = Prompt.objects.get()
    assert prompt.messages == [{"role": "user", "content": QUESTION}]
    assert prompt.context == [{"id": "1", "title": "Lighthouse", "text": " ".join(PASSAGES[0][1:])}]
    wrong = SpanCritique.objects.get(label__key="wrong-grounding")
    assert (wrong.quote, wrong.critique, wrong.sentiment) == ("1067", "", -1)
    missing = SpanCritique.objects.get(label__key="missing-answer")
    assert missing.start == missing.end == len(missing.response.text)
    assert {(one.span_id, one.quote) for one in Evidence.objects.all()} == {
        (wrong.pk, "It was built in 1066."),
        (missing.pk, "A king built it."),
    }
    for one in Evidence.objects.all():
        assert prompt.context[0]["text"][one.start : one.end] == one.quote
    rewrite = Rewrite.objects.get()
    assert (rewrite.response.text[:14], rewrite.better.text) == ("The lighthouse", "A king built it in 1066.")
    assert [one.choice for one in Preference.objects.order_by("id")] == ["b", "a", "tie", "a", "a", "b"]
    assert Assignment.objects.get().state == "submitted"


def test_an_answer_in_which_nothing_was_wrong_counts_as_read(take):
    take([example(**feedback(errors=[], **{"missing-info": []}))])
    assert SpanCritique.objects.count() == 0
    assert Assignment.objects.get().task.response.model == "qa-feedback/prediction-1"


def test_a_dry_run_says_the_same_and_keeps_nothing(take, cast):
    dry = take([example()], dry_run=True)
    assert Prompt.objects.count() == Response.objects.count() == AuditEvent.objects.count() == 0
    assert dry.taken == take([example()]).taken


NO_PASSAGE = feedback(**{"missing-info": [{"error type": "Missing-Answer", "passage_id": 9}]})
DAMAGE = [
    ("no question", {"question": None}, "/question"),
    ("passages as text", {"passages": "none"}, "/passages"),
    ("a passage that is no list", {"passages": [["a", "b"], "c"]}, "/passages/1"),
    ("a NUL in an answer", {"prediction 2": "A\0king"}, "/prediction 2"),
    ("half a surrogate pair", {"prediction 3": "In \ud83d."}, "/prediction 3"),
    ("an unknown type of error", error(**{"error type": "Silly"}), "/feedback/errors/0/error type"),
    ("offsets outside the text", error(start=50, end=500), "/feedback/errors/0/end"),
    ("offsets backwards", error(start=9, end=3), "/feedback/errors/0/end"),
    ("offsets that cut a word", error(start=0, end=6), "/feedback/errors/0/start"),
    (
        "a passage that is not there",
        NO_PASSAGE,
        "/feedback/missing-info/0/passage_id",
    ),
    ("five preferences", {"preference": [0, 1, 2, 0, 1]}, "/preference"),
]


def test_a_file_with_eleven_kinds_of_damage_gives_eleven_lines_and_keeps_the_good_rest(take):
    good = [example(question=f"{QUESTION} {number}") for number in range(3)]
    damaged = [example(**change) for _, change, _ in DAMAGE]
    lines = [json.dumps(one) for one in [good[0], *damaged, good[1]]]
    text = "\n".join([*lines, '{"question": "cut', json.dumps(good[2])]).encode()
    report = take(text)
    found = [(one["line"], one["pointer"]) for one in report.refusals]
    assert found == [(line, pointer) for line, (_, _, pointer) in enumerate(DAMAGE, start=2)] + [(14, "")]
    assert all(len(one["message"]) > 20 for one in report.refusals)
    assert report.taken["examples"] == 3
    assert Prompt.objects.count() == 3


def test_an_array_that_breaks_off_keeps_what_stands_before_the_break(take):
    text = json.dumps([example(), example(question="Another?")]).encode()
    report = take(text[:-40])
    assert report.taken["examples"] == 1
    assert report.refusals[0]["message"].startswith("Element 2 is not JSON")


def test_the_command_lists_refusals_and_counts(cast, tmp_path, capsys):
    file = tmp_path / "feedback.json"
    file.write_text(json.dumps([example(), example(**error(start=50, end=500))]))
    with pytest.raises(CommandError, match="1 of 2 items were refused"):
        call_command("import_feedback", "qa_feedback", str(file), project=cast.project.slug)
    said = capsys.readouterr().out
    assert "line 1, item 2 /feedback/errors/0/end: The mark 50-500 does not lie in the text" in said
    assert "taken: 1 examples" in said
