"""What happens between a request and its commit: groups, repeats that overlap, bad rows, callers who leave, floods."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import psycopg
import pytest
from django.db import connection

from annotation.models import Reaction
from tests.annotation.shop import REACTIONS, RESPONSES, Shop


@contextmanager
def reactions_held():
    """Nobody can write reactions inside: what is sent waits."""
    about = connection.get_connection_params()
    where = {name: about[name] for name in ("dbname", "host", "user", "port", "password") if about.get(name)}
    with psycopg.connect(**where) as other:
        other.execute("LOCK TABLE annotation_reaction IN SHARE MODE")
        yield
        other.rollback()


def eventually(true, seconds: float = 10):
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_waits_together_is_committed_together(shop):
    shop.react(id="first")
    with ThreadPoolExecutor(40) as pool, reactions_held():
        sent = [pool.submit(shop.react, id=f"e-{n}", user=f"u-{n}") for n in range(40)]
        time.sleep(0.5)
        assert not any(one.done() for one in sent)  # nothing is acknowledged before its commit
    assert {one.result().status_code for one in sent} == {201}
    commits = {row.xact for row in Reaction.objects.exclude(external_id="first")}
    assert len(commits) < 20


def test_a_repeat_is_told_to_wait_while_the_first_is_running(shop):
    with ThreadPoolExecutor(2) as pool:
        with reactions_held():
            first = pool.submit(shop.send, REACTIONS, {"kind": "like", "response": "a"}, **{"Idempotency-Key": "k"})
            time.sleep(0.3)
            second = shop.send(REACTIONS, {"kind": "like", "response": "a"}, **{"Idempotency-Key": "k"})
            assert (second.status_code, second.json()["code"]) == (409, "idempotency.still_running")
        assert first.result().status_code == 201
    third = shop.send(REACTIONS, {"kind": "like", "response": "a"}, **{"Idempotency-Key": "k"})
    assert (third.status_code, third.json()) == (200, {**first.result().json(), "status": "repeated"})
    other = shop.send(REACTIONS, {"kind": "love", "response": "a"}, **{"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.other_content")
    assert Reaction.objects.count() == 1


def test_a_batch_under_a_key_is_the_same_batch_again(shop):
    batch = [{"kind": "like", "response": "a", "user": f"u-{n}"} for n in range(3)]
    first = shop.send(REACTIONS, batch, **{"Idempotency-Key": "k"}).json()
    again = shop.send(REACTIONS, batch, **{"Idempotency-Key": "k"}).json()
    assert (first["stored"], again["repeated"]) == (3, 3)
    assert [one["id"] for one in first["results"]] == [one["id"] for one in again["results"]]
    other = shop.send(REACTIONS, batch[:2], **{"Idempotency-Key": "k"})
    assert other.json()["code"] == "idempotency.other_content"
    # another operation, and test data, have names of their own
    assert shop.answer(None).status_code == 201
    sent = shop.send(
        RESPONSES, {"messages": [{"role": "user", "content": "x"}], "text": "y"}, **{"Idempotency-Key": "k"}
    )
    assert sent.status_code == 201


def test_a_row_that_the_database_refuses_takes_no_other_with_it(shop):
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.text = 'poison' THEN "
            "RAISE EXCEPTION 'no' USING ERRCODE = 'data_exception'; END IF; RETURN NEW; END $$;"
            "CREATE TRIGGER poison BEFORE INSERT ON annotation_reaction FOR EACH ROW EXECUTE FUNCTION poison()"
        )
    try:
        with ThreadPoolExecutor(30) as pool, reactions_held():
            sent = [pool.submit(shop.react, id=f"e-{n}", text="poison" if n % 10 == 3 else "") for n in range(30)]
            time.sleep(0.4)
        codes = [one.result().status_code for one in sent]
        assert codes == [422 if n % 10 == 3 else 201 for n in range(30)]
        assert sent[3].result().json()["code"] == "item.unstorable"
        batch = [{"kind": "like", "response": "a", "text": "poison" if n == 5 else ""} for n in range(20)]
        said = shop.send(REACTIONS, batch).json()
        assert [one["status"] for one in said["results"]] == ["refused" if n == 5 else "stored" for n in range(20)]
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER poison ON annotation_reaction; DROP FUNCTION poison()")


def test_a_caller_who_leaves_stops_no_commit(shop, server):
    with reactions_held():
        raw = socket.create_connection(("127.0.0.1", server.port))
        body = json.dumps([{"kind": "like", "response": "a", "id": f"e-{n}"} for n in range(10)]).encode()
        head = f"POST {REACTIONS} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {shop.token}\r\n"
        raw.sendall(f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        beside = threading.Thread(target=shop.react, kwargs={"id": "beside"})
        beside.start()
        time.sleep(0.4)
        raw.close()
        time.sleep(0.2)
    beside.join()
    eventually(lambda: Reaction.objects.count() == 11)


def test_batches_that_overlap_in_any_order_do_not_deadlock(shop):
    names = [f"e-{n}" for n in range(200)]

    def one(seed: int) -> int:
        mine = random.Random(seed).sample(names, 120)
        answer = shop.send(REACTIONS, [{"kind": "like", "response": "a", "id": name} for name in mine])
        assert answer.status_code == 200
        return answer.json()["stored"]

    with ThreadPoolExecutor(8) as pool:
        stored = sum(pool.map(one, range(60)))
    assert stored == Reaction.objects.count()


def test_more_than_can_wait_is_turned_away_and_may_come_again(shop, server, settings):
    from annotation.intake.front import Intake
    from redpen.asgi import application

    shop.react(id="first")
    assert isinstance(application, Intake)
    writer = application.writers["reactions"]
    before = writer.limits
    object.__setattr__(writer, "limits", type(before)(waiting_bytes=2000))
    try:
        with ThreadPoolExecutor(20) as pool, reactions_held():
            sent = [pool.submit(shop.react, id=f"e-{n}") for n in range(20)]
            eventually(lambda: any(one.done() for one in sent))
            time.sleep(0.3)
        answers = [one.result() for one in sent]
        assert {answer.status_code for answer in answers} == {201, 429}
        refused = next(answer for answer in answers if answer.status_code == 429)
        assert int(refused.headers["retry-after"]) >= 1
        assert Reaction.objects.count() == 1 + sum(answer.status_code == 201 for answer in answers)
    finally:
        object.__setattr__(writer, "limits", before)
    assert all(shop.react(id=f"e-{n}").status_code in (200, 201) for n in range(20))


def test_a_flood_of_one_project_leaves_another_its_turn():
    import asyncio

    from annotation.intake.limits import Limits
    from annotation.intake.writer import Job, Row, Writer

    async def groups() -> list[list[str]]:
        seen: list[list[str]] = []

        async def store(_, rows):
            seen.append([row.source[1] for row in rows])

        async def nothing():
            return None

        writer = Writer(nothing, store, Limits(), 1)
        row = {"json": b"{}", "external_id": None, "content": ""}
        loud = [Row(name=str(n), source=("k", "loud", False, ""), **row) for n in range(6000)]
        jobs = [Job("loud", loud[n : n + 500], 1) for n in range(0, 6000, 500)]
        quiet = Job("quiet", [Row(name="q", source=("k", "quiet", False, ""), **row)], 1)
        waiting = [asyncio.create_task(writer.write(job)) for job in [*jobs, quiet]]
        await asyncio.sleep(0)
        taken = writer._take()
        for task in waiting:
            task.cancel()
        return [[job.project for job in taken]]

    (first,) = asyncio.run(groups())
    assert first[:2] == ["loud", "quiet"]


@pytest.mark.parametrize("wrong", ["", "x" * 101, "a\tb"])
def test_an_idempotency_key_is_short_and_printable(shop, wrong):
    answer = shop.send(REACTIONS, {"kind": "like", "response": "a"}, **{"Idempotency-Key": wrong})
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency.bad_key")


def test_keys_that_were_used_say_when(shop, server):
    from redpen.asgi import application

    shop.react()
    application.loop.call_soon_threadsafe(lambda: application.loop.create_task(application.directory.note_use()))

    def noted() -> bool:
        shop.key.refresh_from_db()
        return shop.key.last_used_at is not None

    eventually(noted)


def test_two_projects_may_use_the_same_names(shop, server):
    from redpen.accounts.models import Project

    other = Shop(server.url(""), Project.objects.exclude(pk=shop.project.pk).first())
    from annotation.models import ReactionKind

    ReactionKind.objects.get_or_create(project=other.project, key="like", defaults={"name": "Like", "polarity": 1})
    shop.answer()
    assert shop.react(id="e").json()["status"] == "stored"
    mine = other.react(id="e").json()
    assert (mine["status"], mine.get("response")) == ("stored", None)  # the answer of that name is not theirs


@pytest.mark.parametrize(
    "poison", ['"a\\u0000b"', '"a\\ud800b"', "9" * 25, "[" * 600 + "]" * 600, '"' + "x" * 1_100_000 + '"']
)
def test_a_poisoned_item_takes_no_neighbour_with_it(shop, poison):
    items = [f'{{"kind": "like", "response": "a", "id": "e-{n}"}}' for n in range(5)]
    items[2] = f'{{"kind": "like", "response": "a", "id": "bad", "metadata": {{"x": {poison}}}}}'
    for body, kind in (("[" + ",".join(items) + "]", "application/json"), ("\n".join(items), "application/x-ndjson")):
        answer = shop.send(REACTIONS, body.encode(), **{"Content-Type": kind})
        assert answer.status_code == 207
        assert [one["status"] == "refused" for one in answer.json()["results"]] == [False, False, True, False, False]
    assert Reaction.objects.count() == 4


@pytest.mark.parametrize(
    "body", ["[" + "0," * 2_000_000 + "0]", "[" * 2_000_000, '[{"a":' * 90_000, "[0" + " " * 2_000_000]
)
def test_a_bomb_of_json_is_refused_quickly(shop, body):
    began = time.monotonic()
    answer = shop.send(REACTIONS, body.encode())
    assert answer.status_code in (400, 413)
    assert time.monotonic() - began < 3


def test_an_array_with_many_commas_is_taken_apart_all_the_same(shop):
    text = "," * 600
    batch = [{"kind": "like", "response": "a", "id": f"e-{n}", "text": text} for n in range(100)]
    assert shop.send(REACTIONS, batch).json()["stored"] == 100
    assert shop.send(REACTIONS, json.dumps(batch).encode()[:-1] + b"] x").json()["code"] == "request.not_readable"


def test_while_several_projects_send_groups_are_small_and_the_quiet_come_first():
    import asyncio

    from annotation.intake.limits import Limits
    from annotation.intake.writer import Job, Row, Writer

    async def first_groups() -> list[list[tuple[str, int]]]:
        writer = Writer(None, None, Limits(), 2, shared=lambda: True)
        row = {"json": b"{}", "external_id": None, "content": ""}
        loud = [Row(name=str(n), source=("k", "loud", False, ""), **row) for n in range(6000)]
        for n in range(0, 6000, 100):
            writer.put(Job("loud", loud[n : n + 100], 1))
        assert not writer.light_work.is_set()
        writer.put(Job("quiet", [Row(name="q", source=("k", "quiet", False, ""), **row)], 1))
        assert writer.light_work.is_set()
        groups = [writer._take(express=True), writer._take(express=True), writer._take(express=False)]
        return [[(job.project, len(job.rows)) for job in group] for group in groups]

    assert asyncio.run(first_groups()) == [[("quiet", 1)], [], [("loud", 100), ("loud", 100)]]
