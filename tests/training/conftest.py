"""Projects with something to learn from, and a child that needs no torch."""

import sys
from pathlib import Path

import pytest
from django.db import connection

from tests.cast import make_cast
from tests.training.factories import (
    make_assignment,
    make_base,
    make_campaign,
    make_label,
    make_prompt,
    make_response,
    mark,
)
from training.runs import worker


def fill(cast):
    """Six prompts with an answer each: five marked, one found clean."""
    make_base()
    make_campaign(cast.project)
    for number, split in enumerate(["train", "train", "train", "train", "dev", "test"]):
        response = make_response(make_prompt(cast.project, split=split), "Ten years, you fool. Ask Ann.")
        if number != 1:
            mark(response, "Ten years", label=make_label(cast.project), author=cast.ben)
        else:
            make_assignment(response, cast.ben)
    return cast


@pytest.fixture
def marked(cast):
    """The cast, and a project with marks; inside the test's transaction."""
    return fill(cast)


@pytest.fixture
def committed(transactional_db):
    """The same for tests in which threads or processes of their own must see it."""
    yield fill(make_cast())
    with connection.cursor() as cursor:  # the next test's flush must not wait for anybody
        cursor.execute("SELECT 1")


@pytest.fixture
def stand_in(settings, monkeypatch):
    """Runs start tests/training/stand_in.py; call it to say how that behaves."""
    settings.TRAINING_COMMAND = [sys.executable, str(Path(__file__).with_name("stand_in.py"))]
    monkeypatch.setattr(worker, "TICK", 0.05)
    monkeypatch.setattr(worker, "ASK", 0.1)
    worker.shutting_down.clear()

    def behave(words=""):
        monkeypatch.setenv("STAND_IN", words)

    behave()
    yield behave
    worker.shutting_down.clear()
