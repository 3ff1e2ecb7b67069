"""A user of a product is erased: no byte of theirs is left in the database, in snapshots or in what runs wrote; what
had learned from them is named; a backup that is restored brings nothing back.
"""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from annotation import ledger
from annotation.actions import erasing_users, judgements, reactions, spans
from annotation.actions.erasing_users import erase_user, finish, found, replay
from annotation.actions.people import Author
from annotation.actions.prompts import NewPrompt, add_prompt, add_response
from annotation.models import (
    Erasure,
    Exposure,
    ImportJob,
    IntakeSettings,
    LiveEvent,
    ProductUser,
    Prompt,
    Reaction,
    ReactionKind,
    Response,
    SpanCritique,
    Webhook,
    WebhookDelivery,
)
from annotation.pseudonyms import pseudonym
from redpen.accounts.ids import new_id
from redpen.accounts.models import AuditEvent
from tests.annotation.conftest import make_desk
from tests.training.factories import make_base, make_model
from training.actions.snapshots import build_snapshot, freeze_query
from training.models import ModelVersion, Run, RunEvent, RunInput
from training.snapshots import files
from training.snapshots.query import SnapshotQuery

WHO = "customer-4711"
SECRET = "zebra-"  # every word of theirs begins so
EVERYTHING = SnapshotQuery(kinds=("response", "preference", "prompt", "rating", "reaction", "rewrite", "verdict"))


def words(name: str) -> str:
    return f"{SECRET}{name} was here, and this is what they wrote."


@pytest.fixture
def shop(cast, settings, tmp_path):
    """A product whose user WHO has left words in every place; and somebody else, of whom nothing may be missed."""
    settings.DATA_DIR = tmp_path
    return fill(make_desk(cast))


def fill(desk):
    project, program = desk.cast.project, Author.program("key:rp_live_x")
    like = ReactionKind.objects.get(project=project, key="like")
    for who, say in ((WHO, words), ("somebody-else", lambda name: f"plain {name}, said by somebody else")):
        new = NewPrompt(messages=[{"role": "user", "content": say("question")}], metadata={"m": say("prompt metadata")})
        prompt, _ = add_prompt(author=program, project=project, new=new)
        theirs = {"external_user": who, "metadata": {"m": say("metadata")}, "thinking": say("thinking")}
        about = {"conversation": say("conversation")[:60], "steps": [{"kind": "x", "text": say("step")}]}
        answer, _ = add_response(
            author=program, prompt=prompt, text=say("answer"), external_id=f"id-{who}", **theirs, **about
        )
        other, _ = add_response(author=program, prompt=prompt, text=say("other"), external_id=f"id2-{who}", **theirs)
        now = timezone.now()
        marked = [{"start": 0, "end": 5, "quote": say("x")[:5], "critique": say("span of a tap")}]
        tap = {"response": answer, "external_user": who, "event_at": now, "metadata": {"m": say("tap metadata")}}
        reactions.react(author=program, kind=like, text=say("tap"), spans=marked, **tap)
        early = {"response_external_id": f"later-{who}", "external_user": who, "event_at": now}
        reactions.react(author=program, kind=like, text=say("early tap"), **early)
        user = {"author": program, "external_user": who}
        judgements.critique(response=desk.answer, text=say("critique"), **user)
        judgements.rate(response=desk.answer, dimension="stars", value=4, metadata={"m": say("rating")}, **user)
        judgements.rewrite(response=desk.answers[1], text=say("better"), **user)
        judgements.tell_outcome(response=desk.answer, stage="hindsight", result=say("result"), **user)
        ben = Author.person(desk.cast.ben)
        said = spans.judgement(sentiment=-1, critique=say("what Ben said of it"), replacement=say("replacement"))
        quote = answer.text[:9]
        spans.mark_span(author=ben, response=answer, start=0, end=9, quote=quote, said=said)
        judgements.prefer(author=ben, a=answer, b=other, compared=judgements.Compared(choice="a", reason=say("reason")))
        judgements.rank(author=ben, places=[[answer], [other]], reason=say("ranked"))
        judgements.choose(author=ben, offered=[answer, other], chosen=answer, reason=say("chosen"))
        doubt = {"reasons": [{"words": say("doubt")}]}
        ProductUser.objects.get_or_create(project=project, test=False, name=who, defaults=doubt)
        hook, _ = Webhook.objects.get_or_create(project=project, url="https://x.example/", events=["reaction.created"])
        told = [{"user": who, "text": say("told")}]
        WebhookDelivery.objects.create(
            project=project, webhook=hook, event="reaction.created", event_id=str(uuid4()), keys=[who], payload=told
        )
        line = {"project": project, "test": False, "tap": True, "at": now, "kind": like, "external_user": who}
        first = Reaction.objects.filter(external_user=who).first()
        LiveEvent.objects.get_or_create(reaction=first, defaults=line)
        refusals = [{"line": 1, "message": f"The user '{who}' {say('refusal')[:40]}"}]
        path = f"uploads/{uuid4()}"
        ImportJob.objects.create(
            project=project, format="redpen_jsonl", filename="f", path=path, state="failed", created_by=desk.cast.ada,
            report={"refusals": refusals},
        )  # fmt: skip
        whole = Path(data_dir(), path)
        whole.parent.mkdir(parents=True, exist_ok=True)
        whole.write_text(json.dumps({"user": who, "text": say("upload")}))
    return desk


