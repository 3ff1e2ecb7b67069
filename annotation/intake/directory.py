"""Who is asking, and how their project takes things in: read from Postgres, remembered for some seconds.

A key that is revoked stops at once all the same: the statements that write join the key's row and look again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from psycopg_pool import AsyncConnectionPool

from annotation import redaction
from annotation.intake.problems import ScopeMissing, WrongKey
from redpen.accounts.keys import hash_of, usable_sql

REMEMBERED = 5.0  # seconds
MOST_KEYS = 10_000


@dataclass(slots=True)
class Key:
    id: str
    project: str
    test: bool
    public: bool
    scopes: frozenset[str]
    origins: frozenset[str]
    per_minute: int
    agent: str
    read_at: float


@dataclass(slots=True)
class Ways:
    """A project's kinds of reactions and its settings of intake."""

    kinds: dict[str, str]
    seed: int
    user_secret: str  # empty: users' names are kept as they come
    redact: Callable[[str], tuple[str, int]] | None
    read_at: float


KEY = f"""
    SELECT k.id::text, k.project_id::text, k.test, k.public, k.scopes, k.origins, k.per_minute, k.prefix
    FROM accounts_apikey k WHERE k.secret_hash = %s AND {usable_sql("k")}
"""
WAYS = """
    SELECT p.split_seed, s.hash_users, s.user_secret, s.redact,
        (SELECT coalesce(jsonb_object_agg(k.key, k.id), '{}') FROM annotation_reactionkind k WHERE k.project_id = p.id)
    FROM accounts_project p LEFT JOIN annotation_intakesettings s ON s.project_id = p.id WHERE p.id = %s
"""
USED = """
    UPDATE accounts_apikey SET last_used_at = now()
    WHERE id = ANY(%s::uuid[]) AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')
"""


class Directory:
    def __init__(self, pool: AsyncConnectionPool) -> None:
        self.pool = pool
        self.keys: dict[str, Key | None] = {}
        self.ways: dict[str, Ways] = {}
        self.used: set[str] = set()

    async def key(self, token: str, scope: str) -> Key:
        """The key that `token` is. Raises WrongKey, or ScopeMissing where it may not do this."""
        found = self.keys.get(token)
        if found is None or time.monotonic() - found.read_at > REMEMBERED:
            found = await self._read_key(token)
        if scope not in found.scopes:
            may = ", ".join(sorted(found.scopes))
            raise ScopeMissing(f"This key may {may}; this needs {scope}. Make another key in the project's settings.")
        self.used.add(found.id)
        return found

    async def _read_key(self, token: str) -> Key:
        rows = await self._all(KEY, [hash_of(token)])
        if not rows:
            self.keys.pop(token, None)
            raise WrongKey("There is no such key, or it has expired or been revoked. Look in the project's settings.")
        id, project, test, public, scopes, origins, per_minute, prefix = rows[0]
        if len(self.keys) >= MOST_KEYS:
            self.keys.clear()
        key = self.keys[token] = Key(
            id,
            project,
            test,
            public,
            frozenset(scopes),
            frozenset(origins),
            per_minute,
            f"key:{prefix}",
            time.monotonic(),
        )
        return key

    async def ways_of(self, project: str, *, kind: str = "") -> Ways:
        """How the project takes things in; read again for a `kind` that is not known: it may be new."""
        found = self.ways.get(project)
        age = time.monotonic() - found.read_at if found else 0.0
        if found is None or age > REMEMBERED or (kind and kind not in found.kinds and age > 0.2):
            found = self.ways[project] = await self._read_ways(project)
        return found

    async def _read_ways(self, project: str) -> Ways:
        (seed, hashed, secret, patterns, kinds), *_ = await self._all(WAYS, [project])
        return Ways(
            kinds=kinds,
            seed=seed,
            user_secret=secret if hashed else "",
            redact=redaction.redactor(patterns) if patterns else None,
            read_at=time.monotonic(),
        )

    async def note_use(self) -> None:
        """Write down which keys were used lately."""
        used, self.used = list(self.used), set()
        if used:
            async with self.pool.connection() as connection:
                await connection.execute(USED, [used])

    async def _all(self, query: str, values: list[Any]) -> list[Any]:
        async with self.pool.connection() as connection:
            return await (await connection.execute(query, values)).fetchall()
