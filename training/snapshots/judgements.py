"""Rows of what people said of whole answers: orders, choices, numbers, verdicts, taps, better versions, and answers
that people wrote themselves.

A user's taps on an answer are one row: what they tapped last counts. Somebody who was shown an answer and tapped
nothing within a day has said something too, a little: `silent`, and bad. Where the user has no name nobody can know
whether they tapped, so their silence says nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from training.snapshots.live import LIVE, NO_TEST, answer_of, author_of, prompt_of
from training.snapshots.query import RowKind

SILENT_AFTER = "24 hours"  # shown for so long without a tap is a negative

ABOUT_ANSWER = "p.split, p.id, p.messages, p.context, x.id, r.id, r.text, r.token_ids"
SAID_BY = f"{author_of('x')}, x.origin"


def on_answer(table: str, joined: str = "") -> str:
    return f"""
    FROM annotation_{table} x JOIN annotation_response r ON r.id = x.response_id
    JOIN annotation_prompt p ON p.id = r.prompt_id {joined}
    WHERE {LIVE.format(x="x")} AND x.part = 'text' AND {NO_TEST.format(x="r")}"""


def on_prompt(table: str) -> str:
    return f"""
    FROM annotation_{table} x JOIN annotation_prompt p ON p.id = x.prompt_id
    WHERE {LIVE.format(x="x")} AND {NO_TEST.format(x="p")}"""


# The answers of a list of lists of ids, in its order, with the number of the list that each stands in.
PLACED = """
    (SELECT coalesce(jsonb_agg(jsonb_build_object(
        'response_id', r.id, 'text', r.text, 'token_ids', r.token_ids, 'place', place.number
     ) ORDER BY place.number, one.number), '[]')
     FROM jsonb_array_elements({places}) WITH ORDINALITY AS place(ids, number)
     CROSS JOIN jsonb_array_elements_text(place.ids) WITH ORDINALITY AS one(id, number)
     JOIN annotation_response r ON r.id = one.id::uuid AND r.project_id = x.project_id)"""

VERDICTS = f"{on_answer('critique')} AND x.verdict <> ''"

# One line for each user and answer: the last tap that says good or bad, else their silence.
TAPS = f"""
    SELECT x.id, x.response_id, x.external_user, x.event_at, k.key, k.polarity,
        CASE WHEN x.external_user = '' THEN x.id::text ELSE x.external_user END AS who
    FROM annotation_reaction x JOIN annotation_reactionkind k ON k.id = x.kind_id
    WHERE {LIVE.format(x="x")} AND x.response_id IS NOT NULL"""
OPINIONS = f"""
    SELECT response_id, who, tapped, records, keys FROM (
        SELECT response_id, who,
            (array_agg(polarity ORDER BY event_at DESC, id DESC) FILTER (WHERE polarity <> 0))[1] AS tapped,
            bool_or(key <> 'shown') AS touched,
            bool_or(external_user <> '' AND key = 'shown'
                AND event_at <= %(until)s::timestamptz - interval '{SILENT_AFTER}') AS long_shown,
            array_agg(id ORDER BY id) AS records,
            array_agg(key ORDER BY event_at, id) AS keys
        FROM ({TAPS}) tap GROUP BY response_id, who
    ) opinion WHERE tapped IS NOT NULL OR (long_shown AND NOT touched)"""
OF_OPINIONS = f"""
    FROM ({OPINIONS}) o JOIN annotation_response r ON r.id = o.response_id
    JOIN annotation_prompt p ON p.id = r.prompt_id AND {NO_TEST.format(x="r")}"""

# Answers that people wrote, not to mend another one: they are no feedback, so only the filter on origins bears on them.
DEMONSTRATIONS = f"""
    FROM annotation_response r JOIN annotation_prompt p ON p.id = r.prompt_id
    WHERE r.project_id = %(project)s AND r.created_at <= %(until)s AND r.origin = 'human'
    AND {NO_TEST.format(x="r")}
    AND (%(origins)s::text[] IS NULL OR 'human' = ANY(%(origins)s)) AND %(campaigns)s::uuid[] IS NULL
    AND NOT EXISTS (SELECT 1 FROM annotation_rewrite w WHERE w.better_id = r.id)"""

SQL: dict[RowKind, str] = {
    "ranking": f"""
        SELECT p.split, p.id, p.messages, p.context, x.id, {PLACED.format(places="x.places")},
            x.dimension, x.reason, {SAID_BY}
        {on_prompt("ranking")} ORDER BY x.id""",
    "choice": f"""
        SELECT p.split, p.id, p.messages, p.context, x.id,
            {PLACED.format(places="jsonb_build_array(x.offered)")}, x.response_id, x.reason, {SAID_BY}
        {on_prompt("choice")} ORDER BY x.id""",
    "rating": f"SELECT {ABOUT_ANSWER}, x.dimension, x.value, {SAID_BY} {on_answer('rating')} ORDER BY x.id",
    "verdict": f"SELECT {ABOUT_ANSWER}, x.verdict, x.text, {SAID_BY} {VERDICTS} ORDER BY x.id",
    "reaction": f"""
        SELECT p.split, p.id, p.messages, p.context, o.records, r.id, r.text, r.token_ids, o.tapped, o.keys
        {OF_OPINIONS} ORDER BY o.records[1], o.who""",
    "rewrite": f"""
        SELECT {ABOUT_ANSWER}, b.id, b.text, b.token_ids, {SAID_BY}
        {on_answer("rewrite", "JOIN annotation_response b ON b.id = x.better_id")} ORDER BY x.id""",
    "demonstration": f"""
        SELECT p.split, p.id, p.messages, p.context, r.id, r.text, r.token_ids {DEMONSTRATIONS} ORDER BY r.id""",
}

COUNTS: dict[RowKind, str] = {
    kind: f"SELECT p.split, count(*) {source} GROUP BY 1"
    for kind, source in {
        "ranking": on_prompt("ranking"),
        "choice": on_prompt("choice"),
        "rating": on_answer("rating"),
        "verdict": VERDICTS,
        "reaction": OF_OPINIONS,
        "rewrite": on_answer("rewrite"),
        "demonstration": DEMONSTRATIONS,
    }.items()
}


def _placed(answers: str) -> list[tuple[dict[str, Any], int]]:
    return [(answer_of(one["response_id"], one["text"], one["token_ids"]), one["place"]) for one in json.loads(answers)]


def _ranking(split, prompt, messages, context, record, answers, dimension, reason, author, origin) -> dict[str, Any]:
    return {
        **prompt_of(split, prompt, messages, context),
        "kind": "ranking",
        "answers": [{**answer, "place": place} for answer, place in _placed(answers)],
        "dimension": dimension,
        "reason": reason,
        "author": author,
        "origin": origin,
        "records": [str(record)],
    }


def _choice(split, prompt, messages, context, record, answers, chosen, reason, author, origin) -> dict[str, Any]:
    return {
        **prompt_of(split, prompt, messages, context),
        "kind": "choice",
        "answers": [answer for answer, _ in _placed(answers)],
        "chosen": str(chosen) if chosen else None,
        "reason": reason,
        "author": author,
        "origin": origin,
        "records": [str(record)],
    }


def _rating(*values: Any) -> dict[str, Any]:
    *about, dimension, value, author, origin = values
    return {**_on_answer("rating", *about), "dimension": dimension, "value": value, "author": author, "origin": origin}


def _verdict(*values: Any) -> dict[str, Any]:
    *about, verdict, words, author, origin = values
    return {**_on_answer("verdict", *about), "verdict": verdict, "words": words, "author": author, "origin": origin}


def _rewrite(*values: Any) -> dict[str, Any]:
    *about, better, text, token_ids, author, origin = values
    return {
        **_on_answer("rewrite", *about),
        "better": answer_of(better, text, token_ids),
        "author": author,
        "origin": origin,
    }


def _reaction(split, prompt, messages, context, records, response, text, token_ids, tapped, keys) -> dict[str, Any]:
    return {
        **prompt_of(split, prompt, messages, context),
        "kind": "reaction",
        **answer_of(response, text, token_ids),
        "polarity": -1 if tapped is None else tapped,
        "silent": tapped is None,
        "reactions": keys,
        "records": [str(record) for record in records],
    }


def _demonstration(split, prompt, messages, context, response, text, token_ids) -> dict[str, Any]:
    return {
        **prompt_of(split, prompt, messages, context),
        "kind": "demonstration",
        **answer_of(response, text, token_ids),
    }


def _on_answer(kind, split, prompt, messages, context, record, response, text, token_ids) -> dict[str, Any]:
    return {
        **prompt_of(split, prompt, messages, context),
        "kind": kind,
        **answer_of(response, text, token_ids),
        "records": [str(record)],
    }


SHAPES: dict[RowKind, Callable[..., dict[str, Any]]] = {
    "ranking": _ranking,
    "choice": _choice,
    "rating": _rating,
    "verdict": _verdict,
    "reaction": _reaction,
    "rewrite": _rewrite,
    "demonstration": _demonstration,
}