def data_dir() -> Path:
    from django.conf import settings

    return settings.DATA_DIR


def left_in_database(*needles: str) -> list[str]:
    """Every row of every table that holds one of the needles, whatever its column."""
    found = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        for (table,) in cursor.fetchall():
            for needle in needles:
                cursor.execute(f'SELECT t::text FROM "{table}" t WHERE t::text LIKE %s', [f"%{needle}%"])
                found += [f"{table}: {row[:150]}" for (row,) in cursor.fetchall()]
    return found


def left_in_files(*needles: str) -> list[str]:
    return [
        f"{path.relative_to(data_dir())}: {needle}"
        for path in data_dir().rglob("*")
        if path.is_file()
        for needle in needles
        if needle.encode() in path.read_bytes()
    ]


def erase(desk, user=WHO):
    row = erase_user(author=Author.person(desk.cast.ada), project=desk.cast.project, user=user)
    return finish(row.pk)


def test_no_byte_of_an_erased_user_is_left_and_nothing_of_anybody_else_is_missed(shop):
    before = left_in_database("somebody else", "somebody-else")
    assert len(left_in_database(SECRET)) > 15
    assert len(left_in_files(SECRET)) == 1
    there = found(project=shop.cast.project, user=WHO)
    assert there == {"response": 2, "critique": 1, "rating": 1, "rewrite": 1, "reaction": 2, "outcome": 1}
    row = erase(shop)
    assert left_in_database(SECRET, WHO) == []
    assert left_in_files(SECRET, WHO) == []
    assert left_in_database("somebody else", "somebody-else") == before
    assert row.done_at is not None
    assert row.counts == {
        "span": 1,
        "critique": 1,
        "preference": 1,
        "rating": 1,
        "rewrite": 1,
        "reaction": 2,
        "ranking": 1,
        "choice": 1,
        "outcome": 1,
        "response": 3,
        "prompt": 1,
        "delivery": 1,
        "user": 1,
        "import_file": 1,
        "import_report": 1,
    }
    assert found(project=shop.cast.project, user=WHO) == {}
    trail = AuditEvent.objects.get(action="user.erased")
    assert (trail.actor, trail.data["counts"]["reaction"]) == (shop.cast.ada, 2)


def test_the_database_is_whole_afterwards(shop):
    erase(shop)
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    assert Response.objects.filter(project=shop.cast.project).count() == 2 + 3


def test_a_prompt_that_others_used_stays(shop):
    program, project = Author.program("key:x"), shop.cast.project
    new = NewPrompt(messages=[{"role": "user", "content": "Do you deliver on Sundays?"}])
    prompt, _ = add_prompt(author=program, project=project, new=new)
    add_response(author=program, prompt=prompt, text="No, we do not.", external_user=WHO)
    kept, _ = add_response(author=program, prompt=prompt, text="We do not.", external_user="somebody-else")
    before, _ = add_prompt(
        author=program, project=project, new=NewPrompt(messages=[{"role": "user", "content": "Since when?"}])
    )
    older, _ = add_response(author=program, prompt=before, text="Since 1066.")
    add_response(author=program, prompt=before, text="Since 1067.", external_user=WHO)
    only, _ = add_prompt(
        author=program, project=project, new=NewPrompt(messages=[{"role": "user", "content": "May I?"}])
    )
    add_response(author=program, prompt=only, text="You may.", external_user=WHO)
    sampled, _ = add_response(author=program, prompt=only, text="You might.")
    erase(shop)
    assert set(Prompt.objects.filter(pk__in=[prompt.pk, before.pk, only.pk])) == {prompt, before}
    ours = Response.objects.filter(prompt__in=[prompt, before, only])
    assert set(ours) == {kept, older}
    assert not Response.objects.filter(pk=sampled.pk).exists()


