"""What is too old goes by kind, as the settings say; what people of the project made stays."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command
from django.utils import timezone

from annotation.actions import counting, judgements, reactions, retention
from annotation.actions.people import Author
from annotation.actions.prompts import NewPrompt, add_prompt, add_response
from annotation.actions.retention import retain, retain_all
from annotation.models import Critique, IntakeSettings, Prompt, Reaction, ReactionKind, Response, SpanCritique
from redpen.accounts.models import AuditEvent
from tests.annotation.conftest import make_desk
from training.actions.snapshots import build_snapshot
from training.snapshots.query import SnapshotQuery

DAY = timedelta(days=1)


@pytest.fixture
def aged(cast, settings, tmp_path):
    """Answers, taps and words of users, of 1 to 20 days ago; and what the project's own people have."""
    settings.DATA_DIR = tmp_path
    desk = make_desk(cast)
    program, now = Author.program("key:x"), timezone.now()
    kind = ReactionKind.objects.get(project=cast.project, key="like")
    for days in range(1, 21):
        at = now - days * DAY
        new = NewPrompt(messages=[{"role": "user", "content": f"What happened {days} days ago?"}])
        prompt, _ = add_prompt(author=program, project=cast.project, new=new)
        answer, _ = add_response(author=program, prompt=prompt, text=f"Day {days}.", external_user="u", written_at=at)
        reactions.react(author=program, kind=kind, event_at=at, response=answer, external_user="u")
        said = {"author": program, "external_user": "u", "said_at": at}
        judgements.critique(response=desk.answer, text=f"said {days} days ago", **said)
    judgements.critique(author=Author.person(cast.ben), response=desk.answer, text="Ben's", said_at=now - 99 * DAY)
    old, _ = add_response(author=program, prompt=desk.prompt, text="An imported one.", model="imported")
    assert old.external_user == ""
    return desk


def keep(desk, **days):
    IntakeSettings.objects.update_or_create(project=desk.cast.project, defaults={"retention_days": days})


def test_nothing_goes_where_nothing_is_set(aged):
    assert retain(project=aged.cast.project) == {}
    keep(aged)
    assert retain_all() == {}


@pytest.mark.parametrize("chunk", [3, 5000])
def test_reactions_go_by_the_time_of_their_event(aged, monkeypatch, chunk):
    monkeypatch.setattr(retention, "CHUNK", chunk)
    counting.rebuild(aged.cast.project)
    keep(aged, reaction=10)
    assert retain(project=aged.cast.project) == {"reaction": 11}
    assert Reaction.objects.count() == 9
    assert (Response.objects.count(), Critique.objects.count()) == (23, 21)
    assert not counting.check(aged.cast.project)
    line = AuditEvent.objects.get(action="records.too_old")
    assert line.data == {"counts": {"reaction": 11}, "snapshots": 0, "snapshot_rows": 0}
    assert retain(project=aged.cast.project) == {}
    assert AuditEvent.objects.filter(action="records.too_old").count() == 1


def test_other_feedback_of_users_goes_and_the_members_words_stay(aged):
    keep(aged, record=5)
    assert retain(project=aged.cast.project) == {"critique": 16}
    assert Critique.objects.filter(text="Ben's").exists()


def test_answers_go_with_their_prompts_and_all_that_was_said_of_them(aged):
    late = Response.objects.get(text="Day 20.")
    SpanCritique.objects.create(
        project=aged.cast.project, response=late, start=0, end=3, quote="Day", sentiment=-1, author=aged.cast.ben
    )
    keep(aged, response=15)
    counts = retain(project=aged.cast.project)
    assert counts == {"response": 6, "prompt": 6, "reaction": 6, "span": 1}
    assert Prompt.objects.count() == 15
    assert Response.objects.filter(external_user="").count() == 3  # of the project's own people


def test_the_audit_line_counts_the_snapshots_that_hold_them_still(aged):
    snapshot = build_snapshot(aged.cast.project, SnapshotQuery(kinds=("reaction",)), aged.cast.ada)
    was = snapshot.content_hash
    keep(aged, reaction=10)
    retain(project=aged.cast.project)
    line = AuditEvent.objects.get(action="records.too_old")
    assert (line.data["snapshots"], line.data["snapshot_rows"]) == (1, 11)
    snapshot.refresh_from_db()
    assert snapshot.content_hash == was  # age alone does not change what was frozen


def test_the_command_says_what_went(aged, capsys):
    keep(aged, reaction=10, record=5)
    call_command("retention")
    assert capsys.readouterr().out == "deleted: 16 critique, 11 reaction\n"
    call_command("retention")
    assert capsys.readouterr().out == "deleted: nothing\n"
