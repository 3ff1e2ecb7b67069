"""What the tests stand on: the tables are emptied after each test that commits, whoever else is at work."""

import contextlib
import threading

import psycopg
import pytest
from django.db import connection

from redpen.accounts.models import User
from redpen.services.addresses import embedded_database_url
from tests.running import wait_for

WAITING = "SELECT count(*) FROM pg_locks WHERE relation = 'annotation_intakecount'::regclass AND NOT granted"


@pytest.mark.django_db(transaction=True)
def test_tables_are_emptied_after_all_when_the_server_stands_in_the_way(settings):
    User.objects.create(email="ada@example.org")
    database = f"{embedded_database_url(settings.DATA_DIR).rpartition('/')[0]}/{connection.settings_dict['NAME']}"
    holds, crossed = threading.Event(), threading.Event()

    def keep_counts() -> None:
        """Holds the one table and wants the other when the emptying has it; it would wait for longer than that."""
        with (
            contextlib.suppress(psycopg.errors.DeadlockDetected),
            psycopg.connect(database, autocommit=True) as watch,
            psycopg.connect(database) as other,
        ):
            other.execute("SET deadlock_timeout = '60s'")
            other.execute("INSERT INTO annotation_intakecount SELECT * FROM annotation_intakecount")
            holds.set()
            wait_for(lambda: watch.execute(WAITING).fetchone()[0], 10)
            crossed.set()
            other.execute("SELECT count(*) FROM accounts_user")

    thread = threading.Thread(target=keep_counts)
    thread.start()
    assert holds.wait(10)
    connection.ops.execute_sql_flush(["TRUNCATE accounts_user, annotation_intakecount CASCADE"])
    thread.join(10)
    assert crossed.is_set()
    assert User.objects.count() == 0
