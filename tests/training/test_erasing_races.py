"""Users are erased while others, and they themselves, go on tapping and the counting goes on."""

from __future__ import annotations

import threading

import pytest
from django.db import connection
from django.utils import timezone

from annotation.actions import counting, reactions
from annotation.actions.erasing_users import erase_user, finish
from annotation.actions.people import Author
from annotation.models import Erasure, Exposure, Reaction, ReactionKind
from tests.annotation.conftest import make_desk
from tests.cast import make_cast

USERS = [f"u{number}" for number in range(6)]


@pytest.fixture
def desk(transactional_db, settings, tmp_path):
    settings.DATA_DIR = tmp_path
    return make_desk(make_cast())


def test_erasing_counting_and_tapping_at_once_neither_deadlock_nor_leave_anything(desk):
    project, program = desk.cast.project, Author.program("x")
    kinds = list(ReactionKind.objects.filter(project=project))
    over, wrong = threading.Event(), []

    def again_and_again(step):
        def run():
            try:
                while not over.is_set():
                    step()
            except Exception as error:  # the thread's edge: the test must hear of it
                wrong.append(error)
            finally:
                connection.close()

        return threading.Thread(target=run)

    def tap():
        for user in USERS:
            for answer in desk.answers:
                told = {"response": answer, "external_user": user, "event_at": timezone.now()}
                reactions.react(author=program, kind=kinds[0], **told)
                reactions.react(author=program, kind=kinds[-1], **told)

    threads = [again_and_again(tap), again_and_again(tap), again_and_again(counting.count)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        for user in USERS:
            finish(erase_user(author=program, project=project, user=user).pk)
    over.set()
    for thread in threads:
        thread.join(timeout=30)
    assert wrong == []
    for user in USERS:
        erase_user(author=program, project=project, user=user)
    assert (Reaction.objects.count(), Exposure.objects.count()) == (0, 0)
    assert sum(row.counts.get("reaction", 0) for row in Erasure.objects.all()) > len(USERS)
    assert not counting.check(project)
