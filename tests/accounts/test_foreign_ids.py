"""Ids of another project in a body or a query: refused as if nothing were there, and nothing is written."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.db import connection

from annotation.models import Campaign, Response
from tests.accounts.url_roles import SPAN, World
from tests.training import factories

JSON = "application/json"
LAUNCH = {"recipe": "raft", "base_model": "tiny"}


@pytest.fixture
def world(cast) -> World:
    world = World(cast)
    for project in (cast.project, cast.other_project):
        prompt = Response.objects.filter(project=project)[0].prompt
        made = world.made[project.pk]
        made["responses"] = [str(factories.make_response(prompt, f"Answer {place}.").pk) for place in range(2)]
        made["label"] = str(factories.make_label(project).pk)
        made["campaign"] = str(Campaign.objects.get(project=project).pk)
        made |= {kind: str(made[kind]) for kind in ("response", "prompt", "model", "snapshot")}
        made["work"] = str(next(iter(made["assignment"].values())))
    return world


# what is asked: the path below the project, and the body made from what is here and what is foreign
ASKED = {
    "pair of foreign answers": ("preferences", lambda here, there: {"a": there(0), "b": there(1), "choice": "a"}),
    "pair half foreign": ("preferences", lambda here, there: {"a": here["responses"][0], "b": there(0), "choice": "a"}),
    "mark with a foreign label": (
        "responses/{response}/spans",
        lambda here, there: {**SPAN, "label": there("label")},
    ),
    "mark for foreign work": (
        "responses/{response}/spans",
        lambda here, there: {**SPAN, "assignment": there("work")},
    ),
    "report for foreign work": (
        "responses/{response}/reports",
        lambda here, there: {"reason": "other", "assignment": there("work")},
    ),
    "answer to a foreign prompt": ("responses", lambda here, there: {"prompt": there("prompt"), "text": "Yes."}),
    "run on a foreign model": (
        "runs",
        lambda here, there: {**LAUNCH, "inputs": {"span_reward_model": there("model")}},
    ),
    "run on a foreign campaign": (
        "runs",
        lambda here, there: {**LAUNCH, "recipe": "span_reward_model", "campaigns": [there("campaign")]},
    ),
    "score of a foreign answer": ("models/{model}/score", lambda here, there: {"response": there("response")}),
    "work of a foreign campaign": ("assignments/next?kind=spans&campaign={foreign_campaign}", lambda here, there: {}),
}


def row_counts() -> dict[str, int]:
    counts = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT count(*) FROM "{table}"')
            counts[table] = cursor.fetchone()[0]
    return counts


@pytest.mark.parametrize("what", ASKED)
def test_a_foreign_id_is_like_no_id_and_nothing_is_written(world, what):
    cast = world.cast
    here, foreign = world.made[cast.project.pk], world.made[cast.other_project.pk]
    path, body = ASKED[what]
    client = cast.client(cast.ada)

    def ask(there, campaign):
        address = path.format(**{**here, "foreign_campaign": campaign})
        return client.post(f"/api/v1/projects/lantern/{address}", body(here, there), JSON)

    before = row_counts()
    answers = [
        ask(lambda kind: foreign["responses"][kind] if isinstance(kind, int) else foreign[kind], foreign["campaign"]),
        ask(lambda kind: str(uuid4()), str(uuid4())),
    ]
    assert row_counts() == before
    assert [answer.status_code for answer in answers] in ([404, 404], [422, 422]), [one.text for one in answers]
    assert answers[0].json()["code"] == answers[1].json()["code"]


@pytest.mark.parametrize("filtered", ["label", "author", "response"])
def test_a_filter_by_a_foreign_id_finds_nothing(world, filtered):
    foreign = world.made[world.cast.other_project.pk]
    value = str(world.cast.zoe.pk) if filtered == "author" else foreign[filtered]
    answer = world.cast.client(world.cast.ada).get("/api/v1/projects/lantern/records", {filtered: value})
    assert (answer.status_code, answer.json()["items"]) == (200, [])
