"""Every URL x method x role x own or foreign project, walked from the URL conf and held against url_roles.URLS."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import transaction
from django.http import HttpResponse
from django.urls import URLPattern, get_resolver, reverse

from tests.accounts.url_roles import METHODS, URLS, Row, World

ROLES = ("admin", "reviewer", "annotator", "developer", "viewer", "stranger", "anonymous")
asked: Counter[str] = Counter()  # how many requests of which sort, for the size that the last test prints


@dataclass(frozen=True)
class Url:
    name: str
    route: str

    @property
    def keywords(self) -> list[str]:
        return re.findall(r"<(?:\w+:)?(\w+)>", self.route)

    @property
    def is_api(self) -> bool:
        return self.route.startswith("api/")


def walk(resolver=None, route: str = "", namespace: str = "") -> Iterator[Url]:
    for pattern in (resolver or get_resolver()).url_patterns:
        whole = route + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield Url(f"{namespace}{pattern.name or ''}", whole)
        else:
            yield from walk(pattern, whole, f"{namespace}{pattern.namespace}:" if pattern.namespace else namespace)


ALL = list(walk())
OURS = [url for url in ALL if not url.name.startswith("admin:")]
SUPPORT = [url for url in ALL if url.name.startswith("admin:")]


def test_every_url_has_a_row():
    unnamed = [url.route for url in OURS if not url.name]
    assert not unnamed, f"These routes have no name: {unnamed}. Give each `path(...)` a name=."
    missing = [f'    "{url.name}": project(GET=...),  # {url.route}' for url in OURS if url.name not in URLS]
    assert not missing, "Say in tests/accounts/url_roles.py who may use these URLs:\n" + "\n".join(missing)


def test_every_row_has_a_url():
    stale = set(URLS) - {url.name for url in OURS} - {"admin:*"}
    assert not stale, f"tests/accounts/url_roles.py has rows for URLs that are gone: {sorted(stale)}"


def test_every_name_is_used_once():
    twice = [name for name, count in Counter(url.name for url in OURS).items() if count > 1]
    assert not twice


@pytest.fixture
def world(cast) -> World:
    return World(cast)


class Asking:
    """Sends requests as each of the cast, and takes back what they did."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.people = {role: world.cast.with_role(role) for role in ROLES}
        self.clients = {role: world.cast.client(person) for role, person in self.people.items()}

    def url(self, url: Url, row: Row, role: str, *, slug: str, objects_of) -> str:
        person = self.people[role]
        given = {name: self.world.value(kind, objects_of, person) for name, kind in row.objects.items()}
        if "slug" in url.keywords:
            given["slug"] = slug
        missing = set(url.keywords) - set(given)
        assert not missing, f"Say in url_roles.py what {sorted(missing)} of {url.name} stands for, as in pk='response'."
        return reverse(url.name, kwargs=given)

    def __call__(self, role: str, method: str, path: str, sort: str, body: dict | None = None, **sent) -> HttpResponse:
        asked[sort] += 1
        client = self.clients[role]
        for left_over in set(client.cookies) - {settings.SESSION_COOKIE_NAME}:
            del client.cookies[left_over]
        with transaction.atomic():
            if "/api/" in path and method != "GET":
                sent["content_type"] = "application/json"
            response = getattr(client, method.lower())(path, body or {}, **sent)
            if response.streaming:
                b"".join(response.streaming_content)
            transaction.set_rollback(True)
        assert response.status_code < 500, f"{method} {path} as {role}: {response.status_code}"
        return response


@pytest.fixture
def ask(world) -> Asking:
    return Asking(world)


def is_refused_for_want_of_a_session(response: HttpResponse, url: Url) -> bool:
    if url.is_api:
        return response.status_code == 401
    return response.status_code == 302 and response.url.startswith("/sign-in/")


@pytest.mark.parametrize("url", [url for url in OURS if url.name in URLS], ids=lambda url: url.name)
def test_a_url_gives_each_role_what_the_table_says(url, ask):
    row = URLS[url.name]
    check = {"project": check_project, "person": check_person, "anybody": check_anybody}[row.scope]
    check(url, row, ask)


