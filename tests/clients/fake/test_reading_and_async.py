"""`redpen-client` from an event loop, and reading back."""

import asyncio
import logging
from datetime import datetime

import pytest

from redpen_client import ApiError, AsyncClient, Client
from tests.clients.fake.making import ASKED, KEY, NOON, made
from tests.clients.fake_server import problem

# the asynchronous client, and reading back


def test_the_asynchronous_client_sends_the_same(server):
    async def use():
        async with AsyncClient(server.url, KEY) as client:
            answer = await client.responses.send(ASKED, "Five years.")
            await client.reactions.send(answer, "like", user="u-1")
            await client.feedback.rewrite(answer, "About five years.")
            assert await client.flush()
            assert client.stats.stored == 3
            return answer

    answer = asyncio.run(use())
    assert answer in server.stored


def test_a_full_buffer_does_not_hold_up_the_loop(server):
    server.stop()

    async def use():
        turns = 0

        async def tick():
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.01)

        ticking = asyncio.create_task(tick())
        async with AsyncClient(server.url, KEY, buffer_items=1, block_timeout=0.5, close_timeout=0.1) as client:
            await client.reactions.send("a-1", "like", user="u-1")
            await client.reactions.send("a-1", "like", user="u-2")
            assert client.dropped == 1
        ticking.cancel()
        assert turns > 20

    asyncio.run(use())


def reading(request):
    """Two pages, rates, and an export; the first try is told to come again."""
    path, _, query = request["path"].partition("?")
    if path.endswith("/rates"):
        return 200, {}, {"rates": [], "asked": query}
    if path.endswith("/export"):
        return 200, {}, b'{"type":"response"}\n{"type":"reaction"}\n'
    if path.endswith("/responses/a%201"):
        return 200, {}, {"id": "a 1"}
    if "cursor=c-2" in query:
        return 200, {}, {"items": [{"id": "3"}], "next": None}
    return 200, {}, {"items": [{"id": "1"}, {"id": "2"}], "next": "c-2"}


def test_lists_are_read_page_after_page(server, client, tmp_path):
    busy = [problem(503, "busy", Retry_After="0")]
    server.behave = lambda request: busy.pop() if busy else reading(request)
    assert [row["id"] for row in client.reactions.list(kind="like", since=NOON)] == ["1", "2", "3"]
    assert "since=2026-11-24T12%3A00%3A00%2B00%3A00" in server.requests[-1]["path"]
    assert [row["id"] for row in client.responses.list()] == ["1", "2", "3"]
    assert [row["id"] for row in client.records(type="span")] == ["1", "2", "3"]
    assert client.responses.get("a 1") == {"id": "a 1"}
    assert client.rates(by="model", test=True)["asked"] == "by=model&test=true"
    assert [row["type"] for row in client.export()] == ["response", "reaction"]
    assert client.export_to(tmp_path / "all.ndjson", format="ndjson").read_text().count("\n") == 2


def test_the_asynchronous_client_reads_the_same(server):
    server.behave = reading

    async def use():
        async with AsyncClient(server.url, KEY) as client:
            assert [row["id"] async for row in client.reactions.list()] == ["1", "2", "3"]
            assert await client.responses.get("a 1") == {"id": "a 1"}
            assert (await client.rates(by="model"))["asked"] == "by=model"
            assert [row["type"] async for row in client.export()] == ["response", "reaction"]

    asyncio.run(use())


def test_what_the_server_refuses_is_raised_with_its_words(server, client):
    server.behave = lambda request: problem(404, "not_found", "There is nothing here.")
    with pytest.raises(ApiError, match="There is nothing here") as caught:
        client.responses.get("a-9")
    assert (caught.value.problem.status, caught.value.problem.code) == (404, "not_found")
    with pytest.raises(ApiError):
        list(client.export())


@pytest.mark.parametrize(
    ("endpoint", "key"), [("redpen.example.org", KEY), ("http://x", ""), ("http://x", "two words")]
)
def test_a_wrong_address_or_key_is_told_at_once(endpoint, key):
    with pytest.raises(ValueError, match="endpoint|key"):
        Client(endpoint, key)


def test_a_time_without_a_zone_is_refused(client):
    with pytest.raises(ValueError, match="zone"):
        client.reactions.send("a-1", "like", at=datetime(2026, 1, 1))


def test_logs_go_to_one_logger_that_a_product_can_turn_down(server, caplog):
    server.behave = lambda request: problem(503, "busy") if len(server.requests) == 1 else None
    with caplog.at_level(logging.WARNING), made(server) as client:
        client.reactions.send("a-1", "like", user="u-1")
        assert client.flush(10)
    assert {record.name for record in caplog.records if "redpen" in record.message} == {"redpen_client"}
