"""`redpen-client` over real HTTP: a small server that keeps the contract, dies, comes back, misbehaves on purpose."""

import json
import re
import threading
import time
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import pytest

import redpen_client
from redpen_client import Client
from tests.clients.fake.making import ASKED, KEY, NOON, adds_up, made
from tests.clients.fake_server import problem


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
