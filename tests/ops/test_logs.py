"""Logs: JSON lines that say what happened, and never what people wrote."""

import json
import logging

import pytest

from redpen.ops.logs import JsonFormatter, request_id


def line(record: logging.LogRecord) -> dict:
    return json.loads(JsonFormatter().format(record))


def record(message: str, **fields) -> logging.LogRecord:
    made = logging.LogRecord("redpen.request", logging.INFO, __file__, 1, message, (), None)
    made.__dict__.update(fields)
    return made


def test_a_line_is_json_with_its_fields_and_the_request_it_belongs_to():
    token = request_id.set("abc12345")
    try:
        written = line(record("run.started", run="17"))
    finally:
        request_id.reset(token)
    assert written["message"] == "run.started"
    assert written["run"] == "17"
    assert written["request_id"] == "abc12345"
    assert written["level"] == "INFO"
    assert written["at"].endswith("+0000")


def test_a_line_break_in_a_message_stays_one_line():
    assert "\n" not in JsonFormatter().format(record("first\nsecond"))


def test_djangos_request_object_is_not_written_out():
    assert "request" not in line(record("Not Found", request="GET /?q=what+someone+wrote"))


@pytest.mark.django_db
def test_a_request_is_logged_by_its_route_without_path_or_query(client, caplog):
    with caplog.at_level(logging.INFO, logger="redpen.request"):
        client.get("/p/some-project/?q=what+someone+wrote")
        client.get("/what-someone-wrote")
    for written in caplog.records:
        assert "wrote" not in JsonFormatter().format(written)
    routes = [written.route for written in caplog.records if written.name == "redpen.request"]
    assert "p/<slug:slug>/" in routes or any(route and route.startswith("p/<") for route in routes)
    assert None in routes
