"""Prompts and answers: identity, splits, callers' ids, one line a batch in the audit trail."""

from __future__ import annotations

import threading
from collections import Counter

import pytest
from django.db import connection

from annotation.actions import building, judgements, spans
from annotation.actions.batches import store_records
from annotation.actions.campaigns import furnish, refresh_labels
from annotation.actions.labels import archive_label, change_label
from annotation.actions.people import Author
from annotation.actions.prompts import NewPrompt, NewResponse, add_prompt, add_prompts, add_response, add_responses
from annotation.errors import BadValue, NotYours, OtherContent, QuoteMismatch
from annotation.models import Campaign, Label, Prompt, ReactionKind, Response, SpanCritique
from redpen.accounts.actions.projects import create_project
from redpen.accounts.models import AuditEvent
from tests.annotation.conftest import make_desk
from tests.cast import make_cast

PROGRAM = Author.program("test")


def user(content, **more):
    return NewPrompt(messages=[{"role": "user", "content": content}], **more)


def add(project, new):
    return add_prompt(author=PROGRAM, project=project, new=new)


def test_the_same_messages_and_context_are_the_same_prompt(cast):
    first, is_new = add(cast.project, user("Why?"))
    again, is_newer = add(cast.project, user("Why?", metadata={"other": True}))
    assert (first.pk, is_new, is_newer) == (again.pk, True, False)
    other, _ = add(cast.project, user("Why?", context=[{"id": "1", "text": "Because."}]))
    assert other.pk != first.pk
    elsewhere, _ = add(cast.other_project, user("Why?"))
    assert elsewhere.pk != first.pk


def test_all_turns_of_a_conversation_fall_into_one_split(cast):
    for number in range(30):
        opening = {"role": "user", "content": f"Question {number}"}
        later = [opening, {"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"}]
        system = [{"role": "system", "content": "Be brief."}, opening]
        stored, _ = add_prompts(
            author=PROGRAM,
            project=cast.project,
            new=[NewPrompt(messages=messages) for messages in ([opening], later, system)],
        )
        assert len({one.split for one in stored}) == 1


def test_of_a_thousand_prompts_some_80_percent_train(cast):
    stored, _ = add_prompts(author=PROGRAM, project=cast.project, new=[user(f"Q{number}") for number in range(1000)])
    shares = Counter(one.split for one in stored)
    assert 760 < shares["train"] < 840
    assert 70 < shares["dev"] < 130
    assert 70 < shares["test"] < 130


def test_a_project_has_its_own_split_by_its_seed(cast):
    cast.other_project.split_seed = 7
    questions = [user(f"Q{number}") for number in range(100)]
    here, _ = add_prompts(author=PROGRAM, project=cast.project, new=questions)
    there, _ = add_prompts(author=PROGRAM, project=cast.other_project, new=questions)
    assert [one.split for one in here] != [one.split for one in there]


def test_a_callers_id_stands_for_one_content(cast):
    add(cast.project, user("Why?", external_id="q"))
    assert add(cast.project, user("Why?", external_id="q"))[1] is False
    with pytest.raises(OtherContent, match="'q' has already brought a record with other content"):
        add(cast.project, user("Why not?", external_id="q"))
    prompt = Prompt.objects.get()
    add_response(author=PROGRAM, prompt=prompt, text="Because.", external_id="a")
    with pytest.raises(OtherContent):
        add_response(author=PROGRAM, prompt=prompt, text="Because!", external_id="a")
    assert add_response(author=PROGRAM, prompt=prompt, text="Because.", external_id="a")[1] is False
    assert Response.objects.count() == 1


@pytest.mark.parametrize(
    ("new", "words"),
    [
        (NewPrompt(messages=[]), "at least one message"),
        (NewPrompt(messages=[{"role": "king", "content": "x"}]), "role is one of"),
        (NewPrompt(messages=[{"role": "user", "content": 3}]), "content is text"),
        (user("a\0b"), "Character 1 of /messages/0/content is a NUL"),
        (user("x", context=[{"title": "no text"}]), "A passage has a text"),
        (user("x", context=[{"id": "1", "text": ""}, {"id": "1", "text": ""}]), "Two passages have the id '1'"),
    ],
)
def test_a_prompt_that_cannot_be_kept_is_refused_in_words(cast, new, words):
    with pytest.raises(Exception, match=words):
        add(cast.project, new)


