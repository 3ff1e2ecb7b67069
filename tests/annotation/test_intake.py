"""The live API over HTTP, on the real server: what is acknowledged is stored, once, and every item has its fate."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotation import events
from annotation.models import IntakeCount, IntakeSettings, Prompt, Reaction, ReactionKind, Response
from tests.annotation.shop import REACTIONS, RESPONSES, Shop, lines


def problem(answer, status: int, code: str, pointer: str | None = None) -> dict:
    """The problem of a refusal, which must be this one."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert (said["status"], said["code"]) == (status, code)
    if pointer is not None:
        assert [one["pointer"] for one in said["problems"]] == [pointer]
    return said


# one by one


def test_an_answer_is_stored_as_it_came_and_its_repeat_adds_nothing(shop):
    text = "Hé 👩‍🚀\r\n  trailing "
    first = shop.answer(
        text=text,
        context=[{"text": "1066", "title": "Kings"}],
        user="u-1",
        conversation="c",
        turn=2,
        language="de-AT",
        at="2025-01-02T03:04:05+01:00",
        sampling={"temperature": 0.5},
        metadata={"plan": "pro"},
    )
    assert (first.status_code, first.json()["status"]) == (201, "stored")
    row = Response.objects.get(external_id="a-1")
    assert str(row.pk) == first.json()["id"]
    assert row.text == text
    assert (row.model, row.external_user, row.conversation, row.turn, row.language) == ("m-1", "u-1", "c", 2, "de-AT")
    assert row.written_at == datetime(2025, 1, 2, 2, 4, 5, tzinfo=UTC)
    assert (row.sampling, row.metadata, row.origin, row.test) == ({"temperature": 0.5}, {"plan": "pro"}, "model", False)
    assert row.prompt.context == [{"id": "1", "title": "Kings", "text": "1066"}]
    plain = shop.answer("a-2")
    again = shop.answer("a-2")
    assert (again.status_code, again.json()) == (200, {**plain.json(), "status": "repeated"})
    problem(shop.answer("a-2", text="Another."), 422, "idempotency.other_content")
    assert Response.objects.filter(external_id="a-2").count() == 1


def test_a_prompt_that_came_before_by_another_door_is_the_same_prompt(shop):
    known = Prompt.objects.get()
    shop.answer(messages=[{"role": "user", "content": "Who built the lighthouse?"}])
    assert Response.objects.get(external_id="a-1").prompt == known
    assert Prompt.objects.count() == 1


def test_a_reaction_is_stored_once_and_points_at_its_answer(shop):
    answer = shop.answer().json()["id"]
    first = shop.react(id="e-1", user="u-1", text="so good", at="2026-01-01T00:00:00Z", metadata={"where": "app"})
    assert (first.status_code, first.json()["response"]) == (201, answer)
    again = shop.react(id="e-1", user="u-1", text="so good", at="2026-01-01T00:00:00Z", metadata={"where": "app"})
    assert (again.status_code, again.json()) == (200, {**first.json(), "status": "repeated"})
    problem(shop.react("love", id="e-1", user="u-1"), 422, "idempotency.other_content")
    row = Reaction.objects.get()
    assert (row.kind.key, row.external_user, row.text, row.metadata) == ("like", "u-1", "so good", {"where": "app"})
    assert (str(row.response_id), row.agent, row.origin) == (answer, f"key:{shop.key.prefix}", "human")
    assert shop.react(response=answer, id="e-2").json()["response"] == answer  # by our own id


def test_without_an_id_the_same_tap_at_the_same_time_is_the_same_event(shop):
    shop.answer()
    at = "2026-01-01T00:00:00Z"
    assert [shop.react(user="u", at=at).json()["status"] for _ in range(2)] == ["stored", "repeated"]
    assert shop.react(user="u", at="2026-01-01T01:00:00+01:00").json()["status"] != "stored"  # the same moment
    assert shop.react(user="v", at=at).json()["status"] == "stored"
    assert shop.react("love", user="u", at=at).json()["status"] == "stored"


def test_a_reaction_may_come_before_its_answer(shop):
    early = shop.react(response="late", id="e-1").json()
    assert (early["status"], early.get("response")) == ("stored", None)
    row = Reaction.objects.get()
    assert (row.response_id, row.response_external_id) == (None, "late")


def test_a_reaction_is_taken_back_before_it_comes_or_after(shop):
    shop.answer()
    shop.react(id="e-1", user="u-1")
    gone = shop.client.delete(f"{REACTIONS}/e-1")
    row = Reaction.objects.get()
    assert (gone.status_code, gone.json()) == (200, {"status": "retracted", "id": str(row.pk)})
    assert row.end_reason == "retracted"
    assert shop.client.delete(f"{REACTIONS}/e-1").json() == gone.json()
    by_ours = shop.react(id="e-2", user="u-2").json()["id"]
    shop.client.delete(f"{REACTIONS}/{by_ours}")
    assert Reaction.objects.filter(ended_at=None).count() == 0
    assert shop.client.delete(f"{REACTIONS}/e%2F3").status_code == 200  # not here yet, with a slash in its name
    assert shop.react("like", id="e/3").status_code == 201


