"""The API of keys: what a program with a session sees."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from redpen.accounts.actions.keys import create_key
from redpen.accounts.keys import find
from redpen.accounts.models import ApiKey

KEYS = "/api/v1/projects/lantern/keys"
JSON = "application/json"
SHOP = {"name": "shop", "scopes": ["responses.write"]}


@pytest.fixture
def dev(cast):
    return cast.client(cast.dev)


def test_the_token_is_in_the_answer_that_makes_it_and_in_no_other(dev, cast):
    made = dev.post(KEYS, {**SHOP, "expires_at": "2099-01-01T00:00:00Z"}, JSON)
    token = made.json()["token"]
    assert (made.status_code, made["Cache-Control"]) == (201, "no-store")
    assert find(token) is not None
    secret = token.rpartition("_")[2]
    address = f"{KEYS}/{made.json()['id']}"
    for answer in (dev.get(KEYS), dev.get(address), dev.get("/api/v1/projects/lantern/audit")):
        assert secret not in answer.text
    one = dev.get(address).json()
    assert one == {key: value for key, value in made.json().items() if key != "token"}
    assert one["prefix"] == token.rpartition("_")[0]
    assert (one["state"], one["expires_at"], one["last_used_at"]) == ("works", "2099-01-01T00:00:00Z", None)


def test_a_key_is_rotated_and_revoked_by_its_address(dev):
    old = dev.post(KEYS, SHOP, JSON).json()
    new = dev.post(f"{KEYS}/{old['id']}/rotate", {"overlap_hours": 1}, JSON)
    assert new.status_code == 201
    assert find(old["token"])
    assert find(new.json()["token"])
    assert dev.get(f"{KEYS}/{old['id']}").json()["rotated_to"] == new.json()["id"]
    assert dev.post(f"{KEYS}/{old['id']}/rotate", {}, JSON).json()["code"] == "key.rotated"
    for _ in range(2):
        assert dev.delete(f"{KEYS}/{old['id']}").status_code == 204
    assert find(old["token"]) is None
    assert find(new.json()["token"])
    assert [item["id"] for item in dev.get(f"{KEYS}?state=usable").json()["items"]] == [new.json()["id"]]
    assert [item["id"] for item in dev.get(f"{KEYS}?state=ended").json()["items"]] == [old["id"]]


def test_keys_page_by_cursor_the_newest_first(dev, cast):
    for number in range(52):
        create_key(project=cast.project, actor=cast.dev, name=f"key {number}", scopes=["read"])
    first = dev.get(KEYS).json()
    second = dev.get(KEYS, {"cursor": first["next"]}).json()
    names = [item["name"] for item in first["items"] + second["items"]]
    assert names == [f"key {number}" for number in reversed(range(52))]
    assert second["next"] is None


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/name"),
        ({**SHOP, "name": "a\x00"}, "/name"),
        ({**SHOP, "secret": "x"}, "/secret"),
        ({**SHOP, "scopes": "read"}, "/scopes"),
        ({**SHOP, "scopes": ["all"]}, "/scopes/0"),
        ({**SHOP, "scopes": [{}]}, "/scopes/0"),
        ({**SHOP, "per_minute": 10**30}, "/per_minute"),
        ({**SHOP, "expires_at": "soon"}, "/expires_at"),
        ({**SHOP, "expires_at": "9999-12-31T23:59:59-14:00"}, "/expires_at"),
        ({**SHOP, "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"name": "page", "public": True, "origins": ["https://shop.example/chat"]}, "/origins/0"),
        ({"name": "page", "public": True, "origins": ["https://shop.example\x00"]}, "/origins/0"),
    ],
)
def test_what_is_wrong_is_named(dev, body, pointer):
    answer = dev.post(KEYS, body, JSON)
    assert (answer.status_code, answer["Content-Type"]) == (422, "application/problem+json")
    assert [problem["pointer"] for problem in answer.json()["problems"]] == [pointer]
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("query", ["?state=gone", "?kind=x", "?cursor=%00"])
def test_a_filter_that_there_is_not_is_refused(dev, query):
    assert dev.get(KEYS + query).status_code in (400, 422)


@pytest.mark.parametrize("hours", [-1, 10**30, "a day", None, [1]])
def test_an_overlap_is_a_number_of_hours(dev, hours):
    key = dev.post(KEYS, SHOP, JSON).json()
    answer = dev.post(f"{KEYS}/{key['id']}/rotate", {"overlap_hours": hours}, JSON)
    assert (answer.status_code, answer.json()["problems"][0]["pointer"]) == (422, "/overlap_hours")


def test_a_list_of_twenty_asks_as_much_as_a_list_of_one(dev, cast):
    counts = []
    for size in (1, 20):
        while ApiKey.objects.count() < size:
            create_key(project=cast.project, actor=cast.dev, name="key", scopes=["read"])
        with CaptureQueriesContext(connection) as queries:
            dev.get(KEYS)
        counts.append(len(queries))
    assert counts[0] == counts[1]
