"""DELETE /api/v1/reactions/<id>: one event is taken back, whether it has come already or not."""

from __future__ import annotations

from uuid import UUID

from psycopg_pool import AsyncConnectionPool

from annotation import events
from annotation import text as texts
from annotation.actions.standing import SETTLE
from annotation.errors import BadValue
from annotation.intake.directory import Key
from annotation.intake.events import uuid_in
from annotation.intake.problems import WrongKey
from annotation.intake.shapes import Retracted
from redpen.accounts.keys import usable_sql

FIND = """
    SELECT id::text, dedup::text, response_id, external_user FROM annotation_reaction
    WHERE project_id = %(project)s AND test = %(test)s AND NOT retracts AND (dedup = %(named)s OR id = %(id)s)
    ORDER BY dedup = %(named)s DESC LIMIT 1
"""
TAKE_BACK = f"""
    INSERT INTO annotation_takenback (id, project_id, event)
    SELECT uuidv7(), k.project_id, %(event)s FROM accounts_apikey k WHERE k.id = %(key)s AND {usable_sql("k")}
    ON CONFLICT (event) DO UPDATE SET event = excluded.event RETURNING id
"""


async def take_back(pool: AsyncConnectionPool, key: Key, name: str) -> Retracted:
    """Take back the event that the caller, or we, call `name`. Once more changes nothing."""
    texts.check(name, "/id")
    if not 0 < len(name) <= 200:
        raise BadValue("/id", "An id has 1 to 200 characters.")
    named = events.named_event(UUID(key.project), key.test, name)
    about = {"project": key.project, "test": key.test, "named": named, "id": uuid_in(name), "key": key.id}
    async with pool.connection() as connection, connection.transaction():
        found = await (await connection.execute(FIND, about)).fetchone()
        event = found[1] if found else named
        if await (await connection.execute(TAKE_BACK, {**about, "event": event})).fetchone() is None:
            raise WrongKey("This key was revoked, or has expired, a moment ago.")
        if found and found[2]:
            await connection.execute(SETTLE, {"responses": [found[2]], "users": [found[3]]})
    return Retracted("retracted", found[0] if found else name)
