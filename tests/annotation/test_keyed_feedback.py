"""POST /api/v1/feedback: every type, once each, item by item; and taking back."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from annotation.api.feedback_rows import MODELS
from annotation.api.feedback_shapes import TYPES
from tests.annotation.keyed import asking, make_answer

TEXT = "The lamp 👩‍🚀 shines at night."


@pytest.fixture
def shop(desk):
    """A project with two answers to one prompt, live; one more in test."""
    project = desk.cast.project
    desk.a = make_answer(project, TEXT, external_id="a")
    desk.b = make_answer(project, "Nobody knows.", external_id="b", prompt=desk.a.prompt)
    desk.t = make_answer(project, TEXT, external_id="a", test=True)
    desk.asks = asking(project)
    return desk


SAID: dict[str, dict[str, Any]] = {
    "span": {"response": "a", "start": 4, "end": 8, "quote": "lamp", "sentiment": -1, "critique": "It is a fire."},
    "critique": {"response": "a", "verdict": "bad", "text": "Too short."},
    "rating": {"response": "a", "dimension": "tone", "value": 4},
    "rewrite": {"response": "a", "text": "The fire shines at night."},
    "preference": {"a": "a", "b": "b", "choice": "a", "strength": 3, "reason": "It knows."},
    "ranking": {"places": [["a"], ["b"]]},
    "choice": {"offered": ["a", "b"], "chosen": "b"},
    "outcome": {"response": "a", "stage": "hindsight", "action": "sent it", "result": "the customer came back"},
    "report": {"response": "a", "reason": "harmful", "text": "It names a neighbour."},
}


def item(kind: str, **more: Any) -> dict[str, Any]:
    shared = {"type": kind, "id": f"{kind}-1", "user": "u-1", "at": "2026-11-01T10:00:00Z", "metadata": {"app": "web"}}
    return {**shared, **SAID[kind], **more}


def test_every_type_has_an_example():
    assert set(SAID) == set(TYPES) == set(MODELS)


@pytest.mark.parametrize("kind", TYPES)
def test_what_a_user_said_is_stored_once_as_theirs(kind, shop):
    first = shop.asks.post("feedback", item(kind))
    assert first.status_code == 201, first.text
    row = MODELS[kind]._default_manager.get(project=shop.cast.project)
    assert first.json()["status"] == "stored"
    assert (first.json()["id"], first.json()["external_id"]) == (str(row.pk), f"{kind}-1")
    assert (row.external_user, row.origin, row.author, row.test) == ("u-1", "human", None, False)
    assert row.agent.startswith("key:rp_live_")
    assert (row.said_at.isoformat(), row.metadata) == ("2026-11-01T10:00:00+00:00", {"app": "web"})
    again = shop.asks.post("feedback", item(kind))
    assert again.status_code == 200, again.text
    assert again.json() == {**first.json(), "status": "repeated"}
    rotated = asking(shop.cast.project).post("feedback", item(kind))
    assert rotated.json() == again.json()
    assert MODELS[kind]._default_manager.filter(project=shop.cast.project).count() == 1


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("more", [{"user": "u-2"}, {"metadata": {}}, {"at": "2026-11-01T10:00:01Z"}])
def test_other_content_under_the_same_id_is_refused(kind, more, shop):
    shop.asks.post("feedback", item(kind))
    refused = shop.asks.post("feedback", item(kind, **more))
    assert (refused.status_code, refused.json()["code"]) == (422, "idempotency.other_content")
    assert refused["Content-Type"] == "application/problem+json"


def test_another_better_answer_under_the_same_id_is_refused_and_leaves_nothing(shop):
    from annotation.models import Response

    shop.asks.post("feedback", item("rewrite"))
    count = Response.objects.count()
    refused = shop.asks.post("feedback", item("rewrite", text="Another."))
    assert refused.json()["code"] == "idempotency.other_content"
    assert shop.asks.post("feedback", item("rewrite")).status_code == 200
    assert Response.objects.count() == count


def test_a_better_answer_is_an_answer_of_its_own(shop):
    shop.asks.post("feedback", item("rewrite"))
    from annotation.models import Rewrite

    better = Rewrite.objects.get().better
    assert (better.text, better.origin, better.parent, better.test) == (
        "The fire shines at night.",
        "human",
        shop.a,
        False,
    )
    assert better.external_user == "u-1"


def test_a_test_key_says_test_things_under_names_of_their_own(shop):
    from annotation.models import Critique

    test = asking(shop.cast.project, test=True)
    assert shop.asks.post("feedback", item("critique")).status_code == 201
    assert test.post("feedback", item("critique", text="Something else.")).status_code == 201
    assert [row.test for row in Critique.objects.order_by("id")] == [False, True]
    assert test.post("feedback", item("preference")).status_code == 422  # b is a live answer
    refused = shop.asks.post("feedback", item("critique", id="test:critique-1"))
    assert refused.json()["problems"][0]["pointer"] == "/id"


def test_any_offset_of_a_zone_is_one(shop):
    first = shop.asks.post("feedback", item("rating", at="2026-11-01T10:00:00+21:38"))
    assert first.status_code == 201
    again = shop.asks.post("feedback", item("rating", at="2026-10-31T12:22:00Z"))
    assert again.json() == {**first.json(), "status": "repeated"}


def test_without_an_id_nothing_is_a_repeat(shop):
    said = item("critique")
    del said["id"]
    assert [shop.asks.post("feedback", said).status_code for _ in range(2)] == [201, 201]


def test_a_batch_tells_each_items_fate_and_keeps_the_good_ones(shop):
    items = [
        item("critique"),
        item("critique"),
        item("span", quote="lump"),
        item("rating", response="nobody", id="r2"),
        {"type": "applause"},
        [],
        item("outcome", more=1),
        item("report"),
        item("critique", text="other"),
    ]
    got = shop.asks.post("feedback", items)
    assert got.status_code == 207, got.text
    told = got.json()
    fates = [one["status"] for one in told["results"]]
    good = ["stored", "repeated"]
    assert fates == [*good, "refused", "refused", "refused", "refused", "refused", "stored", "refused"]
    assert (told["stored"], told["repeated"], told["refused"], told["retry"]) == (2, 1, 6, 0)
    pointers = [one["problem"]["problems"][0]["pointer"] for one in told["results"][2:5]]
    assert pointers == ["/quote", "/response", "/type"]
    assert "span, critique" in told["results"][4]["problem"]["detail"]
    assert "metadata" in told["results"][6]["problem"]["detail"]
    assert told["results"][8]["problem"]["code"] == "idempotency.other_content"
    assert shop.asks.post("feedback", [item("critique"), item("report")]).status_code == 200


def test_ndjson_and_gzip_are_taken(shop):
    lines = "\n".join(json.dumps(item(kind)) for kind in TYPES) + "\n\n"
    got = shop.asks.post("feedback", lines, content_type="application/x-ndjson")
    assert (got.status_code, got.json()["stored"]) == (200, len(TYPES))
    zipped = gzip.compress(lines.encode())
    again = shop.asks.post("feedback", zipped, content_type="application/x-ndjson", **{"Content-Encoding": "gzip"})
    assert (again.status_code, again.json()["repeated"]) == (200, len(TYPES))
    broken = shop.asks.post("feedback", b"\x1f\x8b", **{"Content-Encoding": "gzip"})
    assert broken.status_code == 400
    assert shop.asks.post("feedback", "<a/>", content_type="text/xml").status_code == 415
    assert shop.asks.post("feedback", "{}", **{"Content-Encoding": "br"}).status_code == 415


def test_an_idempotency_key_stands_for_one_body(shop):
    said = item("critique")
    del said["id"]
    first = shop.asks.post("feedback", said, **{"Idempotency-Key": "k"})
    again = shop.asks.post("feedback", said, **{"Idempotency-Key": "k"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = shop.asks.post("feedback", {**said, "text": "other"}, **{"Idempotency-Key": "k"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.other_content")
    two = [said, {**said, "text": "two"}]
    for status in ("stored", "repeated"):
        got = shop.asks.post("feedback", two, **{"Idempotency-Key": "k2"})
        assert [one["status"] for one in got.json()["results"]] == [status] * 2


def test_a_request_that_was_refused_does_not_use_its_idempotency_key_up(shop):
    said = item("critique")
    assert shop.asks.post("feedback", {**said, "verdict": "x"}, **{"Idempotency-Key": "k"}).status_code == 422
    assert shop.asks.post("feedback", said, **{"Idempotency-Key": "k"}).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_while_the_first_request_runs_its_idempotency_key_is_taken(shop):
    import psycopg
    from django.db import connection

    about = connection.get_connection_params()
    names = ("host", "port", "user", "password", "dbname")
    with psycopg.connect(**{name: about[name] for name in names if about.get(name)}, autocommit=True) as other:
        lock = f"feedback {shop.cast.project.pk} False k"
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [lock])
        taken = shop.asks.post("feedback", item("critique"), **{"Idempotency-Key": "k"})
        assert (taken.status_code, taken.json()["code"]) == (409, "idempotency.still_running")
    assert shop.asks.post("feedback", item("critique"), **{"Idempotency-Key": "k"}).status_code == 201


def test_the_settings_of_the_intake_hold_here_too(shop):
    from annotation.models import Critique, IntakeSettings, SpanCritique

    IntakeSettings.objects.create(project=shop.cast.project, hash_users=True, redact=["email"])
    said = item("critique", text="Ask ines@example.org.", metadata={"mail": "ines@example.org"})
    for _ in range(2):
        assert shop.asks.post("feedback", said).status_code in (200, 201)
    row = Critique.objects.get()
    assert (row.text, row.metadata) == ("Ask [email].", {"mail": "[email]"})
    assert row.external_user.startswith("u_")
    assert shop.asks.post("feedback", item("span", critique="Ask ines@example.org.")).status_code == 201
    assert SpanCritique.objects.get().critique == "Ask [email]."


def test_it_is_taken_back_by_either_name_and_only_by_the_right_keys(shop):
    from annotation.models import Critique

    id = shop.asks.post("feedback", item("critique")).json()["id"]
    for stranger in (asking(shop.cast.other_project), asking(shop.cast.project, test=True)):
        assert stranger.delete("feedback/critique-1").status_code == 404
        assert stranger.delete(f"feedback/{id}").status_code == 404
    assert asking(shop.cast.project, scopes=["read"]).delete(f"feedback/{id}").status_code == 403
    assert shop.asks.delete("feedback/critique-1").json() == {"status": "retracted", "id": id}
    assert shop.asks.delete(f"feedback/{id}").json() == {"status": "retracted", "id": id}
    assert Critique.objects.get().end_reason == "retracted"
    assert shop.asks.post("feedback", item("critique")).json()["status"] == "repeated"
    assert shop.asks.delete("feedback/nothing").status_code == 404


def test_what_people_of_the_project_said_no_key_takes_back(shop):
    from annotation.actions.judgements import rate
    from annotation.actions.people import Author

    row, _ = rate(author=Author.person(shop.cast.ada), response=shop.a, dimension="tone", value=1.0)
    assert shop.asks.delete(f"feedback/{row.pk}").status_code == 404


def test_only_keys_that_may_write_send_feedback(shop):
    project = shop.cast.project
    assert asking(project, scopes=["read", "responses.write"]).post("feedback", item("critique")).status_code == 403
    public = asking(project, scopes=["reactions.write"], public=True)
    assert public.post("feedback", item("critique")).status_code == 403
    assert asking(shop.cast.other_project).post("feedback", item("critique")).status_code == 422


def test_a_key_with_a_rate_is_told_when_to_come_back(shop):
    slow = asking(shop.cast.project, per_minute=4)
    got = [slow.post("feedback", item("critique", id=f"c{n}")) for n in range(3)]
    assert [one.status_code for one in got] == [201, 201, 429]
    assert 1 <= int(got[2]["Retry-After"]) <= 16


def test_limits_are_answered_with_413(shop, settings):
    settings.INTAKE_ITEM_KB, settings.INTAKE_BATCH_ITEMS, settings.INTAKE_NDJSON_LINES = 1, 2, 3
    assert shop.asks.post("feedback", item("critique", text="x" * 1100)).status_code == 413
    assert shop.asks.post("feedback", [item("critique")] * 3).status_code == 413
    lines = "\n".join([json.dumps(item("critique"))] * 4)
    assert shop.asks.post("feedback", lines, content_type="application/x-ndjson").status_code == 413


NONSENSE: list[Any] = [
    "", "{", "null", "1", '"x"', "[[]]", '{"type": "span"}', '{"type": 1}', "\ud800", b"\xff", "[", "[1,", "[}]",
    '{"type":"critique","response":"a","text":"\\u0000"}', '{"type":"critique","response":"a","text":"\\ud800"}',
    '{"type":"critique","response":"a","text":"x","metadata":{"\\u0000":1}}',
    '{"type":"critique","response":"a","text":"x","metadata":' + "[" * 5000 + "]" * 5000 + "}",
    '{"type":"critique","response":"a","text":"x","metadata":{"n":' + "9" * 5000 + "}}",
    '{"type":"critique","response":"a","text":"x","at":"2026-11-01T10:00:00"}',
    '{"type":"critique","response":"a","text":"x","at":"9999-11-01T10:00:00Z"}',
    '{"type":"critique","response":"a","text":"x","user":"null"}',
    '{"type":"critique","response":"a","text":"x","part":"steps/9/x"}',
    '{"type":"critique","response":"a"}', '{"type":"rating","response":"a","dimension":"x","value":1e400}',
    '{"type":"rating","response":"a","dimension":"x","value":NaN}',
    '{"type":"rewrite","response":"a","text":"\\u0000"}',
    '{"type":"span","response":"a","start":5,"end":2,"quote":""}', '{"type":"ranking","places":[["a"],["a"]]}',
    '{"type":"span","response":"a","start":0,"end":3,"quote":"The"}',
    '{"type":"span","response":"a","start":0,"end":3,"quote":"The","label":"nonsense"}',
    '{"type":"choice","offered":["a","b"],"chosen":"c"}', '{"type":"preference","a":"a","b":"a","choice":"a"}',
    '{"type":"critique","response":"a","text":"x","id":"\\n"}', '{"type":"critique","response":"","text":"x"}',
    '{"type":"critique","response":"\\u0000","text":"x"}', '{"type":"rewrite","response":"a","text":"' + TEXT + '"}',
]  # fmt: skip


@pytest.mark.parametrize("body", NONSENSE, ids=range(len(NONSENSE)))
@pytest.mark.parametrize("how", ["one", "batch", "lines"])
def test_bad_input_is_named_and_never_a_fault_of_ours(body, how, shop):
    raw = body if isinstance(body, bytes) else body.encode("utf-8", "surrogatepass")
    if how == "batch":
        raw = b"[" + raw + b"]"
    kind = "application/x-ndjson" if how == "lines" else "application/json"
    got = shop.asks.post("feedback", raw, content_type=kind)
    assert got.status_code in (200, 207, 400, 422), got.text
    if how == "one" and raw.lstrip()[:1] != b"[":
        assert got.status_code in (400, 422)
        assert got.json()["detail"]
    if got.status_code in (200, 207):
        assert got.json()["stored"] == 0
