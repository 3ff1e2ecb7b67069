"""No reaction points at an answer that is not there, though no foreign key says so: raw SQL, and two at once."""

from __future__ import annotations

import io
import json
import threading
from contextlib import contextmanager
from uuid import uuid4

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from annotation.actions import reactions
from annotation.actions.erasing_users import erase_user
from annotation.actions.people import Author
from annotation.actions.prompts import NewPrompt, add_prompt, add_response
from annotation.erasure import erasing
from annotation.importers.base import run
from annotation.importers.redpen_jsonl import RedpenJSONL
from annotation.models import Reaction, ReactionKind, Response
from redpen.accounts.constraints import constraint_of
from tests.annotation.conftest import make_desk
from tests.cast import make_cast
from tests.running import wait_for

NAME = "reaction_response_same_project"
COPY = """
    INSERT INTO annotation_reaction (id, lineage, version, project_id, test, origin, agent, kind_id, response_id,
        response_external_id, external_user, event_at, retracts, end_reason, text, metadata, prefill_outcome)
    SELECT gen_random_uuid(), lineage, 1, project_id, test, origin, agent, kind_id, %s, 'r', external_user, event_at,
        false, '', '', '{}', '' FROM annotation_reaction LIMIT 1
"""
WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 7301 AND NOT granted"


def sql(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def refused(statement, *values) -> str:
    """The name of the rule that refuses the statement."""
    with pytest.raises(IntegrityError) as error, transaction.atomic():
        sql(statement, *values)
    return constraint_of(error.value)


def tap(desk, **about):
    kind = ReactionKind.objects.get(project=desk.cast.project, key="like")
    told = {"event_at": timezone.now(), "external_user": "u", **about}
    return reactions.react(author=Author.program("shop"), kind=kind, **told)[0]


def test_a_reaction_to_an_answer_that_is_not_in_its_project_is_refused(desk):
    tap(desk, response=desk.answer)
    author, prompt = Author.program("x"), NewPrompt(messages=[{"role": "user", "content": "Who?"}])
    theirs, _ = add_prompt(author=author, project=desk.cast.other_project, new=prompt)
    elsewhere, _ = add_response(author=author, prompt=theirs, text="Nobody.")
    for answer in (elsewhere.pk, uuid4()):
        assert refused(COPY, answer) == NAME
    sql(COPY, desk.answers[1].pk)


def test_a_reaction_that_waited_is_joined_to_an_answer_of_its_project_alone(desk):
    early = tap(desk, response_external_id="r-1")
    join = "UPDATE annotation_reaction SET response_id = %s WHERE id = %s"
    assert refused(join, uuid4(), early.pk) == NAME
    sql(join, desk.answer.pk, early.pk)


def test_an_answer_that_has_reactions_is_not_deleted_without_them(desk):
    tap(desk, response=desk.answer)
    with transaction.atomic():
        with erasing():
            sql("DELETE FROM annotation_response WHERE id = %s", desk.answer.pk)
            assert refused("SET CONSTRAINTS ALL IMMEDIATE") == NAME
        transaction.set_rollback(True)
    with erasing():
        sql("DELETE FROM annotation_reaction")
        sql("DELETE FROM annotation_response WHERE id = %s", desk.answer.pk)
        sql("SET CONSTRAINTS ALL IMMEDIATE")


# two at once


@pytest.fixture
def busy(transactional_db, settings, tmp_path):
    settings.DATA_DIR = tmp_path
    desk = make_desk(make_cast())
    desk.theirs, _ = add_response(author=Author.program("x"), prompt=desk.prompt, text="For ada.", external_user="ada")
    tap(desk, response=desk.answer)
    return desk


@contextmanager
def another():
    """A connection beside Django's."""
    about = connection.get_connection_params()
    where = {name: about[name] for name in ("dbname", "host", "user", "port", "password") if about.get(name)}
    with psycopg.connect(**where) as other:
        yield other


def test_while_an_answer_is_erased_reactions_to_others_go_on_and_those_to_it_come_too_late(busy):
    with another() as eraser:
        eraser.execute("SELECT set_config('redpen.erasing', 'on', true)")
        eraser.execute("SELECT annotation_hold_answers(%s)", [busy.cast.project.pk])
        eraser.execute("DELETE FROM annotation_response WHERE id = %s", [busy.theirs.pk])
        tap(busy, response=busy.answer, external_user="v")
        heard = []

        def late():
            with another() as other:
                try:
                    other.execute(COPY, [busy.theirs.pk])
                except psycopg.errors.ForeignKeyViolation as error:
                    heard.append(error.diag.constraint_name)

        thread = threading.Thread(target=late)
        thread.start()
        thread.join(0.5)
        assert thread.is_alive()  # who erases may think better of it
        eraser.commit()
        thread.join(10)
    assert heard == [NAME]
    assert Reaction.objects.count() == 2


def test_erasing_waits_for_reactions_that_are_being_stored_and_takes_them_along(busy):
    with another() as writer, another() as watch:
        writer.execute(COPY, [busy.theirs.pk])
        watch.autocommit = True

        def erase():
            try:
                erase_user(author=Author.program("x"), project=busy.cast.project, user="ada")
            finally:
                connection.close()

        thread = threading.Thread(target=erase)
        thread.start()
        wait_for(lambda: watch.execute(WAITING).fetchone()[0], 10)
        writer.commit()
        thread.join(30)
    assert not Response.objects.filter(pk=busy.theirs.pk).exists()
    assert [row.response_id for row in Reaction.objects.all()] == [busy.answer.pk]


def test_a_reaction_that_comes_while_the_rows_are_gathered_goes_with_its_answer(busy, monkeypatch):
    """It shares the lock before the eraser asks for the answer's row: the last look must find it."""
    from annotation.actions.erasing_rows import Rows

    once = Rows.delete

    def delete(self):
        thread = threading.Thread(target=store)
        thread.start()
        thread.join(10)
        return once(self)

    def store():
        with another() as other:
            other.execute(COPY, [busy.theirs.pk])

    monkeypatch.setattr(Rows, "delete", delete)
    erase_user(author=Author.program("x"), project=busy.cast.project, user="ada")
    assert [row.response_id for row in Reaction.objects.all()] == [busy.answer.pk]


def test_a_dry_run_keeps_nobody_from_erasing(busy):
    line = {"type": "reaction", "response": str(busy.answer.pk), "kind": "like", "event_at": "2026-11-01T10:00:00Z"}
    line |= {"by": "x", "user": "v", "key": "k"}
    told = []

    def erase_meanwhile(report):
        thread = threading.Thread(target=erase)
        thread.start()
        thread.join(10)
        told.append((report.taken, thread.is_alive()))

    def erase():
        try:
            erase_user(author=Author.program("x"), project=busy.cast.project, user="ada")
        finally:
            connection.close()

    importer = RedpenJSONL(project=busy.cast.project, author=Author.program("import:test"))
    run(importer, io.BytesIO(json.dumps(line).encode()), dry_run=True, progress=erase_meanwhile)
    assert [alive for _, alive in told] == [False]
    assert told[0][0]["reaction"] == 1
    assert not Response.objects.filter(pk=busy.theirs.pk).exists()