def test_what_a_test_key_writes_is_apart_from_the_rest(shop, server):
    trial = Shop(server.url(""), shop.project, test=True)
    live, test = shop.answer().json(), trial.answer(text="Other text, same id.").json()
    assert {live["status"], test["status"]} == {"stored"}
    assert trial.react(id="e").json()["response"] == test["id"]
    assert shop.react(id="e").json()["response"] == live["id"]
    assert Response.objects.get(pk=test["id"]).prompt != Response.objects.get(pk=live["id"]).prompt
    assert [row.test for row in Reaction.objects.order_by("test")] == [False, True]


def test_users_are_hashed_and_personal_data_goes_at_the_door(shop):
    IntakeSettings.objects.create(project=shop.project, hash_users=True, redact=["email"])
    sent = shop.answer(text="Write to ada@lantern.org.", user="ada", metadata={"from": "ada@lantern.org"})
    assert sent.json()["redacted"] == 2
    row = Response.objects.get(external_id="a-1")
    assert (row.text, row.metadata) == ("Write to [email].", {"from": "[email]"})
    assert row.external_user.startswith("u_")
    shop.react(user="ada", text="mail ada@lantern.org")
    reaction = Reaction.objects.get()
    assert (reaction.external_user, reaction.text) == (row.external_user, "mail [email]")
    assert (
        shop.answer(text="Write to ada@lantern.org.", user="ada", metadata={"from": "ada@lantern.org"}).json()["status"]
        == "repeated"
    )


@given(name=st.text(min_size=1, max_size=60), test=st.booleans())
def test_an_event_has_one_name_whoever_makes_it(name, test):
    """The hot path digests the part that a project's events share once; all else digests it whole."""
    project = "0198c0de-0000-7000-8000-000000000000"
    whole = events.digest_text("id", project, "test" if test else "live", name)
    assert events.named_event_text(project, test, name) == str(events.named_event(UUID(project), test, name)) == whole


# many at once


def test_each_item_of_a_batch_has_its_fate(shop):
    shop.answer()
    shop.react(id="e-1")
    answer = shop.send(
        REACTIONS,
        [
            {"kind": "like", "response": "a-1", "id": "e-2"},
            {"kind": "lik", "response": "a-1"},
            {"kind": "like", "response": "a-1", "id": "e-1"},
            "nonsense",
            {"kind": "love", "response": "a-1", "id": "e-1"},
            {"kind": "like", "response": "a-1", "id": "e-2"},
            {"kind": "like", "response": "a-1", "text": "a\0b"},
        ],
    )
    said = answer.json()
    assert answer.status_code == 207
    fates = [one["status"] for one in said["results"]]
    assert fates == ["stored", "refused", "repeated", "refused", "refused", "repeated", "refused"]
    assert (said["stored"], said["repeated"], said["refused"], said["retry"]) == (1, 2, 4, 0)
    codes = [one.get("problem", {}).get("code") for one in said["results"]]
    assert codes == [None, "kind.unknown", None, "invalid", "idempotency.other_content", None, "text.unstorable"]
    assert Reaction.objects.count() == 2
    assert shop.send(REACTIONS, []).json()["results"] == []


items = st.one_of(
    st.fixed_dictionaries(
        {"kind": st.sampled_from(["like", "love", "nope"]), "response": st.sampled_from(["a-1", "x", ""])},
        optional={
            "id": st.sampled_from([f"e-{n}" for n in range(8)]),
            "user": st.sampled_from(["u", "null", "v", "ü" * 300]),
            "text": st.text(max_size=5),
            "at": st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01", "9999-12-31T23:59:59Z"]),
            "retract": st.booleans(),
            "metadata": st.dictionaries(st.text(max_size=3), st.one_of(st.integers(), st.text(max_size=3)), max_size=2),
            "more": st.just(1),
        },
    ),
    st.integers(),
    st.none(),
    st.lists(st.integers(), max_size=2),
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(items, max_size=12), st.booleans())
def test_there_are_as_many_results_as_items_and_what_is_stored_is_there(shop, batch, as_lines):
    if as_lines:
        body = lines(*(json.dumps(item) for item in batch))
        answer = shop.send(REACTIONS, body, **{"Content-Type": "application/x-ndjson"})
    else:
        answer = shop.send(REACTIONS, batch)
    said = answer.json()
    fates = [one["status"] for one in said["results"]]
    assert len(fates) == len(batch)
    assert set(fates) <= {"stored", "repeated", "refused"}
    assert answer.status_code == (207 if "refused" in fates else 200)
    for one, item in zip(said["results"], batch, strict=True):
        assert ("problem" in one) == (one["status"] == "refused")
        if one["status"] != "refused":
            row = Reaction.objects.get(pk=one["id"])
            assert (row.kind.key, row.external_id) == (item["kind"], item.get("id"))


