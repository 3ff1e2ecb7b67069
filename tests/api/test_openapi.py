"""The schema is complete, true to the code, and readable as a page."""

from __future__ import annotations

import json

import jsonschema
import pytest
from django.test import Client
from drf_spectacular.generators import SchemaGenerator

from annotation.api import feedback_shapes, schema, schema_examples
from annotation.intake.shapes import ReactionIn, ResponseIn


@pytest.fixture(scope="module")
def openapi():
    return SchemaGenerator().get_schema(request=None, public=True)


def operations(openapi):
    for path, methods in openapi["paths"].items():
        for method, told in methods.items():
            yield path, method, told


def test_it_is_openapi_3_1_and_served_to_anybody(openapi, db):
    assert openapi["openapi"] == "3.1.0"
    got = Client().get("/api/v1/schema/", {"format": "json"})
    assert got.status_code == 200
    assert json.loads(got.content)["paths"].keys() == openapi["paths"].keys()


def test_the_hot_path_is_in_it(openapi):
    for path, method in [
        ("/api/v1/responses", "post"),
        ("/api/v1/reactions", "post"),
        ("/api/v1/reactions/{name}", "delete"),
        ("/api/v1/feedback", "post"),
    ]:
        assert "Result" in str(openapi["paths"][path][method]) or method == "delete"
        assert "get" in openapi["paths"][path] or path.endswith(("feedback", "{name}"))
    fields = set(openapi["components"]["schemas"]["ResponseIn"]["properties"])
    assert fields == set(ResponseIn.__struct_fields__)
    assert set(openapi["components"]["schemas"]["ReactionIn"]["properties"]) == set(ReactionIn.__struct_fields__)
    assert len(openapi["components"]["schemas"]["AnyFeedback"]["anyOf"]) == len(feedback_shapes.TYPES)


def test_every_operation_says_who_may_what_it_is_and_how_it_fails(openapi):
    for path, method, told in operations(openapi):
        where = f"{method} {path}"
        assert told["summary"], where
        assert set(told["tags"]) <= set(schema.TAGS), where
        assert told["security"], where
        assert "stand behind the" not in told.get("description", ""), where
        errors = {code: one for code, one in told["responses"].items() if code >= "400"}
        assert {"401", "403", "422", "503"} <= set(errors), where
        for code, one in errors.items():
            assert list(one["content"]) == ["application/problem+json"], f"{where} {code}"
        assert [code for code in told["responses"] if code < "400"], where


def test_nothing_in_it_points_nowhere_and_ids_are_unique(openapi):
    text = json.dumps(openapi, default=str)
    for name in {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}:
        assert name in openapi["components"]["schemas"], name
    ids = [told["operationId"] for _, _, told in operations(openapi)]
    assert len(ids) == len(set(ids))


EXAMPLES = {
    "ResponseIn": [schema_examples.RESPONSE],
    "ReactionIn": [schema_examples.REACTION, schema_examples.SPAN],
    "AnyFeedback": list(schema_examples.FEEDBACK.values()),
    "Result": [schema_examples.STORED],
    "BatchResult": [schema_examples.BATCH],
    "Problem": [schema_examples.PROBLEM],
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_what_they_show(name, openapi):
    whole = {"$ref": f"#/components/schemas/{name}", "components": openapi["components"]}
    for example in EXAMPLES[name]:
        jsonschema.Draft202012Validator(whole).validate(example)


def test_the_examples_of_feedback_are_taken(desk):
    from tests.annotation.keyed import asking, make_answer

    said = schema_examples.RESPONSE
    make_answer(desk.cast.project, said["text"], external_id=said["id"])
    got = asking(desk.cast.project).post("feedback", list(schema_examples.FEEDBACK.values()))
    assert got.json()["stored"] == len(schema_examples.FEEDBACK), got.text
    for span in schema_examples.SPAN["spans"]:
        assert said["text"][span["start"] : span["end"]] == span["quote"]


def test_the_page_shows_every_operation_to_anybody(openapi, db):
    got = Client().get("/api/docs")
    assert got.status_code == 200
    page = got.text
    for path, _, told in operations(openapi):
        assert path in page
        if told["tags"] != ["session"]:
            assert f'id="{told["operationId"]}"' in page
    assert "<script>" not in page
    assert "style=" not in page
    assert "unsafe" not in got["Content-Security-Policy"]