def learned_from(desk):
    """A snapshot, a policy that learned from it, another that learned from that, and what they have written."""
    project = desk.cast.project
    snapshot = build_snapshot(project, EVERYTHING, desk.cast.ada, name="All of it")
    make_base()
    made = [make_model(project, name=name) for name in ("first", "second", "apart")]
    runs = []
    for number, model in enumerate(made, start=1):
        run = Run.objects.create(
            project=project, number=number, recipe="sft", base_model=model.base, created_by=desk.cast.ada,
            snapshot=snapshot if number == 1 else None, state="running", attempt=1,
            lease_expires_at=timezone.now() + timedelta(minutes=5),
        )  # fmt: skip
        sample = {"prompt": words("question"), "n": 0} if number == 1 else {"prompt": "plain"}
        RunEvent.objects.create(
            project=project, run=run, attempt=1, seq=0, type="sample", data=sample, at=timezone.now()
        )
        folder = data_dir() / "runs" / str(run.pk) / "attempt-1"
        folder.mkdir(parents=True)
        (folder / "events.jsonl").write_text(json.dumps({"seq": 0, "type": "sample", **sample}) + "\n")
        (folder / "prompts.jsonl").write_text(json.dumps(sample) + '\n{"prompt": "plain"}\n')
        runs.append(run)
    for run, model in zip(runs, made, strict=True):
        Run.objects.filter(pk=run.pk).update(produced=model)
    RunInput.objects.create(project=project, run=runs[1], kind="policy", model_version=made[0])
    ModelVersion.objects.filter(pk=made[0].pk).update(metrics={"best": words("answer"), "loss": 1.5})
    return snapshot, made, runs


def end(runs):
    Run.objects.filter(pk__in=[run.pk for run in runs]).update(
        state="succeeded", lease_expires_at=None, ended_at=timezone.now()
    )


def test_snapshots_are_written_again_and_what_learned_is_named(shop):
    snapshot, made, runs = learned_from(shop)
    end(runs)
    folder = data_dir() / snapshot.path
    lines = (folder / "rows.jsonl").read_text("utf-8").splitlines()
    kept = [line for line in lines if SECRET not in line and WHO not in line]
    was = snapshot.content_hash
    row = erase(shop)
    assert left_in_database(SECRET, WHO) == []
    assert left_in_files(SECRET, WHO) == []
    after = (folder / "rows.jsonl").read_text("utf-8").splitlines()
    # somebody else's rows are there, byte for byte; rows about a record of the user's on a shared answer are not
    assert set(after) <= set(kept)
    assert 0 < len(after) < len(lines)
    assert all(line in after for line in kept if "somebody else" in line)
    snapshot.refresh_from_db()
    assert snapshot.content_hash == files.content_hash(folder) == files.manifest(folder)["content_hash"] != was
    assert [(one["was"], one["rows"]) for one in snapshot.erased] == [(was, len(lines) - len(after))]
    import pyarrow.parquet as parquet

    assert parquet.read_table(folder / "rows.parquet").num_rows == len(after)
    assert row.report["snapshots"] == [
        {"id": str(snapshot.pk), "name": "All of it", "rows": len(lines) - len(after), "was": was}
    ]
    assert [one["number"] for one in row.report["runs"]] == [1]
    assert [one["name"] for one in row.report["models"]] == ["first v1", "second v1"]
    assert RunEvent.objects.get(run=runs[0]).data == {"prompt": "[erased]", "n": 0}
    made[0].refresh_from_db()
    assert made[0].metrics == {"best": "[erased]", "loss": 1.5}
    attempt = data_dir() / "runs" / str(runs[0].pk) / "attempt-1"
    assert json.loads((attempt / "events.jsonl").read_text())["prompt"] == "[erased]"
    assert (attempt / "prompts.jsonl").read_text() == '{"prompt": "plain"}\n'
    assert row.gone == {}


def test_what_is_still_going_on_is_waited_for(shop):
    snapshot, _, runs = learned_from(shop)
    row = erase(shop)
    assert (row.done_at, row.waits_for) == (None, "Run 1 to end")
    assert [one["name"] for one in row.report["models"]] == ["first v1", "second v1"]
    assert erasing_users.due() == [row.pk]
    assert left_in_files(SECRET, WHO) != []  # the run's own files
    snapshot.refresh_from_db()
    assert snapshot.erased
    end(runs)
    row = finish(row.pk)
    assert (row.done_at is not None, row.gone, erasing_users.due()) == (True, {}, [])
    assert [one["name"] for one in row.report["models"]] == ["first v1", "second v1"]
    assert left_in_files(SECRET, WHO) == []


def test_a_snapshot_that_is_being_written_is_waited_for(shop):
    snapshot = freeze_query(project=shop.cast.project, query=EVERYTHING, author=shop.cast.ada, name="half")
    row = erase(shop)
    assert (row.done_at, row.waits_for) == (None, "snapshot 'half' to be written")
    type(snapshot).objects.filter(pk=snapshot.pk).update(state="failed")
    assert finish(row.pk).done_at is not None


