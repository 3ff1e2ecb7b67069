"""Reactions: one item checked and made a row, and the one statement that stores a group of them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import md5
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Raw, Struct
from psycopg import AsyncConnection

from annotation import events, pseudonyms, redaction
from annotation import text as texts
from annotation.errors import BadValue, OtherContent
from annotation.intake.directory import Directory, Key
from annotation.intake.problems import WrongKey, as_problem
from annotation.intake.shapes import ReactionIn, Result
from annotation.intake.writer import Row
from redpen.accounts.keys import usable_sql

AHEAD = timedelta(days=1)
encode = msgspec.json.Encoder(order="deterministic").encode


class EventRow(Struct):
    """What the statement reads: the columns of jsonb_to_recordset."""

    kind: str
    response: str
    response_uuid: str | None
    who: str
    name: str | None
    at: datetime
    retracts: bool
    text: str
    spans: Raw | None
    metadata: Raw
    dedup: str
    content: str
    source: int


INSERT = f"""
INSERT INTO annotation_reaction (
    id, lineage, version, project_id, test, origin, agent, kind_id, response_id, response_external_id, external_user,
    external_id, event_at, retracts, ended_at, end_reason, text, spans, metadata, dedup, content, prefill_outcome
)
SELECT n.id, n.id, 1, n.project_id, n.test, 'human', n.agent, n.kind, n.response_id, n.response, n.who, n.name, n.at,
    n.retracts, CASE WHEN n.retracts THEN now() END, CASE WHEN n.retracts THEN 'retracted' ELSE '' END,
    n.text, n.spans, n.metadata, n.dedup, n.content, ''
FROM (
    SELECT i.*, s.*, uuidv7() AS id, coalesce(theirs.id, ours.id) AS response_id
    FROM json_to_recordset(%s::json) AS i (
        source int, kind uuid, response text, response_uuid uuid, who text, name text, at timestamptz, retracts bool,
        text text, spans jsonb, metadata jsonb, dedup uuid, content uuid
    )
    JOIN unnest(%s::int[], %s::uuid[], %s::uuid[], %s::bool[], %s::text[])
        AS s (source, key_id, project_id, test, agent) USING (source)
    JOIN accounts_apikey k ON k.id = s.key_id AND {usable_sql("k")}
    LEFT JOIN annotation_response theirs ON theirs.project_id = s.project_id AND theirs.test = s.test
        AND theirs.external_id = i.response
    LEFT JOIN annotation_response ours ON ours.id = i.response_uuid AND ours.project_id = s.project_id
        AND ours.test = s.test AND theirs.id IS NULL
    ORDER BY i.dedup
) n
ON CONFLICT (dedup) DO NOTHING RETURNING dedup::text, id::text, response_id::text
"""
KNOWN = """
    SELECT dedup::text, id::text, response_id::text, content::text
    FROM annotation_reaction WHERE dedup = ANY(%s::uuid[])
