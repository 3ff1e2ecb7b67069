"""Scene 1: what was acknowledged is there, once, whatever was killed; and the checker would see it if it were not."""

import sys
from collections import Counter

import psycopg
import pytest

from redpen.services.addresses import embedded_database_url
from tests.faults import ledger
from tests.running import running


@pytest.fixture(scope="module")
def redpen():
    with running() as one:
        yield one.start_and_wait()


@pytest.fixture(scope="module")
def keys(redpen):
    """A project of that name, and a key to it."""
    names = ["ledger", "unguarded"]
    return dict(zip(names, ledger.make_keys(redpen, *names), strict=True))


def test_nothing_that_was_acknowledged_is_lost_or_doubled_when_things_are_killed(redpen, keys):
    report = ledger.run(redpen, project="ledger", token=keys["ledger"], kills=4, cuts=4, least=200, between=0.5)
    say(report)
    assert report.faults == []
    assert report.cuts == 4


def test_without_the_unique_index_the_run_fails(redpen, keys):
    with psycopg.connect(embedded_database_url(redpen.data_dir), autocommit=True) as connection:
        for (name,) in constraints(connection):
            connection.execute(f'ALTER TABLE annotation_reaction DROP CONSTRAINT "{name}"')
    few = {"kills": 0, "cuts": 1, "least": 50, "between": 0.5, "send_again": False}
    report = ledger.run(redpen, project="unguarded", token=keys["unguarded"], **few)
    assert report.faults


def test_the_checker_names_each_kind_of_fault():
    journal = ledger.Journal()
    journal.send("single", ["single-0-1", "single-0-2", "single-0-3"])
    stored = b'{"status": "stored"}'
    journal.hear("single", ["single-0-1"], 201, stored)
    journal.hear("single", ["single-0-2"], 201, stored)
    report = ledger.compare(journal, Counter({"single-0-1": 2, "single-0-9": 1}), ledger.Report())
    assert (report.lost, report.doubled, report.unexpected) == (["single-0-2"], ["single-0-1"], ["single-0-9"])
    assert len(report.faults) == 3
    right = ledger.compare(journal, Counter({"single-0-1": 1, "single-0-2": 1, "single-0-3": 1}), ledger.Report())
    assert right.faults == []  # the third was stored without a word, which is fine


@pytest.mark.full
@pytest.mark.slow
def test_the_ledger_holds_over_two_hundred_kills(redpen_of_its_own):
    (token,) = ledger.make_keys(redpen_of_its_own, "ledger")
    report = ledger.run(redpen_of_its_own, project="ledger", token=token, kills=200, cuts=20, least=1000, between=1.5)
    say(report)
    assert report.faults == []
    assert report.cuts == 20


@pytest.mark.full
@pytest.mark.slow
def test_doubles_are_seen_where_the_statement_and_the_table_let_them_in():
    """The index is gone, and the statement no longer asks for it: the checker must see what that lets through."""
    with running(DJANGO_SETTINGS_MODULE="tests.faults.unguarded_settings") as one:
        one.start_and_wait()
        with psycopg.connect(embedded_database_url(one.data_dir), autocommit=True) as connection:
            for (name,) in constraints(connection):
                connection.execute(f'ALTER TABLE annotation_reaction DROP CONSTRAINT "{name}"')
        (token,) = ledger.make_keys(one, "unguarded")
        report = ledger.run(one, project="unguarded", token=token, kills=3, cuts=4, least=50)
    say(report)
    assert report.doubled


@pytest.fixture
def redpen_of_its_own():
    with running() as one:
        yield one.start_and_wait()


def say(report):
    """One line, which pytest shows with -s."""
    sys.stdout.write(f"{report}\n")


def constraints(connection):
    """The unique constraint of `dedup`, by its name in the catalogue."""
    found = connection.execute(
        "SELECT conname FROM pg_constraint c JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = ANY(conkey) "
        "WHERE conrelid = 'annotation_reaction'::regclass AND contype = 'u' AND attname = 'dedup'"
    ).fetchall()
    assert found
    return found