def killed():
    raise RuntimeError("killed")


def test_a_step_that_was_cut_off_before_the_database_is_told_all_the_same(shop, monkeypatch):
    snapshot, *_ = learned_from(shop)
    row = erase_user(author=Author.person(shop.cast.ada), project=shop.cast.project, user=WHO)
    from training import erasure as steps

    with monkeypatch.context() as patch:
        patch.setattr(steps, "erasing", killed)
        with pytest.raises(RuntimeError):
            finish(row.pk)
    finish(row.pk)
    snapshot.refresh_from_db()
    assert snapshot.content_hash == files.content_hash(data_dir() / snapshot.path)
    assert len(snapshot.erased) == 1


def test_the_plain_name_finds_the_hash_where_users_are_hashed(shop):
    row = IntakeSettings.objects.create(project=shop.cast.project, hash_users=True)
    hidden = pseudonym(row.user_secret, "ines")
    kind = ReactionKind.objects.get(project=shop.cast.project, key="like")
    told = {"author": Author.program("x"), "kind": kind, "event_at": timezone.now(), "response": shop.answer}
    reactions.react(external_user=hidden, **told)
    assert found(project=shop.cast.project, user="ines") == {"reaction": 1}
    assert erase(shop, "ines").counts == {"reaction": 1}
    assert left_in_database(hidden) == []
    assert erase(shop, hidden).counts == {}


def test_another_project_keeps_its_user_of_the_same_name(shop):
    other = make_desk(shop.cast.__class__(**{**shop.cast.__dict__, "project": shop.cast.other_project}))
    told = {"author": Author.program("x"), "event_at": timezone.now(), "response": other.answer}
    reactions.react(
        kind=ReactionKind.objects.get(project=shop.cast.other_project, key="like"), external_user=WHO, **told
    )
    erase(shop)
    assert Reaction.objects.get(external_user=WHO).project == shop.cast.other_project


def test_the_ledger_names_nobody_and_brings_the_erasing_back(shop):
    """What a restored backup brings back is erased again, and what the user did after the erasing is not."""
    row = erase(shop)
    told = ledger.path().read_text()
    assert WHO not in told
    assert SECRET not in told
    fill(shop)  # as a backup would; but its rows are younger than the erasing
    assert replay() == 0
    back = Reaction.objects.get(external_user=WHO, text=words("early tap"))
    back.pk, back.dedup, back.created_at = new_id(), uuid4(), row.until - timedelta(hours=1)
    back.save(force_insert=True)
    assert replay() == 1
    assert Reaction.objects.filter(external_user=WHO).count() == 2
    assert Response.objects.filter(external_user=WHO).count() == 2
    assert replay() == 0


def test_a_torn_line_of_the_ledger_is_passed_over(shop):
    line = ledger.Line(ledger.hash_of(shop.cast.project.pk, WHO), shop.cast.project.pk, timezone.now())
    ledger.write(line)
    with ledger.path().open("a") as file:
        file.write('{"user": "ab')
    assert list(ledger.read()) == [line]
    assert (ledger.path().stat().st_mode & 0o777, (data_dir() / ledger.KEY).stat().st_mode & 0o777) == (0o600, 0o600)


def test_rates_count_again_without_the_erased(shop):
    from annotation.actions import counting

    kind = ReactionKind.objects.get(project=shop.cast.project, key="shown")
    told = {"author": Author.program("x"), "kind": kind, "event_at": timezone.now(), "response": shop.answer}
    reactions.react(external_user=WHO, **told)
    counting.rebuild(shop.cast.project)
    assert Exposure.objects.filter(external_user=WHO).exists()
    erase(shop)
    assert not Exposure.objects.filter(external_user=WHO).exists()
    assert not counting.check(shop.cast.project)


def test_marks_of_people_on_answers_of_others_stay(shop):
    before = SpanCritique.objects.filter(response__external_user="somebody-else").count()
    erase(shop)
    assert SpanCritique.objects.filter(response__external_user="somebody-else").count() == before == 1


def test_the_command_says_what_there_is_and_erases_on_yes(shop, capsys):
    call_command("erase_user", WHO, project=shop.cast.project.slug)
    assert json.loads(capsys.readouterr().out)["found"]["reaction"] == 2
    assert Erasure.objects.count() == 0
    call_command("erase_user", WHO, "--yes", project=shop.cast.project.slug)
    assert json.loads(capsys.readouterr().out)["erased"]["reaction"] == 2
    assert left_in_database(SECRET, WHO) == []
