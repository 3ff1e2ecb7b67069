"""`redpen-client` against the real server with real Postgres, behind a proxy that cuts connections and goes away."""

import asyncio
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from annotation.actions import counting
from annotation.models import Outcome, Preference, Rating, Reaction, Response, Rewrite, SpanCritique
from redpen_client import AsyncClient, Client
from redpen_client import delivery as delivery_module
from tests.faults.proxy import REPLY, REQUEST, Proxy

ASKED = [{"role": "user", "content": "How long do lamps last?"}]
NOWHERE = 1  # a port on which nobody listens


@pytest.fixture(autouse=True)
def quick_retries(monkeypatch):
    monkeypatch.setattr(delivery_module, "FIRST_WAIT", 0.05)
    monkeypatch.setattr(delivery_module, "LONGEST_WAIT", 0.3)


@pytest.fixture
def refused():
    return []


@pytest.fixture
def client(server, shop, refused):
    url = server.url("").rstrip("/")
    with Client(url, shop.token, flush_interval=0.05, on_refused=refused.append) as one:
        yield one


def test_all_that_a_product_can_say_is_stored(client, shop, refused):
    text = "Fünf 💡 Jahre."
    first = client.responses.send(ASKED, text, id="a-1", model="lamp-2", user="u-1", conversation="c-1", turn=1)
    second = client.responses.send(ASKED, "Ten years.", parent=first, user="u-1")
    client.reactions.shown(first, user="u-1")
    client.reactions.send(first, "like", user="u-1")
    client.reactions.send(
        first, "dislike", user="u-2", spans=[{"start": 5, "end": 6, "quote": "💡", "critique": "No."}]
    )
    client.reactions.send(first, "copy", id="e-1", user="u-1")
    client.reactions.retract("e-1")
    client.reactions.retract(response=first, kind="like", user="u-1")
    client.feedback.span(first, 0, 4, "Fünf", sentiment=-1, critique="Three.", replacement="", user="u-1")
    client.feedback.span(first, 13, 13, "", sentiment=-1, critique="Say which lamp.")
    client.feedback.critique(first, "Too short.", verdict="bad")
    client.feedback.rating(first, "helpful", 0)
    client.feedback.rewrite(first, "About five years.")
    client.feedback.preference(second, first, "a", strength=3, shown_first="b")
    client.feedback.outcome(first, "hindsight", result="They bought another lamp.")
    client.feedback.send("ranking", {"places": [[second], [first]]})
    assert client.flush()
    assert refused == []
    counting.catch_up()
    assert Response.objects.get(external_id=second).parent.external_id == "a-1"
    assert Rewrite.objects.get().better.text == "About five years."
    assert Rating.objects.get().value == 0
    assert (Preference.objects.get().strength, Outcome.objects.get().stage) == (3, "hindsight")
    spans = {span.quote: span for span in SpanCritique.objects.filter(response__external_id="a-1")}
    assert (spans["Fünf"].replacement, spans["💡"].critique, spans[""].start) == ("", "No.", 13)
    live = Reaction.objects.filter(ended_at=None, retracts=False)
    assert sorted(live.values_list("kind__key", flat=True)) == ["dislike", "shown"]


def test_what_was_sent_can_be_read_back(client, shop, tmp_path):
    for number in range(120):
        client.reactions.send(client.responses.send(ASKED, f"{number} years.", model="lamp-2"), "like", user="u-1")
    client.feedback.rating(client.responses.send(ASKED, "Five.", id="a-1"), "helpful", 4)
    assert client.flush()
    counting.catch_up()
    assert len({row["id"] for row in client.responses.list(model="lamp-2", limit=50)}) == 120
    assert len(list(client.responses.list(external_id=["a-1", "a-2"]))) == 1
    assert len(list(client.reactions.list(kind="like", since=datetime.now(UTC) - timedelta(hours=1)))) == 120
    assert [row["value"] for row in client.records(kind="rating")] == [4]
    assert client.responses.get("a-1")["text"] == "Five."
    assert client.rates(split="model")["groups"]
    exported = Counter(line["type"] for line in client.export(types=["response", "rating"]))
    assert exported == {"response": Response.objects.count(), "rating": 1}
    assert client.export_to(tmp_path / "all.parquet").read_bytes()[:4] == b"PAR1"


def test_feedback_does_not_overtake_the_answer_that_it_is_about(client, refused):
    for number in range(700):
        answer = client.responses.send(ASKED, f"{number} years.")
        if number % 7 == 0:
            client.feedback.rating(answer, "helpful", number)
    assert client.flush()
    assert refused == []
    assert Rating.objects.count() == 100


def test_with_cut_connections_and_a_server_that_goes_away_everything_arrives_once(server, shop, refused):
    """Sent = stored, by number and by name, and nobody counts twice."""
    with Proxy(server.port) as proxy:
        options = {"flush_interval": 0.02, "batch_items": 20, "timeout": 2, "on_refused": refused.append}
        with Client(f"http://127.0.0.1:{proxy.port}", shop.token, **options) as client:
            for number in range(400):
                answer = client.responses.send(ASKED, f"{number} years.", id=f"a-{number}")
                client.reactions.send(answer, "like", user=f"u-{number % 7}")
                client.feedback.rating(answer, "helpful", number % 5, id=f"r-{number}")
                if number % 40 == 20:
                    proxy.cut(REPLY if number % 80 == 20 else REQUEST)
                if number == 150:
                    proxy.upstream = NOWHERE
                    proxy.cut(REPLY)  # of the connection that is open still
                if number == 350:
                    proxy.upstream = server.port
                time.sleep(0.01)
            assert client.flush(30)
            stats = client.stats
        assert proxy.cuts >= 8
    assert refused == []
    assert (stats.accepted, stats.dropped, stats.waiting) == (1200, 0, 0)
    assert stats.stored + stats.repeated == 1200
    names = {f"a-{number}" for number in range(400)}
    assert set(Response.objects.filter(external_id__startswith="a-").values_list("external_id", flat=True)) == names
    assert Reaction.objects.count() == 400
    assert Rating.objects.count() == 400


def test_a_revoked_key_is_told_and_what_waits_is_kept(server, shop, refused):
    url = server.url("").rstrip("/")
    with Client(url, shop.token, flush_interval=0.05, close_timeout=1, on_refused=refused.append) as client:
        client.reactions.send("a-1", "like", user="u-1")
        assert client.flush()
        shop.key.revoked_at = datetime.now(UTC)
        shop.key.save(update_fields=["revoked_at"])
        client.reactions.send("a-1", "love", user="u-1")
        assert not client.flush(10)
        assert client.problem.status == 401
        assert client.stats.waiting == 1
    assert (refused, Reaction.objects.count()) == ([], 1)


def test_the_asynchronous_client_does_the_same(server, shop):
    async def use():
        async with AsyncClient(server.url("").rstrip("/"), shop.token) as client:
            answer = await client.responses.send(ASKED, "Five years.")
            await client.reactions.send(answer, "like", user="u-1")
            await client.feedback.rating(answer, "helpful", 4)
            assert await client.flush()
            assert (await client.responses.get(answer))["text"] == "Five years."
            assert [row["kind"] async for row in client.reactions.list()] == ["like"]
            assert client.stats.stored == 3

    asyncio.run(use())
