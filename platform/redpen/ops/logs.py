"""Structured logs: one JSON object a line, with the id of the request it belongs to.

Log events, with their ids as fields: `log.info("run.started", extra={"run": str(run.pk)})`. Never people's text, never
secrets, never `locals()`.
"""

import logging
from contextvars import ContextVar

from pythonjsonlogger.json import JsonFormatter as BaseFormatter

request_id: ContextVar[str] = ContextVar("request_id", default="")


class JsonFormatter(BaseFormatter):
    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s %(message)s", rename_fields={"levelname": "level", "name": "logger"})

    def add_fields(self, log_data: dict, record: logging.LogRecord, message_dict: dict) -> None:
        super().add_fields(log_data, record, message_dict)
        log_data["at"] = self.formatTime(record, "%Y-%m-%dT%H:%M:%S%z")
        # Django puts the request object into some records; it would be written out with its whole query string
        log_data.pop("request", None)
        if record.name == "django.request" and record.args:
            log_data["message"] = str(record.args[0])  # not the path, which can hold a token
        log_data.pop("color_message", None)  # uvicorn's, for terminals
        if current := request_id.get():
            log_data["request_id"] = current
