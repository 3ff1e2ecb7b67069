"""What the database itself refuses, by raw SQL: overwriting, deleting, reviving, a quote that is not there."""

from __future__ import annotations

from importlib import import_module
from uuid import uuid4

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings

from annotation.actions import judgements, reactions, spans
from annotation.actions.people import Author
from annotation.actions.prompts import add_response
from annotation.erasure import erasing
from annotation.models import Reaction, ReactionKind, SpanCritique
from redpen.accounts.constraints import constraint_of
from tests.annotation.test_offsets import texts


def sql(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)


def refused(statement, *values) -> str:
    """The name of the rule that refuses the statement."""
    with pytest.raises(IntegrityError) as error, transaction.atomic():
        sql(statement, *values)
    return constraint_of(error.value)


@pytest.fixture
def span(desk):
    return spans.mark_span(
        author=Author.person(desk.cast.ben),
        response=desk.answer,
        start=4,
        end=8,
        quote="lamp",
        said=spans.judgement(sentiment=-1),
    )[0]


@pytest.mark.parametrize(
    "change",
    ["quote = 'lump'", '"end" = 9', "sentiment = 1", "critique = 'no'", "author_id = NULL, agent = 'x'", "version = 7"],
)
def test_what_was_said_is_never_overwritten(span, change):
    statement = f"UPDATE annotation_spancritique SET {change} WHERE id = %s"
    assert refused(statement, span.pk) == "record_never_overwritten"


def test_a_record_may_end_and_then_stays_ended(span):
    end = "UPDATE annotation_spancritique SET ended_at = now(), end_reason = 'retracted' WHERE id = %s"
    sql(end, span.pk)
    revive = "UPDATE annotation_spancritique SET ended_at = NULL, end_reason = '' WHERE id = %s"
    assert refused(revive, span.pk) == "record_stays_ended"
    assert refused("UPDATE annotation_spancritique SET end_reason = 'superseded' WHERE id = %s", span.pk) == (
        "record_stays_ended"
    )


def test_a_record_is_deleted_only_while_erasing(span, desk):
    assert refused("DELETE FROM annotation_spancritique WHERE id = %s", span.pk) == "record_never_deleted"
    with pytest.raises(IntegrityError, match="not deleted but retracted"), transaction.atomic():
        desk.prompt.delete()
    with erasing():
        desk.cast.project.delete()
    assert not SpanCritique.objects.exists()


def test_outside_the_erasing_block_deleting_is_refused_again(span, desk):
    with erasing():
        pass
    assert refused("DELETE FROM annotation_spancritique WHERE id = %s", span.pk) == "record_never_deleted"


def test_prompts_and_answers_never_change_but_for_their_metadata(desk):
    assert refused("UPDATE annotation_response SET text = 'x' WHERE id = %s", desk.answer.pk) == (
        "record_never_overwritten"
    )
    assert refused("UPDATE annotation_prompt SET split = 'test', messages = '[]' WHERE id = %s", desk.prompt.pk) == (
        "record_never_overwritten"
    )
    sql("""UPDATE annotation_response SET metadata = '{"a": 1}' WHERE id = %s""", desk.answer.pk)
    sql("""UPDATE annotation_prompt SET metadata = '{"a": 1}' WHERE id = %s""", desk.prompt.pk)


def test_other_kinds_are_kept_too(desk):
    ben = Author.person(desk.cast.ben)
    words, _ = judgements.critique(author=ben, response=desk.answer, text="Too short.")
    chosen, _ = judgements.prefer(
        author=ben, a=desk.answers[0], b=desk.answers[1], compared=judgements.Compared(choice="a")
    )
    number, _ = judgements.rate(author=ben, response=desk.answer, dimension="quality", value=0.5)
    better, _ = judgements.rewrite(author=ben, response=desk.answer, text="Better.")
    for row, change in [
        (words, "text = 'x'"),
        (chosen, "choice = 'b'"),
        (number, "value = 1"),
        (better, f"better_id = '{desk.answers[1].pk}'"),
    ]:
        table = row._meta.db_table
        assert refused(f"UPDATE {table} SET {change} WHERE id = %s", row.pk) == "record_never_overwritten"
        assert refused(f"DELETE FROM {table} WHERE id = %s", row.pk) == "record_never_deleted"