def test_ndjson_takes_more_than_an_array_and_gzip_too(shop):
    shop.answer()
    many = [json.dumps({"kind": "like", "response": "a-1", "id": f"e-{n}", "user": f"u-{n}"}) for n in range(2500)]
    body = gzip.compress(lines(*many, "", "{broken"))
    answer = shop.send(REACTIONS, body, **{"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"})
    said = answer.json()
    assert (answer.status_code, said["stored"], said["refused"], len(said["results"])) == (207, 2500, 1, 2501)
    assert said["results"][-1]["problem"]["code"] == "request.not_readable"
    assert Reaction.objects.count() == 2500
    assert len({row.xact for row in Reaction.objects.only("xact")}) <= 25  # in groups, small ones while others send
    over = shop.send(REACTIONS, [{"kind": "like", "response": "a-1"}] * 1001)
    assert problem(over, 413, "request.too_large")["data"] == {"most_items": 1000}


def test_answers_in_a_batch_share_their_prompt_and_may_name_each_other(shop):
    messages = [{"role": "user", "content": "Again?"}]
    batch = [{"id": f"b-{n}", "messages": messages, "text": f"Answer {n}."} for n in range(3)]
    said = shop.send(RESPONSES, [*batch, {**batch[0], "id": "b-9", "parent": "b-0"}, {"messages": messages}]).json()
    assert (said["stored"], said["refused"]) == (4, 1)
    assert Prompt.objects.filter(messages=messages).count() == 1
    assert Response.objects.get(external_id="b-9").parent_external_id == "b-0"
    shop.answer("b-10", parent="b-9")
    assert Response.objects.get(external_id="b-10").parent == Response.objects.get(external_id="b-9")


# bad input: said, and nothing lost or broken


@pytest.mark.parametrize(
    ("change", "status", "code", "pointer"),
    [
        ({"kind": None}, 422, "invalid", "/kind"),
        ({"response": ""}, 422, "invalid", "/response"),
        ({"response": "x" * 201}, 422, "invalid", "/response"),
        ({"user": "undefined"}, 422, "user.nobody", "/user"),
        ({"at": "yesterday"}, 422, "invalid", "/at"),
        ({"at": "2026-01-01T00:00:00"}, 422, "invalid", "/at"),
        ({"at": "3026-01-01T00:00:00Z"}, 422, "invalid", "/at"),
        ({"usr": "u"}, 422, "unknown", "/usr"),
        ({"metadata": {"a": {"b": "\0"}}}, 422, "text.unstorable", "/metadata/a/b"),
        ({"metadata": {"n": 2**80}}, 422, "number.too_large", None),
        ({"spans": [{"start": 0, "end": 3, "quote": "ab"}]}, 422, "span.quote_mismatch", "/spans/0/quote"),
        ({"spans": [{"start": 0, "end": 2, "quote": "ab", "sentiment": 7}]}, 422, "invalid", "/spans/0/sentiment"),
    ],
)
def test_a_bad_reaction_is_refused_by_name_and_place(shop, change, status, code, pointer):
    body = {"kind": "like", "response": "a-1", **change}
    answer = shop.send(REACTIONS, body)
    said = problem(answer, status, code if code != "unknown" else "invalid", pointer)
    if code == "unknown":
        assert said["problems"][0]["code"] == "unknown"
    assert not Reaction.objects.exists()


def test_a_body_that_cannot_be_read_is_a_clear_refusal(shop):
    for body in (
        b"",
        b"{",
        b'{"kind": "like", "response": "\xff"}',
        b'{"kind": "like", "response": "\\ud800"}',
        b"[" * 99999,
    ):
        problem(shop.send(REACTIONS, body), 400, "request.not_readable")
    deep = b'{"kind":"like","response":"a","metadata":' + b'{"a":' * 150 + b"1" + b"}" * 151
    problem(shop.send(REACTIONS, deep), 400, "request.not_readable")
    problem(shop.send(REACTIONS, b"x", **{"Content-Type": "image/png"}), 415, "request.wrong_media_type")
    problem(shop.send(REACTIONS, b"x", **{"Content-Encoding": "br"}), 415, "request.wrong_media_type")
    problem(shop.send(REACTIONS, b"x", **{"Content-Encoding": "gzip"}), 400, "request.not_readable")
    cut = gzip.compress(b'{"kind": "like", "response": "a-1"}')[:-6]
    problem(shop.send(REACTIONS, cut, **{"Content-Encoding": "gzip"}), 400, "request.not_readable")