"""


async def check(item: ReactionIn, key: Key, directory: Directory, *, name: str | None) -> Row:
    """The row that an item makes. `name` is what the Idempotency-Key calls it, where it has no id of its own.

    Raises RedpenError for what cannot be stored.
    """
    ways = await directory.ways_of(key.project, kind=item.kind)
    kind = ways.kinds.get(item.kind)
    if kind is None:
        raise BadValue(
            "/kind",
            f"The project has no kind of reaction '{texts.check(item.kind, '/kind')}'. It has "
            f"{', '.join(sorted(ways.kinds))}; declare another in its settings or by POST /api/v1/reaction-kinds.",
            code="kind.unknown",
        )
    content = md5(encode(item), usedforsecurity=False).hexdigest()
    now = datetime.now(UTC)
    at = check_time(item.at, now)
    who = item.user
    if who:
        pseudonyms.check_user(who)
        if ways.user_secret:
            who = pseudonyms.pseudonym(ways.user_secret, who)
    text, metadata, redacted = item.text, item.metadata, 0
    spans: Any = item.spans
    for position, span in enumerate(item.spans):
        if span.end - span.start != len(span.quote):
            raise BadValue(
                f"/spans/{position}/quote",
                f"The quote has {len(span.quote)} characters and stands at {span.start}-{span.end}. Offsets count "
                "Unicode code points, and the end is exclusive.",
                code="span.quote_mismatch",
            )
    if ways.redact is not None:
        text, count = ways.redact(text)
        metadata, more = redaction.apply(metadata, ways.redact)
        for span in item.spans:
            span.critique, some = ways.redact(span.critique)
            redacted += some
        redacted += count + more
    named = item.id if item.id is not None else name
    if named is not None:
        dedup = events.named_event_text(key.project, key.test, named)
    elif item.at is not None:
        about = {"response": item.response, "user": who, "kind": item.kind}
        dedup = str(events.unnamed_event(UUID(key.project), key.test, **about, at=at, retracts=item.retract))
    else:
        dedup = str(UUID(bytes=secrets.token_bytes(16)))  # nothing makes it the same as another
    row = EventRow(
        kind=kind,
        response=item.response,
        response_uuid=uuid_in(item.response),
        who=who,
        name=named,
        at=at,
        retracts=item.retract,
        text=text,
        spans=Raw(encode(spans)) if spans else None,
        metadata=encoded(metadata, "/metadata"),
        dedup=dedup,
        content=content,
        source=0,
    )
    json = encode(row)
    if b"\\u0000" in json:  # half of a surrogate pair is no JSON to begin with
        told = {"id": named, "response": item.response, "user": item.user, "text": text, "metadata": metadata}
        texts.check_json({**told, "spans": msgspec.to_builtins(spans)})
    return Row(
        name=row.dedup,
        json=json,
        source=(key.id, key.project, key.test, key.agent),
        external_id=item.id,
        content=content,
        redacted=redacted,
    )


def check_time(at: datetime | None, now: datetime, pointer: str = "/at") -> datetime:
    """When it happened: now where nothing is said."""
    if at is None:
        return now
    if at.tzinfo is None:
        raise BadValue(pointer, "The time needs its zone, as in 2026-11-24T20:00:00Z.")
    if at > now + AHEAD:
        raise BadValue(pointer, "The time lies more than a day ahead of the server's clock. Is it in milliseconds?")
    return at.astimezone(UTC)


def uuid_in(name: str) -> str | None:
    """`name` where it could be one of our ids."""
    if len(name) != 36:
        return None
    try:
        return str(UUID(name))
    except ValueError:
        return None


def encoded(value: Any, pointer: str) -> Raw:
    """A JSON value for Postgres; raises for a number that JSON readers cannot hold."""
    try:
        return Raw(encode(value))
    except OverflowError:
        raise BadValue(pointer, "A whole number here is larger than 64 bits. Send it as text.") from None


def together(rows: Sequence[Row]) -> tuple[str, list[Any]]:
    """The rows as one JSON array, and the keys that they came by; each row says which (its last field)."""
    sources: dict[tuple[str, str, bool, str], int] = {}
    parts = []
    for row in rows:
        number = sources.setdefault(row.source, len(sources))
        parts.append(row.json if number == 0 else row.json[: row.json.rindex(b":") + 1] + b"%d}" % number)
    columns: list[list[Any]] = [list(range(len(sources))), *(list(column) for column in zip(*sources, strict=True))]
    return (b"[" + b",".join(parts) + b"]").decode(), columns


async def store(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    """Write the rows that are new, and give each its result."""
    json, columns = together(rows)
    cursor = await connection.execute(INSERT, [json, *columns])
    stored = {dedup: (id, response) for dedup, id, response in await cursor.fetchall()}
    missing = []
    for row in rows:
        found = stored.pop(row.name, None)  # of two alike in one group the second is a repeat
        if found is None:
            missing.append(row)
        else:
            row.result = Result("stored", found[0], row.external_id, found[1], row.redacted)
    if missing:
        cursor = await connection.execute(KNOWN, [[row.name for row in missing]])
        known = {dedup: rest for dedup, *rest in await cursor.fetchall()}
        for row in missing:
            row.result = repeat_of(row, known.get(row.name))


def repeat_of(row: Row, known: Sequence[Any] | None) -> Result:
    """The fate of a row that was not inserted: it was here, or something else was, or its key opens nothing now."""
    if known is None:
        words = "This key was revoked, or has expired, a moment ago."
        return Result("refused", external_id=row.external_id, problem=as_problem(WrongKey(words)))
    id, response, content = known
    if content is not None and UUID(content).hex != row.content:
        error = OtherContent(key=row.external_id or row.name, differs=["what it says"])
        return Result("refused", id, row.external_id, problem=as_problem(error))
    return Result("repeated", id, row.external_id, response)