def test_a_reaction_may_find_its_answer_once(desk):
    kind = ReactionKind.objects.get(project=desk.cast.project, key="like")
    program = Author.program("shop")
    early, _ = reactions.react(
        author=program, kind=kind, event_at=timezone.now(), response_external_id="r-1", external_user="u"
    )
    assert early.response is None
    answer, _ = add_response(author=program, prompt=desk.prompt, text="Late.", external_id="r-1")
    early.refresh_from_db()
    assert early.response == answer
    elsewhere = "UPDATE annotation_reaction SET response_id = %s WHERE id = %s"
    assert refused(elsewhere, desk.answer.pk, early.pk) == "record_never_overwritten"


def test_of_reactions_that_waited_the_latest_stays_live(desk):
    kind = ReactionKind.objects.get(project=desk.cast.project, key="like")
    program, now = Author.program("shop"), timezone.now()
    for minutes in (3, 1, 2):
        at = now - timezone.timedelta(minutes=minutes)
        reactions.react(author=program, kind=kind, event_at=at, response_external_id="r-1", external_user="u")
    add_response(author=program, prompt=desk.prompt, text="Late.", external_id="r-1")
    live = Reaction.objects.get(ended_at=None)
    assert live.event_at == now - timezone.timedelta(minutes=1)
    assert Reaction.objects.filter(response=live.response).count() == 3


def insert_span(response, start, end, quote, part="text"):
    sql(
        """INSERT INTO annotation_spancritique
        (id, project_id, response_id, part, origin, agent, prefill_outcome, metadata, lineage, version, end_reason,
         start, "end", quote, sentiment, severity, critique)
        VALUES (%s, %s, %s, %s, 'human', 'me', '', '{}', %s, 1, '', %s, %s, %s, -1, 2, '')""",
        *(uuid4(), response.project_id, response.pk, part, uuid4(), start, end, quote),
    )


def test_a_quote_that_does_not_stand_there_is_refused_by_the_database(desk):
    for start, end, quote in [(4, 8, "lump"), (5, 9, "lamp"), (9, 10, "👨"), (4000, 4000, "")]:
        with pytest.raises(IntegrityError) as error, transaction.atomic():
            insert_span(desk.answer, start, end, quote)
        assert constraint_of(error.value) == "span_quote_matches_text"
    insert_span(desk.answer, 4, 8, "lamp")
    insert_span(desk.answer, 9, 12, "👩‍🚀")
    insert_span(desk.answer, 0, 4, "step", part="steps/0/text")  # other parts are the action's to check


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(before=texts, quote=texts, after=texts)
def test_postgres_counts_code_points_as_python_does(desk, before, quote, after):
    whole = before + quote + after
    answer, _ = add_response(author=Author.program("x"), prompt=desk.prompt, text=whole)
    start, end = len(before), len(before) + len(quote)
    insert_span(answer, start, end, quote)
    stored = SpanCritique.objects.get(response=answer)
    assert stored.response.text[stored.start : stored.end] == stored.quote == quote


def test_no_record_points_into_another_project(desk, cast):
    """Deferred to the commit, so it is asked for here."""
    desk.answer.project_id = cast.other_project.pk
    with transaction.atomic():
        insert_span(desk.answer, 4, 8, "lamp")
        assert refused("SET CONSTRAINTS ALL IMMEDIATE") == "spancritique_response_same_project"
        transaction.set_rollback(True)


def test_the_triggers_can_be_made_twice_and_taken_away_again(span):
    names = ("0002_records_keep_their_word", "0005_what_may_change")
    first, second = (import_module(f"annotation.migrations.{name}").Migration.operations[0] for name in names)
    change = "UPDATE annotation_spancritique SET severity = 3 WHERE id = %s"
    for statement in (*first.sql, *second.sql):
        sql(statement)
    assert refused(change, span.pk) == "record_never_overwritten"
    for statement in (*second.reverse_sql, *first.reverse_sql):
        sql(statement)
    sql(change, span.pk)