def test_what_is_too_large_is_refused_packed_or_not(shop):
    item = problem(shop.react(text="x" * 1_100_000), 413, "request.too_large")
    assert item["data"] == {"most_bytes": 1024 * 1024}
    bomb = gzip.compress(b" " * (65 * 1024 * 1024))
    assert len(bomb) < 100_000
    problem(shop.send(REACTIONS, bomb, **{"Content-Encoding": "gzip"}), 413, "request.too_large")


# keys


def test_a_key_that_is_revoked_or_expired_opens_nothing_from_that_moment(shop):
    assert shop.react().status_code == 201  # the server remembers the key now
    shop.key.revoked_at = datetime.now(UTC)
    shop.key.save()
    problem(shop.react(), 401, "key.unknown")
    problem(shop.answer(), 401, "key.unknown")
    problem(shop.client.delete(f"{REACTIONS}/e-1"), 401, "key.unknown")
    assert Reaction.objects.count() == 1


def test_a_key_may_only_what_its_scopes_say(shop, server):
    reader = Shop(server.url(""), shop.project, scopes=["read"])
    problem(reader.react(), 403, "key.scope_missing")
    problem(reader.answer(), 403, "key.scope_missing")
    late = Shop(server.url(""), shop.project, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    problem(late.react(), 401, "key.unknown")
    for header in ("", "Bearer", "Bearer nonsense", f"Basic {shop.token}"):
        answer = shop.client.post(REACTIONS, json={}, headers={"Authorization": header})
        assert answer.headers["www-authenticate"].startswith("Bearer")
        problem(answer, 401, "key.unknown")


def test_a_public_key_writes_reactions_from_its_pages_and_not_too_many(shop, server):
    page = "https://shop.example"
    public = Shop(server.url(""), shop.project, public=True, origins=[page], per_minute=6)
    body = {"kind": "like", "response": "a-1", "user": "u"}
    asked = public.client.options(REACTIONS, headers={"Origin": page, "Access-Control-Request-Method": "POST"})
    assert asked.headers["access-control-allow-origin"] == page
    sent = public.send(REACTIONS, body, Origin=page)
    assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (201, page)
    problem(public.send(REACTIONS, body, Origin="https://elsewhere.example"), 403, "key.wrong_origin")
    problem(public.send(REACTIONS, body), 403, "key.wrong_origin")
    problem(public.send(RESPONSES, {}, Origin=page), 403, "key.scope_missing")
    beacon = {"Origin": page, "Content-Type": "text/plain", "Authorization": ""}
    left = public.client.post(f"{REACTIONS}?key={public.token}", content=json.dumps(body), headers=beacon)
    assert left.status_code == 201
    problem(
        shop.client.post(f"{REACTIONS}?key={shop.token}", json=body, headers={"Authorization": ""}), 401, "key.unknown"
    )
    assert public.send(REACTIONS, body, Origin=page).status_code == 201
    too_many = public.send(REACTIONS, body, Origin=page)
    assert problem(too_many, 429, "request.too_many")
    assert 1 <= int(too_many.headers["retry-after"]) <= 10
    assert too_many.headers["access-control-expose-headers"] == "Retry-After"  # or the page could not read it


def test_a_kind_that_was_declared_a_moment_ago_is_known(shop):
    problem(shop.react("cheer"), 422, "kind.unknown", "/kind")
    ReactionKind.objects.create(project=shop.project, key="cheer", name="Cheer", polarity=1)
    time.sleep(0.3)
    assert shop.react("cheer").status_code == 201


def test_other_methods_and_addresses_go_to_django(shop):
    assert shop.client.get("/livez").text == "ok\n"
    assert shop.client.put(REACTIONS, json={}).status_code in (404, 405)
    assert UUID(shop.react().json()["id"])


def test_what_became_of_every_item_is_counted(shop):
    from redpen.asgi import application

    shop.answer()
    shop.react(id="e-1")
    shop.react("nope")
    batch = [{"kind": "like", "response": "a-1", "id": "e-1"}, {"kind": "love", "response": "a-1", "id": "e-1"}, 7]
    shop.send(REACTIONS, batch, **{"Redpen-Dropped": "12"})
    shop.send(REACTIONS, b"{")

    async def write() -> None:
        await application.tally.write(application.pool)

    asyncio.run_coroutine_threadsafe(write(), application.loop).result(10)
    rows = IntakeCount.objects.filter(project=shop.project, operation="reactions")
    counted = {(row.outcome, row.code): row.count for row in rows}
    assert counted == {
        ("stored", ""): 1,
        ("repeated", ""): 1,
        ("refused", "kind.unknown"): 1,
        ("refused", "idempotency.other_content"): 1,
        ("refused", "invalid"): 1,
        ("refused", "request.not_readable"): 1,
        ("dropped", ""): 12,
    }
