"""Whoever was erased stays erased when a backup from before is put back: the ledger is gone through again."""

from __future__ import annotations

import shutil

import pytest
from django.core.management import call_command
from django.utils import timezone

from annotation import ledger
from annotation.actions import reactions
from annotation.actions.erasing_users import erase_user
from annotation.actions.people import Author
from annotation.actions.prompts import NewPrompt, add_prompt, add_response
from annotation.models import ReactionKind
from tests.annotation.conftest import make_desk
from tests.ops.test_backup import filled, place  # noqa: F401 - fixtures

pytestmark = pytest.mark.django_db(transaction=True)
WORDS = "zebra-words of somebody who wants to be forgotten"


@pytest.fixture
def said(filled, tmp_path):  # noqa: F811
    """A backup in which a user's words stand, and the ledger of their erasing since."""
    desk, program = make_desk(filled), Author.program("x")
    new = NewPrompt(messages=[{"role": "user", "content": f"{WORDS}, asked"}])
    prompt, _ = add_prompt(author=program, project=desk.cast.project, new=new)
    answer, _ = add_response(author=program, prompt=prompt, text=f"{WORDS}, answered", external_user="customer-4711")
    kind = ReactionKind.objects.get(project=desk.cast.project, key="like")
    tap = {"kind": kind, "event_at": timezone.now(), "external_user": "customer-4711", "text": f"{WORDS}, tapped"}
    reactions.react(author=program, response=answer, **tap)
    call_command("backup", str(tmp_path / "before.tar"))
    erase_user(author=program, project=desk.cast.project, user="customer-4711")
    return desk


def everything(place) -> str:  # noqa: F811
    return "\n".join(str(row) for rows in place.tables().values() for row in rows)


def test_a_restored_backup_brings_nobody_back_who_was_erased_since(said, place, tmp_path, settings):  # noqa: F811
    place.data_dir.mkdir()
    for name in (ledger.NAME, ledger.KEY):
        shutil.copy(settings.DATA_DIR / name, place.data_dir / name)
    done = place.restore(tmp_path / "before.tar")
    assert done.returncode == 0, done.stderr
    assert "Erased again, as the ledger says: 1 users" in done.stderr
    assert "zebra" not in everything(place)
    assert "customer-4711" not in everything(place)
    assert not (place.data_dir / "restore.due").exists()


def test_without_the_ledger_they_come_back_so_that_the_test_above_means_something(said, place, tmp_path):  # noqa: F811
    assert place.restore(tmp_path / "before.tar").returncode == 0
    assert "zebra" in everything(place)


def test_a_ledger_that_cannot_be_read_leaves_readyz_red(said, place, tmp_path, settings):  # noqa: F811
    place.data_dir.mkdir()
    shutil.copy(settings.DATA_DIR / ledger.KEY, place.data_dir / ledger.KEY)
    (place.data_dir / ledger.NAME).write_text("{broken\n")
    failed = place.restore(tmp_path / "before.tar")
    assert failed.returncode != 0
    assert "CommandError: The backup is restored, but" in failed.stderr
    assert (place.data_dir / "restore.due").exists()
    shutil.copy(settings.DATA_DIR / ledger.NAME, place.data_dir / ledger.NAME)
    again = place.manage("after_restore")
    assert again.returncode == 0, again.stderr
    assert not (place.data_dir / "restore.due").exists()
    assert "zebra" not in everything(place)
