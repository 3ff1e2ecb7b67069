"""The small cast that all tests know.

Ada is admin, Mia reviews, Ben annotates, Dev develops, Vic views: all members of "Lantern". Zoe is a stranger, the
admin of "Quarry", a project of her own. `cast` is a fixture; `make_cast()` is for tests with their own transactions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # conftest imports this module before Django is set up
    from django.test import Client

    from redpen.accounts.models import Project, User

PASSWORD = "a long enough password"


@dataclass
class Cast:
    project: Project
    other_project: Project
    ada: User
    mia: User
    ben: User
    dev: User
    vic: User
    zoe: User

    def with_role(self, role: str) -> User | None:
        """The member with `role`; "stranger" is Zoe, "anonymous" nobody."""
        people = {"admin": self.ada, "reviewer": self.mia, "annotator": self.ben, "developer": self.dev}
        return {**people, "viewer": self.vic, "stranger": self.zoe, "anonymous": None}[role]

    def client(self, person: User | None = None, **options) -> Client:
        """A browser in which `person` is signed in."""
        from django.test import Client

        client = Client(**options)
        if person is not None:
            client.force_login(person)
        return client


def make_user(name: str, **fields) -> User:
    """A person whose address is made from the name and whose password is PASSWORD."""
    from redpen.accounts.models import User

    return User.objects.create_user(f"{name.lower()}@example.org", PASSWORD, name=name, **fields)


def make_project(slug: str, name: str = "", *, admin: User | None = None) -> Project:
    """A bare project: no default labels, no audit line. Tests of those call the action `create_project`."""
    from redpen.accounts.models import Project

    project = Project.objects.create(name=name or slug.capitalize(), slug=slug)
    if admin is not None:
        join(project, admin, "admin")
    return project


def join(project: Project, user: User, role: str) -> None:
    from redpen.accounts.models import Membership

    Membership.objects.create(project=project, user=user, role=role)


def make_cast() -> Cast:
    names = {"ada": "admin", "mia": "reviewer", "ben": "annotator", "dev": "developer", "vic": "viewer"}
    people = {name: make_user(name.capitalize()) for name in [*names, "zoe"]}
    project = make_project("lantern")
    for name, role in names.items():
        join(project, people[name], role)
    return Cast(project=project, other_project=make_project("quarry", admin=people["zoe"]), **people)


@pytest.fixture
def cast(db) -> Cast:
    return make_cast()
