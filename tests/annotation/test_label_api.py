"""What the label page does over HTTP, in one sitting."""

from __future__ import annotations

import pytest

from annotation.actions.people import Author
from annotation.actions.tasks import create_tasks
from annotation.models import Preference, SpanCritique


@pytest.fixture
def ben(desk):
    """Ben's browser, with one answer to mark and one pair to judge."""
    create_tasks(
        author=Author.person(desk.cast.ada),
        campaign=desk.campaign,
        responses=[desk.answer],
        pairs=[tuple(desk.answers)],
    )
    return desk.cast.client(desk.cast.ben)


def post(client, url, body=None, **headers):
    return client.post(url, body or {}, content_type="application/json", headers=headers)


def deal(client, desk, kind="spans"):
    return post(client, desk.api(f"assignments/next?kind={kind}")).json()


def test_an_answer_is_dealt_marked_amended_submitted_and_reopened(ben, desk):
    held = deal(ben, desk)["assignment"]
    assert held["response"]["text"] == desk.answer.text
    label = held["labels"][0]
    start = desk.answer.text.index("1066")
    mark = {"start": start, "end": start + 4, "quote": "1066", "label": label["id"], "assignment": held["id"]}
    url = desk.api(f"responses/{desk.answer.pk}/spans")

    made = post(ben, url, mark, **{"Idempotency-Key": "k1"})
    assert made.status_code == 201, made.content
    again = post(ben, url, mark, **{"Idempotency-Key": "k1"})
    assert (again.status_code, again.json()) == (200, made.json())
    other = post(ben, url, mark | {"severity": 3}, **{"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.other_content")

    lineage = made.json()["lineage"]
    span = desk.api(f"spans/{lineage}")
    amended = ben.patch(span, {"severity": 3, "version": 1}, content_type="application/json")
    assert (amended.json()["version"], amended.json()["severity"]) == (2, 3)
    late = ben.patch(span, {"severity": 1, "version": 1}, content_type="application/json")
    assert (late.status_code, late.json()["code"]) == (409, "record.changed")

    assert ben.delete(span).json()["end_reason"] == "retracted"
    assert ben.delete(span).status_code == 200
    restored = post(ben, span + "/restore").json()
    assert (restored["version"], restored["ended_at"]) == (3, None)

    done = post(ben, desk.api(f"assignments/{held['id']}/submit"), {"verdict": "bad", "deal_next": True}).json()
    assert (done["assignment"]["state"], done["next"]["why"]) == ("submitted", "done")
    closed = ben.patch(span, {"severity": 1}, content_type="application/json")
    assert (closed.status_code, closed.json()["code"]) == (409, "assignment.closed")

    opened = post(ben, desk.api(f"assignments/{held['id']}/reopen")).json()["assignment"]
    assert (opened["state"], opened["verdict"], [s["lineage"] for s in opened["spans"]]) == ("held", "bad", [lineage])
    assert SpanCritique.objects.filter(lineage=lineage).count() == 3


def test_a_pair_is_judged_by_sides_and_stored_by_answers(ben, desk):
    held = deal(ben, desk, "pair")["assignment"]
    assert {held["left"]["id"], held["right"]["id"]} == {str(one.pk) for one in desk.answers}
    assert "writer-1" not in str(held)
    chosen = {"preference": {"choice": "left", "strength": 3}}
    nothing = post(ben, desk.api(f"assignments/{held['id']}/submit"))
    assert (nothing.status_code, nothing.json()["code"]) == (422, "assignment.nothing_chosen")
    done = post(ben, desk.api(f"assignments/{held['id']}/submit"), chosen)
    assert done.status_code == 200, done.content
    stored = Preference.objects.get()
    winner = stored.response_a_id if stored.choice == "a" else stored.response_b_id
    assert str(winner) == held["left"]["id"]
    assert stored.shown_first == stored.choice
    assert done.json()["assignment"]["preference"]["choice"] == "left"


def test_the_page_costs_few_queries_however_much_is_marked(ben, desk, django_assert_max_num_queries):
    deal(ben, desk)
    with django_assert_max_num_queries(26):
        held = deal(ben, desk)["assignment"]
    url = desk.api(f"responses/{desk.answer.pk}/spans")
    for number in range(12):
        mark = {"start": number, "end": number + 1, "quote": desk.answer.text[number], "sentiment": -1}
        post(ben, url, {**mark, "assignment": held["id"]})
    with django_assert_max_num_queries(26):
        assert len(deal(ben, desk)["assignment"]["spans"]) == 12
    with django_assert_max_num_queries(14):
        post(ben, url, {**mark, "assignment": held["id"]}, **{"Idempotency-Key": "last"})


def test_what_is_refused_says_where_and_why(ben, desk):
    url = desk.api(f"responses/{desk.answer.pk}/spans")
    mark = {"start": 4, "end": 8, "quote": "lump", "sentiment": -1}
    wrong = post(ben, url, mark)
    assert (wrong.status_code, wrong["Content-Type"]) == (422, "application/problem+json")
    assert wrong.json()["code"] == "span.quote_mismatch"
    assert wrong.json()["data"] == {"start": 4, "end": 8, "expected": "lump", "found": "lamp"}
    for change, pointer in [
        ({"end": "x"}, "/end"),
        ({"colour": 1}, "/colour"),
        ({"quote": "lamp", "severity": 9}, "/severity"),
        ({"quote": "lamp", "critique": "a\0b"}, "/critique"),
        ({"quote": "lamp", "label": "00000000-0000-0000-0000-000000000000"}, "/label"),
        ({"end": 4000}, "/end"),
    ]:
        refused = post(ben, url, mark | change)
        assert (refused.status_code, refused.json()["problems"][0]["pointer"]) == (422, pointer), refused.json()


def test_others_marks_and_work_are_not_shown(ben, desk):
    mia = desk.cast.client(desk.cast.mia)
    url = desk.api(f"responses/{desk.answer.pk}/spans")
    made = post(mia, url, {"start": 4, "end": 8, "quote": "lamp", "sentiment": -1}).json()
    assert ben.get(url).json()["items"] == []
    assert [one["mine"] for one in mia.get(url).json()["items"]] == [True]
    assert ben.patch(desk.api(f"spans/{made['lineage']}"), {}, content_type="application/json").status_code == 404
    held = deal(mia, desk)["assignment"]
    assert ben.get(desk.api(f"assignments/{held['id']}")).status_code == 404
    zoe = desk.cast.client(desk.cast.zoe)
    assert zoe.get(url).status_code == 404
    assert desk.cast.client().get(url).status_code == 401


def test_a_draft_is_kept_over_a_reload(ben, desk):
    held = deal(ben, desk)["assignment"]
    draft = {"words": "half a sent", "caret": 12}
    url = desk.api(f"assignments/{held['id']}/draft")
    assert ben.put(url, draft, content_type="application/json").json() == {"draft": draft}
    assert deal(ben, desk)["assignment"]["draft"] == draft
    assert ben.put(url, {"a": "x" * 70_000}, content_type="application/json").status_code == 413


def test_records_prompts_and_answers_over_http(ben, desk):
    dev = desk.cast.client(desk.cast.dev)
    made = post(dev, desk.api("prompts"), {"messages": [{"role": "user", "content": "New?"}], "external_id": "p"})
    assert (made.status_code, made.json()["split"] in ("train", "dev", "test")) == (201, True)
    answer = {"prompt": made.json()["id"], "text": "New 👩‍🚀.", "model": "m", "external_id": "r"}
    for status in (201, 200):
        assert post(dev, desk.api("responses"), answer).status_code == status
    first = dev.get(desk.api("responses"), {"limit": 2}).json()
    assert first["items"][0]["text"] == "New 👩‍🚀."
    rest = dev.get(desk.api("responses"), {"limit": 2, "cursor": first["next"]}).json()
    assert (len(rest["items"]), rest["next"]) == (1, None)
    post(ben, desk.api(f"responses/{desk.answer.pk}/spans"), {"start": 4, "end": 8, "quote": "lamp", "sentiment": -1})
    records = dev.get(desk.api("records"), {"kind": "span"}).json()
    assert [(one["quote"], one["counts"]) for one in records["items"]] == [("lamp", True)]
    history = dev.get(desk.api(f"records/{records['items'][0]['lineage']}")).json()
    assert len(history["versions"]) == 1
    assert dev.get(desk.api("tasks")).json() == {"tasks": {"spans": {"open": 1}, "pair": {"open": 1}}, "unread": 1}


def test_whole_answers_are_judged_and_judgements_taken_back(ben, desk):
    made = {}
    for path, body, shown in [
        ("critiques", {"text": "Too short.", "verdict": "bad"}, {"type": "critique", "text": "Too short."}),
        ("ratings", {"dimension": "truth", "value": 0.5}, {"type": "rating", "value": 0.5}),
        ("rewrites", {"text": "Better."}, {"type": "rewrite", "response": str(desk.answer.pk)}),
        ("reports", {"reason": "offensive"}, {"type": "report"}),
    ]:
        url = desk.api(f"responses/{desk.answer.pk}/{path}")
        for status in (201, 200):
            answer = post(ben, url, body, **{"Idempotency-Key": path})
            assert answer.status_code == status, answer.json()
        assert shown.items() <= answer.json().items()
        made[path] = answer.json()["lineage"]
    gone = ben.delete(desk.api(f"records/{made['ratings']}")).json()
    assert (gone["end_reason"], gone["counts"]) == ("retracted", False)
    mia = desk.cast.client(desk.cast.mia)
    assert mia.delete(desk.api(f"records/{made['critiques']}")).status_code == 404
    assert (
        post(ben, desk.api(f"responses/{desk.answer.pk}/ratings"), {"dimension": "x", "value": "inf"}).status_code
        == 422
    )
