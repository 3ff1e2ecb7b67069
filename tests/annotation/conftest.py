"""What tests of records start from: a furnished project with a prompt and two answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.cast import Cast

if TYPE_CHECKING:
    from annotation.models import Campaign, Prompt, Response

TEXT = "The lamp 👩‍🚀 shines at night. مرحبا بك. It was built in 1066, by a king."


@dataclass
class Desk:
    """A project with something to read. `answers` answer `prompt`; `campaign` asks about nothing yet."""

    cast: Cast
    campaign: Campaign
    prompt: Prompt
    answers: list[Response] = field(default_factory=list)

    @property
    def answer(self) -> Response:
        return self.answers[0]

    def api(self, path: str) -> str:
        return f"/api/v1/projects/{self.cast.project.slug}/{path}"


def make_desk(cast: Cast, texts: tuple[str, ...] = (TEXT, "Nobody knows.")) -> Desk:
    from annotation.actions.campaigns import furnish
    from annotation.actions.people import Author
    from annotation.actions.prompts import NewPrompt, NewResponse, add_prompt, add_responses

    ada = Author.person(cast.ada)
    campaign = furnish(project=cast.project, actor=cast.ada)
    prompt, _ = add_prompt(
        author=ada,
        project=cast.project,
        new=NewPrompt(messages=[{"role": "user", "content": "Who built the lighthouse?"}]),
    )
    answers, _ = add_responses(
        author=ada,
        project=cast.project,
        new=[NewResponse(prompt=prompt, text=text, model="writer-1") for text in texts],
    )
    return Desk(cast=cast, campaign=campaign, prompt=prompt, answers=answers)


@pytest.fixture
def desk(cast) -> Desk:
    return make_desk(cast)


@pytest.fixture(scope="module")
def server(django_db_setup):
    """The real server, in a thread."""
    from tests.browser.harness import LiveServer

    live = LiveServer()
    yield live
    live.stop()


@pytest.fixture
def shop(server, transactional_db):
    """A product with a key of its own for a furnished project."""
    from tests.annotation.shop import Shop
    from tests.cast import make_cast

    return Shop(server.url(""), make_desk(make_cast()).cast.project)
