"""Who gets which piece of work: overlap kept, nobody twice, nobody sent away while work is left."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models.functions import Now

from annotation.actions import dealing, spans
from annotation.actions.people import Author
from annotation.actions.prompts import NewResponse, add_responses
from annotation.actions.tasks import Given, create_tasks, deal_next, reopen, skip, submit
from annotation.errors import AssignmentClosed
from annotation.models import Assignment, Critique, Skip, SpanCritique, Task
from redpen.accounts.errors import RedpenError
from tests.annotation.conftest import make_desk
from tests.cast import join, make_cast, make_user

NOBODY = Given()


def ask(desk, count, **options):
    """So many new answers to mark."""
    ada = Author.person(desk.cast.ada)
    new = [NewResponse(prompt=desk.prompt, text=f"Answer {number}.") for number in range(count)]
    answers, _ = add_responses(author=ada, project=desk.cast.project, new=new)
    create_tasks(author=ada, campaign=desk.campaign, responses=answers, **options)
    return answers


def deal(desk, user):
    return deal_next(user=user, project=desk.cast.project, kind="spans")


def let_lapse(assignment):
    Assignment.objects.filter(pk=assignment.pk).update(lease_expires_at=Now() - timedelta(seconds=1))


@pytest.fixture
def ben(cast):
    return Author.person(cast.ben)


def test_what_i_hold_comes_first_so_that_two_tabs_show_the_same(desk, cast):
    ask(desk, 3)
    first = deal(desk, cast.ben).assignment
    assert deal(desk, cast.ben).assignment == first
    assert deal(desk, cast.mia).assignment.task != first.task


def test_the_highest_priority_then_the_oldest_is_dealt(desk, cast, ben):
    old = ask(desk, 1)[0]
    urgent = ask(desk, 1, priority=2.0)[0]
    seen = []
    for _ in range(2):
        held = deal(desk, cast.ben).assignment
        seen.append(held.task.response_id)
        submit(author=ben, assignment=held, given=NOBODY)
    assert seen == [urgent.pk, old.pk]


def test_a_task_has_as_many_opinions_as_wanted_and_no_person_twice(desk, cast, ben):
    ask(desk, 1, wanted=2)
    submit(author=ben, assignment=deal(desk, cast.ben).assignment, given=NOBODY)
    assert deal(desk, cast.ben).why == "done"
    mias = deal(desk, cast.mia).assignment
    assert deal(desk, cast.ada).why == "held"
    submit(author=Author.person(cast.mia), assignment=mias, given=NOBODY)
    assert Task.objects.get().state == "done"
    assert deal(desk, cast.ada).why == "done"


def test_without_an_open_campaign_it_says_so(desk, cast):
    ask(desk, 1)
    desk.campaign.state = "paused"
    desk.campaign.save()
    assert deal(desk, cast.ben).why == "closed"


def test_a_lapsed_hold_frees_the_place_and_a_late_answer_is_kept_as_an_extra(desk, cast, ben):
    ask(desk, 1)
    bens = deal(desk, cast.ben).assignment
    let_lapse(bens)
    assert dealing.lapse() == 1
    mias = deal(desk, cast.mia).assignment
    submit(author=Author.person(cast.mia), assignment=mias, given=NOBODY)
    late, extra = submit(author=ben, assignment=bens, given=Given(verdict="bad", words="Late."))
    assert (late.state, extra) == ("submitted", True)
    assert Critique.objects.get().assignment == bens


def test_a_lapsed_hold_is_resumed_while_its_place_is_free(desk, cast):
    ask(desk, 2)
    held = deal(desk, cast.ben).assignment
    let_lapse(held)
    dealing.lapse()
    again = deal(desk, cast.ben).assignment
    assert (again.pk, again.state, again.attempt) == (held.pk, "held", 2)


def test_a_heartbeat_renews_the_lease_and_counts_the_time(desk, cast, ben):
    ask(desk, 1)
    held = deal(desk, cast.ben).assignment
    let_lapse(held)
    renewed = dealing.heartbeat(author=ben, assignment=held, active_seconds=12.5)
    assert renewed.active_seconds == 12.5
    assert dealing.lapse() == 0


def test_skipping_gives_a_reason_and_the_task_to_somebody_else(desk, cast, ben):
    ask(desk, 1)
    held = deal(desk, cast.ben).assignment
    for _ in range(2):
        assert skip(author=ben, assignment=held, reason="unclear").state == "skipped"
    assert Skip.objects.get().reason == "unclear"
    assert deal(desk, cast.ben).why == "done"
    assert deal(desk, cast.mia).assignment.task == held.task
    reopen(author=ben, assignment=held)
    assert Skip.objects.get().end_reason == "retracted"


def test_submitting_twice_changes_nothing_and_other_content_needs_a_reopening(desk, cast, ben):
    ask(desk, 1)
    held = deal(desk, cast.ben).assignment
    said = Given(verdict="good", words="Fine.")
    first, _ = submit(author=ben, assignment=held, given=said)
    again, _ = submit(author=ben, assignment=held, given=said)
    assert again.submitted_at == first.submitted_at
    with pytest.raises(AssignmentClosed):
        submit(author=ben, assignment=held, given=Given(verdict="bad"))
    reopen(author=ben, assignment=held)
    assert Task.objects.get().state == "open"
    submit(author=ben, assignment=held, given=Given(verdict="bad"))
    assert list(Critique.objects.order_by("version").values_list("verdict", "end_reason")) == [
        ("good", "superseded"),
        ("bad", ""),
    ]


def test_marks_of_reopened_work_do_not_count_until_it_is_submitted(desk, cast, ben):
    answer = ask(desk, 1)[0]
    held = deal(desk, cast.ben).assignment
    said = spans.judgement(sentiment=-1)
    spans.mark_span(author=ben, response=answer, start=0, end=6, quote="Answer", said=said, assignment=held)
    submit(author=ben, assignment=held, given=NOBODY)
    reopen(author=ben, assignment=held)
    assert SpanCritique.objects.get().assignment.state == "held"


def test_nobody_writes_into_the_work_of_others(desk, cast, ben):
    ask(desk, 1)
    held = deal(desk, cast.ben).assignment
    with pytest.raises(RedpenError, match="belongs to somebody else"):
        submit(author=Author.person(cast.mia), assignment=held, given=NOBODY)


# Races, with real connections


@pytest.mark.django_db(transaction=True)
def test_fifty_people_at_once_keep_the_overlap_and_nobody_is_sent_away():
    """17 tasks that want 3 opinions each are 51 places: all fifty get one, the last place stays free."""
    cast = make_cast()
    desk = make_desk(cast)
    ask(desk, 17, wanted=3)
    people = [make_user(f"Person{number}") for number in range(50)]
    for user in people:
        join(cast.project, user, "annotator")
    start, deals, errors = threading.Barrier(50), {}, []

    def one(user):
        try:
            start.wait(timeout=20)
            deals[user.pk] = deal(desk, user)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one, args=(user,)) for user in people]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert errors == []
    assert [deal.why for deal in deals.values()] == [""] * 50
    held = Counter(Assignment.objects.values_list("task", flat=True))
    assert sum(held.values()) == 50
    assert max(held.values()) == 3
    assert len(held) == 17


@pytest.mark.django_db(transaction=True)
def test_two_tabs_of_one_person_get_one_piece_of_work():
    cast = make_cast()
    desk = make_desk(cast)
    ask(desk, 5)
    start, found, errors = threading.Barrier(8), [], []

    def one():
        try:
            start.wait(timeout=20)
            found.append(deal(desk, cast.ben).assignment.pk)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert errors == []
    assert len(set(found)) == 1
