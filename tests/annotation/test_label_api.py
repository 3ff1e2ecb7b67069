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
