import json
import logging

from redpen.ops.logs import JsonFormatter


def test_a_fault_is_logged_without_the_path_which_can_hold_a_token():
    record = logging.LogRecord(
        "django.request", logging.ERROR, __file__, 1, "%s: %s", ("Internal Server Error", "/invite/secret-token/"), None
    )
    line = json.loads(JsonFormatter().format(record))
    assert line["message"] == "Internal Server Error"
    assert "secret-token" not in json.dumps(line)
