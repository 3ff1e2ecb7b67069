"""`redpen-client` over real HTTP: a small server that keeps the contract, dies, comes back, misbehaves on purpose."""

import asyncio
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

import redpen_client
from redpen_client import ApiError, AsyncClient, Client
from redpen_client import delivery as delivery_module
from tests.clients.fake_server import FakeServer, problem

KEY = "rp_test_abcdefgh_secret"
ASKED = [{"role": "user", "content": "How long do lamps last?"}]
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def server():
    one = FakeServer().start()
    yield one
    one.stop()


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(delivery_module, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(delivery_module, "LONGEST_WAIT", 0.2)


@pytest.fixture
def client(server):
    with made(server) as one:
        yield one


def made(server, **options):
    return Client(server.url, KEY, **{"flush_interval": 0.02, "close_timeout": 5, **options})


def adds_up(stats):
    return stats.accepted == stats.stored + stats.repeated + stats.refused + stats.dropped + stats.waiting


def test_an_answer_and_what_its_users_do_arrive_in_the_api_s_words(server, client):
    answer = client.responses.send(ASKED, "About five years.", id="a-1", model="lamp-2", user="u-1", at=NOON)
    client.reactions.shown(answer, user="u-1", at=NOON)
    client.reactions.send(answer, "like", user="u-1", text="Short and right.", at=NOON)
    client.reactions.retract(response=answer, kind="like", user="u-1", at=NOON)
    rated = client.feedback.rating(answer, "helpful", 4, user="u-1", id="r-1", at=NOON)
    assert client.flush()
    assert (answer, rated) == ("a-1", "r-1")
    at = NOON.isoformat()
    by_path = {request["path"]: request for request in server.requests}
    sent = {path: request["items"] for path, request in by_path.items()}
    assert sent == {
        "/api/v1/responses": [
            {"id": "a-1", "messages": ASKED, "text": "About five years.", "model": "lamp-2", "user": "u-1", "at": at}
        ],
        "/api/v1/reactions": [
            {"response": "a-1", "kind": "shown", "user": "u-1", "at": at},
            {"response": "a-1", "kind": "like", "user": "u-1", "at": at, "text": "Short and right."},
            {"response": "a-1", "kind": "like", "user": "u-1", "at": at, "retract": True},
        ],
        "/api/v1/feedback": [
            {
                "type": "rating",
                "response": "a-1",
                "dimension": "helpful",
                "value": 4,
                "id": "r-1",
                "user": "u-1",
                "at": at,
            }
        ],
    }
    headers = by_path["/api/v1/responses"]["headers"]
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Idempotency-Key"]


def test_the_quick_start_runs_as_it_is_written(server):
    readme = (Path(redpen_client.__file__).parents[1] / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", readme, re.DOTALL)[1]
    names = {}
    exec(code.replace("https://redpen.example.org", server.url).replace("rp_live_...", KEY), names)
    assert names["redpen"].close()
    paths = {request["path"] for request in server.requests}
    assert paths == {"/api/v1/responses", "/api/v1/reactions", "/api/v1/feedback"}
    assert server.stored[names["answer"]]["text"][:5] == "About"


def test_every_item_can_be_told_from_every_other(server, client):
    """By an id or (a tap of a known user) by answer, user, kind and time: so the latest counts, and a repeat not."""
    client.responses.send(ASKED, "Five.")
    client.feedback.critique("a-1", "Too short.")
    client.reactions.send("a-1", "like")
    client.reactions.send("a-1", "dislike", user="u-1", spans=[{"start": 0, "end": 4, "quote": "Five"}])
    client.reactions.send("a-1", "like", user="u-1")
    assert client.flush()
    items = [item for request in server.requests for item in request["items"]]
    named = [item for item in items if item.get("id")]
    assert len({item["id"] for item in named}) == 4
    (tap,) = [item for item in items if item not in named]
    assert (tap["response"], tap["user"], tap["kind"]) == ("a-1", "u-1", "like")
    assert datetime.fromisoformat(tap["at"]).tzinfo is not None


def test_zero_and_empty_words_that_mean_something_are_sent(server, client):
    client.responses.send(ASKED, "Five.", turn=0)
    client.feedback.rating("a-1", "helpful", 0)
    client.feedback.span("a-1", 0, 0, "", sentiment=0, replacement="")
    assert client.flush()
    answer, rating, span = [item for request in server.requests for item in request["items"]]
    assert (answer["turn"], rating["value"]) == (0, 0)
    assert {"start": 0, "end": 0, "quote": "", "sentiment": 0, "replacement": ""}.items() <= span.items()


def test_many_sends_are_few_requests_and_keep_their_order(server, client):
    for number in range(1000):
        client.reactions.send("a-1", "like", user=f"u-{number}")
    assert client.flush()
    assert [item["user"] for item in server.stored.values()] == [f"u-{number}" for number in range(1000)]
    assert 5 <= len(server.requests) <= 12
    assert client.stats.stored == 1000


def test_a_reaction_is_taken_back_by_name_after_it_was_sent_and_not_before(server, client):
    client.reactions.send("a-1", "like", id="e 1/ä")
    client.reactions.retract("e 1/ä")
    client.reactions.send("a-1", "love", id="e-2")
    assert client.flush()
    assert [request["method"] for request in server.requests] == ["POST", "DELETE", "POST"]
    assert server.requests[1]["path"] == "/api/v1/reactions/e%201%2F%C3%A4"


def test_text_that_utf_8_cannot_spell_does_not_stop_the_product(server, client):
    client.responses.send(ASKED, "half \ud83d", id="a-1")
    assert client.flush()
    assert server.stored["a-1"]["text"] == "half \ud83d"


def test_a_tap_without_an_id_is_not_named_after_its_request(server, client):
    """The server would take the key for its name, and then a later tap would not take its place."""
    client.reactions.send("a-1", "like", user="u-1")
    assert client.flush()
    assert "Idempotency-Key" not in server.requests[0]["headers"]


# what a retry does


def test_a_reply_that_got_lost_is_repeated_to_the_byte_and_counts_once(server, client):
    server.behave = lambda request: "cut" if len(server.requests) <= 2 else None
    client.responses.send(ASKED, "Five.")
    client.responses.send(ASKED, "Six.")
    assert client.flush(10)
    assert len(server.stored) == 2
    first, *others = server.requests
    assert len(others) == 2
    for other in others:
        assert other["headers"]["Idempotency-Key"] == first["headers"]["Idempotency-Key"]
        assert other["items"] == first["items"]
    assert (client.stats.stored, client.stats.repeated) == (0, 2)


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(server, client, status):
    server.behave = lambda request: problem(status, "busy") if len(server.requests) == 1 else None
    client.reactions.send("a-1", "like", user="u-1")
    assert client.flush(10)
    assert len(server.requests) == 2
    assert len(server.stored) == 1


@pytest.mark.parametrize("date", [False, True])
def test_retry_after_is_honoured_as_seconds_and_as_a_date(server, client, date):
    came = []

    def behave(request):
        came.append(time.time())
        if len(came) == 1:
            said = format_datetime(datetime.fromtimestamp(int(time.time()) + 2, UTC), usegmt=True) if date else "1"
            return problem(429, "rate.limited", Retry_After=said)
        return None

    server.behave = behave
    client.reactions.send("a-1", "like", user="u-1")
    assert client.flush(10)
    assert came[1] - came[0] >= (0.9 if date else 1.0)


def test_a_page_of_a_proxy_in_place_of_the_answer_is_not_taken_for_success(server, client):
    server.behave = lambda request: (200, {}, b"<html>welcome") if len(server.requests) == 1 else None
    client.reactions.send("a-1", "like", user="u-1")
    assert client.flush(10)
    assert client.stats.stored == 1


def test_of_a_batch_only_what_the_server_asks_for_is_sent_again(server, client):
    told = []
    server.judge = lambda item: told.append(item) or {"status": "retry"} if item["user"] == "u-2" and not told else None
    for user in ("u-1", "u-2", "u-3"):
        client.reactions.send("a-1", "like", user=user)
    assert client.flush(10)
    assert [[item["user"] for item in request["items"]] for request in server.requests] == [
        ["u-1", "u-2", "u-3"],
        ["u-2"],
    ]
    assert client.stats.stored == 3


def test_refused_items_are_told_and_the_others_kept(server, caplog):
    refused = []
    said = {"title": "No", "status": 422, "code": "kind.unknown", "detail": "There is no kind 'liek'.", "problems": []}
    server.judge = lambda item: {"status": "refused", "problem": said} if item["kind"] == "liek" else None
    with made(server, on_refused=refused.append) as client:
        client.reactions.send("a-1", "liek", id="e-1", text="secret words")
        client.reactions.send("a-1", "like", id="e-2")
        assert client.flush()
        assert adds_up(client.stats)
    (one,) = refused
    assert (one.path, one.id, one.problem.code) == ("reactions", "e-1", "kind.unknown")
    assert json.loads(one.body)["kind"] == "liek"
    assert list(server.stored) == ["e-2"]
    assert "kind.unknown" in caplog.text
    assert "secret words" not in caplog.text, "logs hold ids, never people's text"


def test_a_callback_that_fails_does_not_stop_the_rest(server):
    server.judge = lambda item: {"status": "refused", "problem": {}} if item["id"] == "e-1" else None
    with made(server, on_refused=lambda refusal: 1 / 0) as client:
        client.reactions.send("a-1", "like", id="e-1")
        assert client.flush()
        client.reactions.send("a-1", "like", id="e-2")
        assert client.flush()
    assert list(server.stored) == ["e-2"]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_batch_that_is_refused_whole_is_halved_until_the_culprit_is_alone(server, status):
    refused = []

    def behave(request):
        bad = any(item.get("text") == "poison" for item in request["items"])
        return problem(status, "body.refused") if bad else None

    server.behave = behave
    with made(server, on_refused=refused.append) as client:
        for number in range(20):
            client.reactions.send("a-1", "like", id=f"e-{number}", text="poison" if number == 13 else "")
        assert client.flush()
        assert client.stats.refused == 1
    assert [one.id for one in refused] == ["e-13"]
    assert len(server.stored) == 19


def test_a_wrong_key_loses_nothing_and_says_so_at_once(server, caplog):
    open_again = []
    server.behave = lambda request: None if open_again else problem(401, "key.unknown", "This key opens nothing.")
    with made(server) as client:
        client.reactions.send("a-1", "like", user="u-1")
        began = time.monotonic()
        assert not client.flush(20)
        assert time.monotonic() - began < 5
        assert client.problem.code == "key.unknown"
        assert "key.unknown" in caplog.text
        open_again.append(True)
        assert client.flush(10)
        assert client.problem is None
    assert len(server.stored) == 1


def test_a_wrong_key_does_not_hold_up_the_end_of_the_process(server):
    server.behave = lambda request: problem(403, "key.scope_missing")
    client = made(server, close_timeout=30)
    client.reactions.send("a-1", "like", user="u-1")
    began = time.monotonic()
    assert not client.close()
    assert time.monotonic() - began < 5
    assert client.dropped == 1


# a server that is away


def test_a_server_that_is_killed_and_comes_back_misses_nothing(server):
    with made(server, batch_items=10) as client:
        for number in range(300):
            client.reactions.send("a-1", "like", user=f"u-{number}")
            if number in (50, 150):
                server.stop()
            if number in (100, 250):
                server.start()
            time.sleep(0.003)
        assert client.flush(20)
        assert adds_up(client.stats)
        assert client.dropped == 0
    assert {item["user"] for item in server.stored.values()} == {f"u-{number}" for number in range(300)}


def test_sent_is_stored_plus_dropped_and_the_drops_are_reported(server):
    server.stop()
    with made(server, buffer_items=40) as client:
        for number in range(100):
            client.reactions.send("a-1", "like", user=f"u-{number}")
        assert client.dropped == 60
        server.start()
        assert client.flush(20)
        client.reactions.send("a-1", "love", user="u-0")
        assert client.flush(20)
        assert adds_up(client.stats)
    assert len(server.stored) == 41
    assert [request["headers"].get("Redpen-Dropped") for request in server.requests] == ["60", None]


@pytest.mark.slow
def test_sixty_seconds_without_a_server(server, monkeypatch):
    """With the waits that people have. Sent = stored + reported dropped."""
    monkeypatch.undo()
    with Client(server.url, KEY, buffer_items=500) as client:
        server.stop()
        away = time.monotonic()
        sent = 0
        while time.monotonic() - away < 60:
            client.reactions.send("a-1", "like", user=f"u-{sent}")
            sent += 1
            time.sleep(0.05)
        server.start()
        assert client.flush(40)
        reported = sum(int(request["headers"].get("Redpen-Dropped", 0)) for request in server.requests)
        assert reported == client.dropped > 0
        assert sent == len(server.stored) + reported


def test_a_full_buffer_may_hold_up_the_sender_until_there_is_room(server):
    server.stop()
    threading.Timer(0.5, server.start).start()
    with made(server, buffer_items=10, block_timeout=10) as client:
        for number in range(100):
            client.reactions.send("a-1", "like", user=f"u-{number}")
        assert client.flush(20)
        assert client.dropped == 0
    assert len(server.stored) == 100


def test_blocking_ends_in_a_drop_when_the_time_is_up(server):
    server.stop()
    client = made(server, buffer_items=1, block_timeout=0.1)
    client.reactions.send("a-1", "like", user="u-1")
    began = time.monotonic()
    client.reactions.send("a-1", "like", user="u-2")
    assert 0.1 <= time.monotonic() - began < 2
    assert client.dropped == 1
    client.close(0)
    assert client.dropped == 2
    assert adds_up(client.stats)


def test_what_a_closed_client_is_given_is_a_drop(server):
    client = made(server)
    client.close()
    client.reactions.send("a-1", "like", user="u-1")
    assert client.dropped == 1


# the end of the process


def run(code, server, *arguments, **options):
    environment = {**os.environ, "PYTHONPATH": str(Path(redpen_client.__file__).parents[1])}
    command = [sys.executable, "-c", code, server.url, KEY, *arguments]
    return subprocess.Popen(command, env=environment, cwd="/", stderr=subprocess.PIPE, text=True, **options)


def ended(process, code=0):
    said = process.communicate(timeout=30)[1]
    assert process.returncode == code, said
    return said


START = (
    "import sys; from redpen_client import Client, AsyncClient; client = Client(*sys.argv[1:3], flush_interval=60)\n"
)


def test_what_waits_is_sent_when_python_exits(server):
    ended(run(START + "for n in range(50): client.reactions.send('a-1', 'like', user=f'u-{n}')", server))
    assert len(server.stored) == 50


def test_what_waits_is_sent_when_an_exception_ends_the_process(server):
    said = ended(run(START + "client.reactions.send('a-1', 'like', user='u-1')\n1 / 0", server), code=1)
    assert "ZeroDivisionError" in said
    assert len(server.stored) == 1


def test_what_the_asynchronous_client_holds_is_sent_when_its_loop_has_ended(server):
    code = START + (
        "import asyncio\n"
        "async def main():\n"
        "    client = AsyncClient(*sys.argv[1:3], flush_interval=60)\n"
        "    await client.reactions.send('a-1', 'like', user='u-1')\n"
        "asyncio.run(main())"
    )
    ended(run(code, server))
    assert len(server.stored) == 1


def test_parent_and_forked_child_each_send_their_own_once(server):
    code = START + (
        "import os\n"
        "client.reactions.send('a-1', 'like', user='parent')\n"
        "client.flush()\n"
        "client.reactions.send('a-1', 'love', user='parent')\n"
        "if os.fork() == 0:\n"
        "    client.reactions.send('a-1', 'like', user='child')\n"
        "else:\n"
        "    os.wait()\n"
    )
    ended(run(code, server))
    sent = [(item["user"], item["kind"]) for request in server.requests for item in request["items"]]
    assert sorted(sent) == [("child", "like"), ("parent", "like"), ("parent", "love")]


def test_a_child_of_multiprocessing_sends_before_it_ends(server):
    code = START + (
        "import multiprocessing\n"
        "def work(n): client.reactions.send('a-1', 'like', user=f'u-{n}')\n"
        "children = [multiprocessing.get_context('fork').Process(target=work, args=(n,)) for n in range(3)]\n"
        "[child.start() for child in children]; [child.join() for child in children]\n"
    )
    ended(run(code, server))
    assert {item["user"] for item in server.stored.values()} == {"u-0", "u-1", "u-2"}


def test_the_client_needs_neither_torch_nor_django(server):
    ended(run(START + "assert not {'torch', 'django', 'redpen', 'annotation'} & set(sys.modules)", server))


# the spool


def test_the_spool_outlives_a_killed_process(server, tmp_path):
    server.stop()
    code = (
        "import sys, time; from redpen_client import Client\n"
        "client = Client(*sys.argv[1:3], spool_dir=sys.argv[3])\n"
        "for n in range(100): client.reactions.send('a-1', 'like', user=f'u-{n}')\n"
        "print('sent', file=sys.stderr, flush=True); time.sleep(60)"
    )
    process = run(code, server, str(tmp_path))
    assert process.stderr.readline() == "sent\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert len(list(tmp_path.glob("*.jsonl"))) == 1
    server.start()
    with made(server, spool_dir=tmp_path) as client:
        assert client.flush(10)
        assert adds_up(client.stats)
    assert [item["user"] for item in server.stored.values()] == [f"u-{number}" for number in range(100)]
    assert list(tmp_path.glob("*.jsonl")) == []


def test_a_file_of_the_spool_stays_until_each_item_in_it_has_its_fate(server, tmp_path):
    code = (
        "import sys, time; from redpen_client import Client\n"
        "client = Client(*sys.argv[1:3], spool_dir=sys.argv[3], batch_items=10)\n"
        "for n in range(30): client.reactions.send('a-1', 'like', user=f'u-{n}')\n"
        "while client.stats.stored < 10: time.sleep(0.01)\n"
        "print('some', file=sys.stderr, flush=True); time.sleep(60)"
    )
    server.behave = lambda request: problem(503, "busy") if len(server.requests) > 1 else None
    process = run(code, server, str(tmp_path))
    while "some" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    server.behave = lambda request: None
    with made(server, spool_dir=tmp_path) as client:
        assert client.flush(10)
        assert (client.stats.stored, client.stats.repeated) == (20, 10)


def test_what_is_left_at_the_end_waits_in_the_spool_and_is_no_drop(server, tmp_path):
    server.stop()
    client = made(server, spool_dir=tmp_path)
    client.responses.send(ASKED, "Fünf Jahre \U0001f4a1", id="a-1")
    client.reactions.retract("e-1")
    assert not client.close(0.2)
    assert client.dropped == 0
    server.start()
    with made(server, spool_dir=tmp_path) as client:
        assert client.flush(10)
    assert server.stored["a-1"]["text"] == "Fünf Jahre \U0001f4a1"
    assert server.withdrawn == ["e-1"]


def test_with_a_spool_a_long_absence_costs_disk_and_not_memory(server, tmp_path):
    server.stop()
    with made(server, spool_dir=tmp_path, buffer_items=20, batch_items=50) as client:
        for number in range(1500):
            client.reactions.send("a-1", "like", user=f"u-{number}", text="x" * 1800)
        assert client._delivery.held_items <= 20
        assert adds_up(client.stats)
        assert client.dropped == 0
        assert len(list(tmp_path.glob("*.jsonl"))) > 2
        server.start()
        assert client.flush(30)
        assert client.stats.stored == 1500
        assert adds_up(client.stats)
    assert [item["user"] for item in server.stored.values()] == [f"u-{number}" for number in range(1500)]
    assert list(tmp_path.glob("*.jsonl")) == []


def test_a_full_spool_drops_and_counts(server, tmp_path):
    server.stop()
    with made(server, spool_dir=tmp_path, spool_bytes=5000, buffer_items=5) as client:
        for number in range(100):
            client.reactions.send("a-1", "like", user=f"u-{number}")
        assert 0 < client.dropped < 100
        assert adds_up(client.stats)
        server.start()
        assert client.flush(10)
        assert len(server.stored) + client.dropped == 100


def test_a_torn_line_at_the_end_of_a_spool_loses_only_itself(server, tmp_path):
    whole = '{"path":"reactions","id":"e-1","withdraws":false,"item":{"response":"a-1","kind":"like","id":"e-1"}}\n'
    (tmp_path / "1-old.jsonl").write_text(whole + whole[:40])
    with made(server, spool_dir=tmp_path) as client:
        assert client.flush(10)
        assert client.dropped == 1
    assert list(server.stored) == ["e-1"]


def test_two_processes_may_share_a_spool(server, tmp_path):
    server.stop()
    with made(server, spool_dir=tmp_path) as first:
        first.reactions.send("a-1", "like", user="u-1")
        with made(server, spool_dir=tmp_path, close_timeout=0.1) as second:
            second.reactions.send("a-1", "like", user="u-2")
            assert second.stats.waiting == 1
        server.start()
        assert first.flush(10)
    assert {item["user"] for item in server.stored.values()} == {"u-1"}
    with made(server, spool_dir=tmp_path) as third:
        assert third.flush(10)
    assert {item["user"] for item in server.stored.values()} == {"u-1", "u-2"}


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