def check_project(url: Url, row: Row, ask: Asking) -> None:
    cast = ask.world.cast
    here, there = cast.project, cast.other_project
    has_objects = any(not kind.startswith("=") for kind in row.objects.values())
    for method in METHODS:
        cell = row.methods.get(method)
        for role in ROLES:
            body = cell and cell.body
            own = ask(role, method, ask.url(url, row, role, slug=here.slug, objects_of=here), "own project", body)
            where = f"{method} {url.name} as {role}"
            if cell is None:
                refused = is_refused_for_want_of_a_session(own, url)
                assert own.status_code in (403, 404, 405) or refused, f"{where}: {own.status_code}, expected 405"
                continue
            if role == "anonymous":
                assert is_refused_for_want_of_a_session(own, url), f"{where}: {own.status_code}"
            elif role == "stranger":
                assert own.status_code == 404, f"{where}: {own.status_code}, expected 404"
            elif role in cell.roles:
                assert own.status_code in cell.statuses, f"{where}: {own.status_code}, expected {cell.statuses}"
                assert not is_refused_for_want_of_a_session(own, url), where
            else:
                assert own.status_code == 403, f"{where}: {own.status_code}, expected 403"
            if role != "stranger":
                check_foreign(url, row, ask, method, role)
            if has_objects and role in cell.roles:
                path = ask.url(url, row, role, slug=here.slug, objects_of=there)
                foreign = ask(role, method, path, "foreign object", body)
                assert foreign.status_code == 404, f"{where} with another project's object: {foreign.status_code}"


def check_foreign(url: Url, row: Row, ask: Asking, method: str, role: str) -> None:
    """Another project looks as if there were none."""
    there = ask.world.cast.other_project
    foreign = ask(role, method, ask.url(url, row, role, slug=there.slug, objects_of=there), "foreign project")
    nowhere = ask(role, method, ask.url(url, row, role, slug="nowhere", objects_of=there), "no project")
    if role == "anonymous":
        assert is_refused_for_want_of_a_session(foreign, url)
    else:
        assert foreign.status_code == 404, f"{method} {url.name} as {role} in a foreign project: {foreign.status_code}"
    assert nowhere.status_code == foreign.status_code
    assert plain(nowhere, "nowhere") == plain(foreign, there.slug), f"{method} {url.name} tells that a project is there"


def plain(response: HttpResponse, slug: str) -> str:
    """The body without what differs in any two answers: tokens, and the name that was asked for."""
    body = re.sub(r'"X-CSRFToken": "[^"]+"|name="csrfmiddlewaretoken" value="[^"]+"', "", response.text)
    return body.replace(slug, "SLUG")


def check_person(url: Url, row: Row, ask: Asking) -> None:
    for method in METHODS:
        cell = row.methods.get(method)
        for role in ROLES:
            path = ask.url(url, row, role, slug="", objects_of=ask.world.cast.project)
            response = ask(role, method, path, "no project's")
            where = f"{method} {url.name} as {role}: {response.status_code}"
            if cell is None:
                assert response.status_code == 405 or is_refused_for_want_of_a_session(response, url), where
            elif role == "anonymous":
                assert is_refused_for_want_of_a_session(response, url), where
            else:
                assert response.status_code in cell.statuses, where


def check_anybody(url: Url, row: Row, ask: Asking) -> None:
    for method in METHODS:
        cell = row.methods.get(method)
        for role in ROLES:
            path = ask.url(url, row, role, slug="", objects_of=ask.world.cast.project)
            response = ask(role, method, path, "no project's")
            where = f"{method} {url.name} as {role}: {response.status_code}"
            if cell is None:
                assert response.status_code == 405, where
            else:
                assert response.status_code in cell.statuses, where


def test_nothing_of_the_support_site_is_for_others_than_staff(ask):
    for url in SUPPORT:
        if not url.name.removeprefix("admin:"):
            path = "/support/anything/"
        else:
            values = {"app_label": "accounts", "content_type_id": "1", "url": "x"}
            try:
                path = reverse(url.name, kwargs={name: values.get(name, str(uuid4())) for name in url.keywords})
            except Exception:  # a regular expression: its own example
                path = reverse(url.name, args=["accounts"])
        for method, roles in (("GET", ROLES), ("POST", ("admin", "anonymous"))):
            for role in roles:
                response = ask(role, method, path, "support site", headers={"Accept": "application/json"})
                if role == "anonymous":
                    sent_away = response.status_code == 302 and response.url.startswith("/sign-in/")
                    assert sent_away or response.status_code == 401, f"{method} {path}: {response.status_code}"
                else:
                    assert response.status_code == 403, f"{method} {path} as {role}: {response.status_code}"


def test_the_size_of_the_matrix(capsys):
    """Last in this file: says how much was asked."""
    total = sum(asked.values())
    sorts = ", ".join(f"{count} {sort}" for sort, count in sorted(asked.items()))
    cells = sum(len(row.methods) for row in URLS.values())
    with capsys.disabled():
        print(  # noqa: T201
            f"\nURL matrix: {len(OURS)} URLs, {cells} URL x method; {len(SUPPORT)} URLs more of the support site; "
            f"{len(ROLES)} roles, {total} requests: {sorts}"
        )