def test_a_batch_leaves_one_line_and_says_the_same_as_a_single_write(desk):
    before = AuditEvent.objects.count()
    new = [NewResponse(prompt=desk.prompt, text=f"Number {number}", external_id=f"n{number}") for number in range(20)]
    answers, added = add_responses(author=PROGRAM, project=desk.cast.project, new=new)
    said = building.judgement(sentiment=-1)

    def row(answer, quote, key):
        return building.span(
            author=PROGRAM, response=answer, start=0, end=6, quote=quote, said=said, client_key=f"k{key}"
        )

    rows = [row(answer, "Number", number) for number, answer in enumerate(answers)]
    assert (added, store_records(author=PROGRAM, project=desk.cast.project, rows=rows)[1]) == (20, 20)
    assert AuditEvent.objects.count() == before + 2
    again = [row(answer, "Number", number) for number, answer in enumerate(answers)]
    stored, added = store_records(author=PROGRAM, project=desk.cast.project, rows=again)
    assert (added, [one.pk for one in stored]) == (0, [one.pk for one in rows])
    with pytest.raises(QuoteMismatch) as bulk:
        row(answers[0], "number", 99)
    with pytest.raises(QuoteMismatch) as single:
        spans.mark_span(author=PROGRAM, response=answers[0], start=0, end=6, quote="number", said=said)
    assert bulk.value.message == single.value.message
    assert bulk.value.message.startswith("The text at 0-6 is 'Number', not 'number'.")


def test_only_its_author_changes_a_mark(desk):
    ben, mia = Author.person(desk.cast.ben), Author.person(desk.cast.mia)
    said = building.judgement(sentiment=-1)
    mark, _ = spans.mark_span(author=ben, response=desk.answer, start=4, end=8, quote="lamp", said=said)
    for change in (
        lambda: spans.amend_span(author=mia, live=mark, changes={"severity": 3}),
        lambda: spans.retract_span(author=mia, live=mark),
    ):
        with pytest.raises(NotYours):
            change()
    assert SpanCritique.objects.get().ended_at is None


def test_a_rewrite_is_an_answer_of_its_own_and_comes_once(desk):
    ben = Author.person(desk.cast.ben)
    for is_new in (True, False):
        row, new = judgements.rewrite(author=ben, response=desk.answer, text="Better.", client_key="k")
        assert new is is_new
    assert (row.better.parent, row.better.origin, row.act.kind) == (desk.answer, "human", "rewrite")
    with pytest.raises(OtherContent):
        judgements.rewrite(author=ben, response=desk.answer, text="Best.", client_key="k")
    with pytest.raises(BadValue, match="the same as the one"):
        judgements.rewrite(author=ben, response=desk.answer, text=desk.answer.text)


def test_a_new_project_has_labels_a_campaign_and_reaction_kinds(cast):
    project = create_project(creator=cast.zoe, name="Fresh")
    campaign = Campaign.objects.get(project=project)
    version = campaign.versions.get()
    assert [label["shortcut"] for label in version.labels] == list("1234567")
    assert set(version.questions.values_list("kind", flat=True)) == {"spans", "pair"}
    assert ReactionKind.objects.get(project=project, built_in=True).key == "shown"
    assert furnish(project=project, actor=cast.zoe) == campaign
    assert Label.objects.filter(project=project).count() == 7


def test_changed_labels_make_a_new_version_and_old_records_keep_their_label(desk):
    ada = Author.person(desk.cast.ada)
    label = Label.objects.get(project=desk.cast.project, key="rude")
    mark, _ = spans.mark_span(
        author=ada, response=desk.answer, start=4, end=8, quote="lamp", said=building.judgement(label=label)
    )
    assert refresh_labels(author=ada, campaign=desk.campaign).number == 1
    change_label(author=ada, label=label, name="Unkind")
    with pytest.raises(BadValue, match="Another label has the key 1"):
        change_label(author=ada, label=label, shortcut="1")
    archive_label(author=ada, label=Label.objects.get(project=desk.cast.project, key="unclear"))
    version = refresh_labels(author=ada, campaign=desk.campaign)
    assert (version.number, len(version.labels)) == (2, 6)
    mark.refresh_from_db()
    assert mark.label.name == "Unkind"


@pytest.mark.django_db(transaction=True)
def test_a_write_that_comes_ten_times_at_once_is_one_record():
    desk = make_desk(make_cast())
    start, found, errors = threading.Barrier(10), [], []

    def one():
        try:
            start.wait(timeout=20)
            found.append(
                spans.mark_span(
                    author=Author.person(desk.cast.ben),
                    response=desk.answer,
                    start=4,
                    end=8,
                    quote="lamp",
                    said=building.judgement(sentiment=-1),
                    client_key="held-down",
                )
            )
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert errors == []
    assert len({row.pk for row, _ in found}) == 1
    assert sum(is_new for _, is_new in found) == 1
    assert AuditEvent.objects.filter(action="span.marked").count() == 1
