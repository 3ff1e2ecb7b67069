"""The export of a key: all that it may read, once, in bounded memory."""

from __future__ import annotations

import gzip
import io
import json
import tracemalloc
from datetime import timedelta

import pyarrow.parquet as parquet
import pytest
from django.db import connection
from django.utils import timezone

from annotation.api import export
from annotation.exports.flat import COLUMNS, TYPES
from tests.annotation.keyed import asking, make_answer, make_reaction
from tests.annotation.test_keyed_feedback import SAID, item, shop  # noqa: F401


@pytest.fixture
def full(shop):  # noqa: F811
    """One of everything, live; an answer and a tap in test."""
    sent = shop.asks.post("feedback", [item(kind) for kind in SAID])
    assert sent.status_code == 200, sent.text
    make_reaction(
        shop.cast.project, "dislike", response=shop.a, external_user="u-1", external_id="tap", text="meh 👩‍🚀"
    )
    make_reaction(shop.cast.project, "like", response=shop.t, external_user="u-1", test=True)
    return shop


def read(response) -> bytes:
    assert response.status_code == 200
    return b"".join(response.streaming_content)


def leave(response) -> None:
    """As the server closes a response; the test client would close the test's database connection with it."""
    for close in response._resource_closers:
        close()


def objects(body: bytes) -> list[dict]:
    return [json.loads(line) for line in body.splitlines()]


def test_every_type_comes_out_as_ndjson(full):
    got = full.asks.get("export")
    assert got["Content-Type"] == "application/x-ndjson"
    rows = objects(read(got))
    assert {row["type"] for row in rows} == set(TYPES)
    assert not any(row["test"] for row in rows)
    [tap] = [row for row in rows if row["type"] == "reaction"]
    assert (tap["external_id"], tap["text"], tap["response"]) == ("tap", "meh 👩‍🚀", str(full.a.pk))
    test = objects(read(asking(full.cast.project, test=True).get("export")))
    assert [row["type"] for row in test] == ["response", "reaction"]
    assert all(row["test"] for row in test)
    assert objects(read(asking(full.cast.other_project).get("export"))) == []


def test_parquet_has_flat_columns_and_the_whole_object(full):
    got = full.asks.get("export", format="parquet")
    assert got["Content-Type"] == "application/vnd.apache.parquet"
    table = parquet.read_table(io.BytesIO(read(got)))
    assert table.column_names == list(COLUMNS)
    rows = table.to_pylist()
    wanted = objects(read(full.asks.get("export")))
    assert [json.loads(row["data"]) for row in rows] == wanted
    by_type = {row["type"]: row for row in rows}
    tap = by_type["reaction"]
    assert (tap["kind"], tap["value"], tap["user"], tap["text"]) == ("dislike", -1.0, "u-1", "meh 👩‍🚀")
    assert tap["response_external_id"] == "a"
    assert abs(tap["at"] - timezone.now()) < timedelta(minutes=5)
    assert by_type["rating"]["value"] == 4.0
    assert by_type["rewrite"]["text"] == "The fire shines at night."
    assert by_type["span"]["text"] == "It is a fire."
    assert by_type["critique"]["external_id"] == "critique-1"


def test_an_empty_export_is_a_file_too(full):
    other = asking(full.cast.other_project)
    assert parquet.read_table(io.BytesIO(read(other.get("export", format="parquet")))).num_rows == 0
    assert read(other.get("export")) == b""


def test_it_is_narrowed_by_type_time_and_state(full):
    asks = full.asks
    later = (timezone.now() + timedelta(minutes=1)).isoformat()
    assert read(asks.get("export", since=later)) == b""
    assert read(asks.get("export", until=later)) == read(asks.get("export"))
    assert {row["type"] for row in objects(read(asks.get("export", types="rating,response")))} == {"rating", "response"}
    asks.delete("feedback/rating-1")
    assert read(asks.get("export", types="rating")) == b""
    assert objects(read(asks.get("export", types="rating", state="ended")))[0]["end_reason"] == "retracted"


def test_it_is_compressed_for_those_who_take_gzip(full):
    from django.test import Client

    got = Client().get("/api/v1/export", headers={**full.asks.headers, "Accept-Encoding": "gzip, br"})
    assert got["Content-Encoding"] == "gzip"
    assert gzip.decompress(read(got)) == read(full.asks.get("export"))


@pytest.mark.parametrize("wrong", [{"format": "csv"}, {"types": "applause"}, {"since": "x"}, {"limit": "1"}])
def test_nonsense_is_refused_before_anything_streams(wrong, full):
    refused = full.asks.get("export", **wrong)
    assert (refused.status_code, refused["Content-Type"]) == (422, "application/problem+json")
    assert asking(full.cast.project, scopes=["reactions.write"]).get("export").status_code == 403


def test_only_a_few_run_at_once_and_a_reader_who_leaves_makes_room(full):
    running = [full.asks.get("export", format="parquet") for _ in range(export.AT_ONCE)]
    next(running[0].streaming_content)
    refused = full.asks.get("export")
    assert (refused.status_code, refused["Retry-After"]) == (429, "15")
    for one in running:
        leave(one)
    assert read(full.asks.get("export")) != b""


def test_a_writer_that_fails_breaks_the_stream(full, monkeypatch):
    from annotation.exports import parquet as writing

    monkeypatch.setattr(writing, "CHILD", writing.CHILD.with_name("nowhere.py"))
    got = full.asks.get("export", format="parquet")
    with pytest.raises(writing.NotWritten):
        read(got)
    leave(got)


MANY = """
INSERT INTO annotation_response (id, project_id, prompt_id, text, thinking, origin, model, sampling, external_id,
    conversation, metadata)
SELECT uuidv7(), project_id, prompt_id, repeat('A long answer. ', 400), '', 'model', 'm', '{}', 'n-' || n, '', '{}'
FROM annotation_response, generate_series(1, %s) n WHERE id = %s
"""


@pytest.mark.parametrize("kind", export.FORMATS)
def test_memory_stays_flat_however_many_rows_there_are(kind, full):
    answer = make_answer(full.cast.project)

    def peak(count: int) -> float:
        with connection.cursor() as cursor:
            cursor.execute(MANY.replace("'n-'", f"'{count}-'"), [count, answer.pk])
        got = full.asks.get("export", format=kind, types="response")
        tracemalloc.start()
        size = sum(map(len, got.streaming_content))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        leave(got)
        assert size > 0
        return most / 2**20

    peak(100)  # what is imported and cached on the first time
    assert peak(8000) < peak(500) + 4  # 8,000 answers are 50 MB
