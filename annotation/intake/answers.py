"""Answers: one item checked and made a row, and the two statements that store a group with their prompts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import md5
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw, Struct
from psycopg import AsyncConnection

from annotation import pseudonyms, redaction
from annotation import text as texts
from annotation.actions.prompts import content_hash, split_of
from annotation.errors import BadValue
from annotation.intake.directory import Directory, Key
from annotation.intake.events import check_time, encode, encoded, repeat_of, together, uuid_in
from annotation.intake.shapes import Passage, ResponseIn, Result
from annotation.intake.writer import Row
from redpen.accounts.ids import new_id
from redpen.accounts.keys import usable_sql


class AnswerRow(Struct):
    """What the statements read: the columns of json_to_recordset."""

    id: str
    name: str | None
    messages: Raw
    context: Raw
    content_hash: str
    split: str
    text: str
    thinking: str
    steps: Raw | None
    model: str
    model_version: str | None
    sampling: Raw
    metadata: Raw
    who: str
    conversation: str
    turn: int | None
    parent: str
    parent_uuid: str | None
    language: str
    at: datetime | None
    content: str
    source: int


READ = f"""
    FROM json_to_recordset(%s::json) AS i (
        source int, id uuid, name text, messages jsonb, context jsonb, content_hash text, split text, text text,
        thinking text, steps jsonb, model text, model_version uuid, sampling jsonb, metadata jsonb, who text,
        conversation text, turn int, parent text, parent_uuid uuid, language text, at timestamptz, content uuid
    )
    JOIN unnest(%s::int[], %s::uuid[], %s::uuid[], %s::bool[], %s::text[])
        AS s (source, key_id, project_id, test, agent) USING (source)
    JOIN accounts_apikey k ON k.id = s.key_id AND {usable_sql("k")}
"""
PROMPTS = f"""
INSERT INTO annotation_prompt (id, project_id, messages, context, metadata, content_hash, split, test)
SELECT uuidv7(), s.project_id, i.messages, i.context, '{{}}', i.content_hash, i.split, s.test {READ}
ORDER BY s.project_id, i.content_hash
ON CONFLICT (project_id, content_hash) DO NOTHING
"""
ANSWERS = f"""
INSERT INTO annotation_response (
    id, project_id, prompt_id, text, thinking, steps, origin, model, model_version, sampling, external_id, parent_id,
    parent_external_id, conversation, turn, external_user, language, written_at, metadata, test, content
)
SELECT i.id, s.project_id, p.id, i.text, i.thinking, i.steps, 'model', i.model, i.model_version, i.sampling, i.name,
    coalesce(theirs.id, ours.id), i.parent, i.conversation, i.turn, i.who, i.language, i.at, i.metadata, s.test,
    i.content
{READ}
JOIN annotation_prompt p ON p.project_id = s.project_id AND p.content_hash = i.content_hash
LEFT JOIN annotation_response theirs ON theirs.project_id = s.project_id AND theirs.test = s.test
    AND theirs.external_id = i.parent
LEFT JOIN annotation_response ours ON ours.id = i.parent_uuid AND ours.project_id = s.project_id AND ours.test = s.test
    AND theirs.id IS NULL
ORDER BY i.name, i.id
ON CONFLICT (project_id, test, external_id) DO NOTHING RETURNING id::text
"""
KNOWN = """
    SELECT r.project_id::text, r.test, r.external_id, r.id::text, r.content::text
    FROM annotation_response r
    JOIN unnest(%s::uuid[], %s::bool[], %s::text[]) AS w (project_id, test, external_id)
        USING (project_id, test, external_id)
"""


async def check(item: ResponseIn, key: Key, directory: Directory, *, name: str | None) -> Row:
    """The row that an item makes; see `events.check`."""
    if not item.text and not item.steps:
        raise BadValue("/text", "An answer has a text, or steps.", code="required")
    ways = await directory.ways_of(key.project)
    try:
        content = md5(encode(item), usedforsecurity=False).hexdigest()
    except OverflowError:
        raise BadValue("", "A whole number in this item is larger than 64 bits. Send it as text.") from None
    at = check_time(item.at, datetime.now(UTC)) if item.at is not None else None
    who = item.user
    if who:
        pseudonyms.check_user(who)
        if ways.user_secret:
            who = pseudonyms.pseudonym(ways.user_secret, who)
    said: dict[str, Any] = {
        "messages": [{"content": "", **message} for message in msgspec.to_builtins(item.messages)],
        "context": passages(item.context),
        "text": item.text,
        "thinking": item.thinking,
        "steps": item.steps,
        "metadata": item.metadata,
    }
    redacted = 0
    if ways.redact is not None:
        said, redacted = redaction.apply(said, ways.redact)
    named = item.id if item.id is not None else name
    row = AnswerRow(
        id=str(new_id()),
        name=named,
        messages=encoded(said["messages"], "/messages"),
        context=encoded(said["context"], "/context"),
        content_hash=content_hash(said["messages"], said["context"], test=key.test),
        split=split_of(messages=said["messages"], context=said["context"], seed=ways.seed),
        text=said["text"],
        thinking=said["thinking"],
        steps=encoded(said["steps"], "/steps") if said["steps"] is not None else None,
        model=item.model,
        model_version=str(item.model_version) if item.model_version else None,
        sampling=encoded(item.sampling, "/sampling"),
        metadata=encoded(said["metadata"], "/metadata"),
        who=who,
        conversation=item.conversation,
        turn=item.turn,
        parent=item.parent,
        parent_uuid=uuid_in(item.parent),
        language=item.language,
        at=at,
        content=content,
        source=0,
    )
    json = encode(row)
    if b"\\u0000" in json:
        texts.check_json(msgspec.to_builtins(item))
    return Row(
        name=row.id,
        json=json,
        source=(key.id, key.project, key.test, key.agent),
        external_id=named,
        content=content,
        redacted=redacted,
    )


def passages(context: Sequence[Passage]) -> list[dict[str, str]]:
    """As they are stored: each with an id of its own, its place where the caller gives none."""
    made = [{"id": one.id or str(place + 1), "title": one.title, "text": one.text} for place, one in enumerate(context)]
    seen: set[str] = set()
    for place, one in enumerate(made):
        if one["id"] in seen:
            raise BadValue(f"/context/{place}/id", f"Two passages have the id '{one['id'][:60]}'.")
        seen.add(one["id"])
    return made


async def store(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """Write the prompts and answers that are new, in one transaction, and give each row its result."""
    json, columns = together(rows)
    async with connection.transaction():
        await connection.execute(PROMPTS, [json, *columns])
        cursor = await connection.execute(ANSWERS, [json, *columns])
        stored = {id for (id,) in await cursor.fetchall()}
    missing = []
    for row in rows:
        if row.name in stored:
            row.result = Result("stored", row.name, row.external_id, redacted=row.redacted)
        else:
            missing.append(row)
    if missing:
        wanted = [(row.source[1], row.source[2], row.external_id) for row in missing]
        cursor = await connection.execute(KNOWN, [list(column) for column in zip(*wanted, strict=True)])
        known = {
            (project, test, name): (id, None, content) for project, test, name, id, content in await cursor.fetchall()
        }
        for row, where in zip(missing, wanted, strict=True):
            row.result = repeat_of(row, known.get((str(UUID(where[0])), where[1], where[2])))
