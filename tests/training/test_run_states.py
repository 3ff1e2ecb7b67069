"""The promises about runs that the database keeps, whoever writes: shown by raw SQL."""

import itertools
import uuid

import pytest
from django.db import IntegrityError, connection, transaction

from training.actions.states import ENDED, HELD, TRANSITIONS, RunState
from training.models import BaseModel, Run, Snapshot


@pytest.fixture
def base(db):
    return BaseModel.objects.create(name="tiny", source="folder", location="/nowhere")


def make_run(cast, base, state=RunState.QUEUED, **fields):
    number = Run.objects.count() + 1
    fields.setdefault("attempt", 1 if state in (*HELD, *ENDED) else 0)
    run = Run(project=cast.project, number=number, recipe="raft", base_model=base, state=state, **fields)
    return put(run)


def put(run):
    """Insert it as it stands: the lease, the end and the reason that its state asks for are filled in."""
    from django.utils import timezone

    if run.state in HELD:
        run.lease_expires_at = timezone.now()
    if run.state in ENDED:
        run.ended_at = timezone.now()
    if run.state == RunState.FAILED:
        run.failure = {"code": "x", "message": "x", "action": "x"}
    run.save()
    return run


def go(run, to):
    """Change the state by SQL, with the columns that the new state asks for."""
    sql = """
        UPDATE training_run SET state = %(to)s, attempt = attempt + %(step)s,
            lease_expires_at = CASE WHEN %(held)s THEN now() END, ended_at = CASE WHEN %(ended)s THEN now() END,
            failure = CASE WHEN %(to)s = 'failed' THEN '{}'::jsonb ELSE failure END
        WHERE id = %(id)s"""
    step = 1 if to == "running" and run.state != "running" else 0
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, {"to": to, "id": run.pk, "step": step, "held": to in HELD, "ended": to in ENDED})


def test_a_run_goes_only_where_the_table_says(cast, base):
    for before, after in itertools.permutations(RunState.values, 2):
        run = make_run(cast, base, before)
        if after in TRANSITIONS[before]:
            go(run, after)
            assert Run.objects.get(pk=run.pk).state == after
        else:
            with pytest.raises(IntegrityError, match=r"cannot go from|has ended"):
                go(run, after)


@pytest.mark.parametrize(
    "change",
    [
        "attempt = attempt - 1",
        "attempt = attempt + 1",
        "state = 'queued', lease_expires_at = NULL, attempt = attempt + 1",
        "attempts_allowed = attempts_allowed - 1",
        "config = '{\"epochs\": 9}'",
        "recipe = 'other'",
        "seed = seed + 1",
    ],
)
def test_neither_the_fence_nor_what_was_launched_is_moved_by_hand(cast, base, change):
    run = make_run(cast, base, RunState.RUNNING)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"UPDATE training_run SET {change} WHERE id = %s", [run.pk])
    with connection.cursor() as cursor:  # the same row takes what is allowed
        cursor.execute("UPDATE training_run SET step = 3, attempts_allowed = 4 WHERE id = %s", [run.pk])


def test_a_run_that_has_ended_keeps_its_reason(cast, base):
    run = make_run(cast, base, RunState.FAILED)
    with pytest.raises(IntegrityError, match="has ended"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE training_run SET failure = '{}' WHERE id = %s", [run.pk])
    with connection.cursor() as cursor:
        cursor.execute("UPDATE training_run SET name = 'mine' WHERE id = %s", [run.pk])


def insert_event(run, attempt, seq=0):
    sql = """INSERT INTO training_runevent (id, project_id, run_id, attempt, seq, type, data, at)
             VALUES (%s, %s, %s, %s, %s, 'log', '{}', now())"""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql, [uuid.uuid4(), run.project_id, run.pk, attempt, seq])


def test_only_the_attempt_that_holds_a_run_appends_events(cast, base):
    run = make_run(cast, base, RunState.RUNNING, attempt=2)
    insert_event(run, 2)
    with pytest.raises(IntegrityError, match="does not hold"):
        insert_event(run, 1)
    go(run, "queued")
    with pytest.raises(IntegrityError, match="does not hold"):
        insert_event(run, 2, 1)


@pytest.mark.parametrize("change", ["UPDATE training_runevent SET type = 'x'", "DELETE FROM training_runevent"])
def test_events_are_only_appended(cast, base, change):
    insert_event(make_run(cast, base, RunState.RUNNING), 1)
    with pytest.raises(IntegrityError, match="only appended"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)


def test_a_snapshot_that_is_ready_does_not_change(cast):
    snapshot = Snapshot.objects.create(project=cast.project, name="s", query={"kinds": []})
    with connection.cursor() as cursor:
        cursor.execute("UPDATE training_snapshot SET state = 'ready', content_hash = 'a', path = 'b'")
    for change in ("name = 'other'", "content_hash = 'c'", "state = 'building'"):
        with (
            pytest.raises(IntegrityError, match="does not change"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(f"UPDATE training_snapshot SET {change} WHERE id = %s", [snapshot.pk])


def test_the_query_of_a_snapshot_is_frozen_from_the_first_moment(cast):
    Snapshot.objects.create(project=cast.project, name="s", query={"kinds": []})
    with pytest.raises(IntegrityError, match="frozen"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("UPDATE training_snapshot SET query = '{\"kinds\": [1]}'")
