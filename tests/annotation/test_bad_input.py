"""What a program may send by mistake or in malice: it is told what is wrong, and nothing breaks."""

from __future__ import annotations

import pytest

JSON = "application/json"


@pytest.fixture
def dev(desk):
    return desk.cast.client(desk.cast.dev)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("[" * 20_000 + "]" * 20_000, "nested more than 100 levels"),
        ('{"messages": ' + "[" * 101 + "]" * 101 + "}", "nested more than 100 levels"),
        ('{"metadata": ' + '{"a":' * 500 + "1" + "}" * 500 + "}", "nested more than 100 levels"),
        ('{"metadata": {"a": 1e999}}', " 1e999 is too large"),
        ('{"metadata": {"a": -1e999}}', "-1e999 is too large"),
        ('{"metadata": {"a": NaN}}', "NaN is no number of JSON"),
        ('{"metadata": {"a": %s}}' % ("1" * 5000), "more than 4300 digits"),
        (b'{"metadata": "\xff"}', "byte 15 is not UTF-8"),
        ("{", "Expecting property name"),
    ],
)
def test_a_body_that_cannot_be_read_is_a_400_that_says_why(dev, desk, body, words):
    answer = dev.post(desk.api("prompts"), body, content_type=JSON)
    assert (answer.status_code, answer.json()["code"]) == (400, "request.not_readable")
    assert words in answer.json()["detail"]


def test_wide_bodies_are_not_deep_ones(dev, desk):
    body = {"messages": [{"role": "user", "content": "Many?"}], "metadata": {"a": [[] for _ in range(300)]}}
    assert dev.post(desk.api("prompts"), body, content_type=JSON).status_code == 201


@pytest.mark.parametrize("change", ['"\\udc00": 1', '"origin": "a\\ud800"', '"text": "a\\ud800"', '"text": "a\\u0000"'])
def test_half_of_a_surrogate_pair_can_be_quoted_in_a_refusal(dev, desk, change):
    body = f'{{"prompt": "{desk.answer.prompt_id}", "text": "x", {change}}}'
    answer = dev.post(desk.api("responses"), body, content_type=JSON)
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")


def test_a_quote_with_half_of_a_surrogate_pair_does_not_match(desk):
    ben = desk.cast.client(desk.cast.ben)
    body = '{"start": 4, "end": 8, "quote": "la\\ud800p", "sentiment": -1}'
    answer = ben.post(desk.api(f"responses/{desk.answer.pk}/spans"), body, content_type=JSON)
    assert (answer.status_code, answer.json()["code"]) == (422, "span.quote_mismatch")


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"turn": 2**31}, "/turn"),
        ({"turn": -1}, "/turn"),
        ({"sampling": [1]}, "/sampling"),
        ({"sampling": 5}, "/sampling"),
    ],
)
def test_values_that_no_column_holds_are_refused_by_name(dev, desk, change, pointer):
    body = {"prompt": str(desk.answer.prompt_id), "text": "x", **change}
    answer = dev.post(desk.api("responses"), body, content_type=JSON)
    assert (answer.status_code, answer.json()["problems"][0]["pointer"]) == (422, pointer)


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity"])
def test_a_rating_is_a_finite_number(desk, value):
    ben = desk.cast.client(desk.cast.ben)
    body = {"dimension": "quality", "value": value}
    answer = ben.post(desk.api(f"responses/{desk.answer.pk}/ratings"), body, content_type=JSON)
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "address", ["responses?model=%00", "records?text=a%00", "audit?action=%00", "members?cursor=%00"]
)
def test_a_nul_in_the_address_is_a_400(desk, address):
    answer = desk.cast.client(desk.cast.ada).get(desk.api(address))
    assert (answer.status_code, answer.json()["code"]) == (400, "request.not_readable")


@pytest.mark.parametrize("address", ["/invite/a%00b/", "/p/x/data/?text=%00"])
def test_a_nul_in_a_pages_address_is_a_page_that_says_so(desk, address):
    answer = desk.cast.client(desk.cast.ada).get(address)
    assert answer.status_code == 400
    assert "has a NUL" in answer.text


@pytest.mark.parametrize(
    ("address", "known"),
    [
        ("records?type=span", "kind"),
        ("prompts?q=x", "cursor"),
        ("responses?text=x", "model"),
        ("runs?state=failed", "cursor"),
        ("members?role=admin", "cursor"),
        ("audit?kind=x", "action"),
        ("export?kind=span", "type"),
    ],
)
def test_a_filter_that_there_is_not_is_refused_and_not_left_out_in_silence(desk, address, known):
    answer = desk.cast.client(desk.cast.ada).get(desk.api(address))
    assert answer.status_code == 422
    assert "There is no filter" in answer.json()["detail"]
    assert known in answer.json()["detail"]


def test_the_trails_filter_by_person_wants_an_id(desk):
    answer = desk.cast.client(desk.cast.ada).get(desk.api("audit?actor=ben"))
    assert (answer.status_code, answer.json()["problems"][0]["pointer"]) == (422, "/actor")


def test_an_answer_sent_twice_under_a_key_is_one_and_another_under_it_is_refused(dev, desk):
    from annotation.models import Response

    before = Response.objects.count()
    body = {"prompt": str(desk.answer.prompt_id), "text": "Once."}
    key = {"Idempotency-Key": "k-1"}
    first, again = (dev.post(desk.api("responses"), body, content_type=JSON, headers=key) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["id"] == again.json()["id"]
    other = dev.post(desk.api("responses"), body | {"text": "Twice."}, content_type=JSON, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.other_content")
    assert Response.objects.count() == before + 1


def test_a_prompt_under_a_key_is_that_prompt(dev, desk):
    key = {"Idempotency-Key": "k-2"}
    body = {"messages": [{"role": "user", "content": "Who?"}]}
    assert dev.post(desk.api("prompts"), body, content_type=JSON, headers=key).status_code == 201
    assert dev.post(desk.api("prompts"), body, content_type=JSON, headers=key).status_code == 200
    body = {"messages": [{"role": "user", "content": "Who else?"}]}
    other = dev.post(desk.api("prompts"), body, content_type=JSON, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency.other_content")
