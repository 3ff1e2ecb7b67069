"""The pages of records, answers and imports."""

from __future__ import annotations

import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from annotation.actions import imports, judgements, spans
from annotation.actions.erasing_users import erase_user
from annotation.actions.people import Author
from annotation.importers.redpen_jsonl import RedpenJSONL
from annotation.models import Erasure, ImportJob, Label, Reaction, Task
from annotation.tasks import import_file, sweep


@pytest.fixture
def said(desk):
    """Ben marks a phrase and a gap, Mia prefers one answer."""
    ben, mia = Author.person(desk.cast.ben), Author.person(desk.cast.mia)
    label = Label.objects.filter(project=desk.cast.project, key="wrong").get()
    at = desk.answer.text.index("1066")
    mark, _ = spans.mark_span(
        author=ben,
        response=desk.answer,
        start=at,
        end=at + 4,
        quote="1066",
        said=spans.judgement(label=label, critique="It was 1067."),
    )
    gap, _ = spans.mark_span(
        author=ben, response=desk.answer, start=0, end=0, quote="", said=spans.judgement(sentiment=-1)
    )
    better, _ = judgements.prefer(
        author=mia, a=desk.answers[0], b=desk.answers[1], compared=judgements.Compared(choice="a", reason="Says more.")
    )
    return mark, gap, better


def page(desk, person, path="data/", **query):
    return desk.cast.client(person).get(f"/p/{desk.cast.project.slug}/{path}", query)


def test_the_list_shows_what_everybody_said_and_filters_it(desk, said):
    everything = page(desk, desk.cast.ada).content.decode()
    assert "It was 1067." in everything
    assert "Says more." in everything
    assert "A is better, clearly" in everything
    for query, shown, hidden in [
        ({"kind": "preference"}, "Says more.", "It was 1067."),
        ({"label": said[0].label_id}, "It was 1067.", "Says more."),
        ({"author": desk.cast.mia.pk}, "Says more.", "It was 1067."),
        ({"text": "1067"}, "It was 1067.", "Says more."),
        ({"model": "nobody"}, "No record fits", "1067."),
        ({"state": "ended"}, "No record fits", "1067."),
        ({"split": desk.prompt.split}, "It was 1067.", "No record fits"),
    ]:
        found = page(desk, desk.cast.ada, **query).content.decode()
        assert shown in found, query
        assert hidden not in found, query
    assert page(desk, desk.cast.ada, kind="silly").status_code == 422


def test_an_annotator_sees_only_their_own(desk, said):
    bens = page(desk, desk.cast.ben).content.decode()
    assert "It was 1067." in bens
    assert "Says more." not in bens
    assert "writer-1" not in bens
    assert page(desk, desk.cast.ben, f"data/{said[2].lineage}/").status_code == 404
    assert page(desk, desk.cast.zoe).status_code == 404


def test_a_list_of_many_pages_goes_on_by_key(desk, said):
    for number in range(60):
        judgements.critique(author=Author.person(desk.cast.mia), response=desk.answer, text=f"Words {number}.")
    first = page(desk, desk.cast.ada)
    assert b"Words 59." in first.content
    assert b"It was 1067." not in first.content
    second = desk.cast.client(desk.cast.ada).get(first.context["next_url"])
    assert b"It was 1067." in second.content
    assert second.context["next_url"] is None


def test_a_list_costs_the_same_for_one_record_and_for_many(desk, said, django_assert_max_num_queries):
    client = desk.cast.client(desk.cast.ada)
    url = f"/p/{desk.cast.project.slug}/data/"
    with django_assert_max_num_queries(22):
        client.get(url)
    for number in range(20):
        judgements.critique(author=Author.person(desk.cast.mia), response=desk.answer, text=f"Words {number}.")
    with django_assert_max_num_queries(22):
        client.get(url)


def test_one_record_shows_its_versions_and_its_trail(desk, said):
    spans.amend_span(author=Author.person(desk.cast.ben), live=said[0], changes={"critique": "Surely 1067."})
    found = page(desk, desk.cast.ada, f"data/{said[0].lineage}/").content.decode()
    for words in ("2 versions", "Surely 1067.", "It was 1067.", "superseded", "span.marked", "span.amended"):
        assert words in found


def test_an_answer_is_shown_with_its_marks_in_place(desk, said):
    found = page(desk, desk.cast.ada, f"answers/{desk.answer.pk}/").content.decode()
    assert '<span class="phrase bad">1066</span><a class="phrase-number" href="#note-2"' in found
    assert "something is missing here" in found
    assert "Says more." in found
    assert page(desk, desk.cast.vic, f"answers/{desk.answer.pk}/").status_code == 200


def test_the_export_streams_lines(desk, said):
    response = page(desk, desk.cast.dev, "export/")
    lines = [json.loads(line) for line in b"".join(response.streaming_content).splitlines()]
    assert {"label", "prompt", "response", "span", "preference"} <= {line["type"] for line in lines}
    assert page(desk, desk.cast.vic, "export/").status_code == 403


def upload(desk, content, **fields):
    file = SimpleUploadedFile("feedback.jsonl", content)
    url = f"/p/{desk.cast.project.slug}/import/"
    return desk.cast.client(desk.cast.dev).post(url, {"file": file, "format": "redpen_jsonl", **fields})


LINES = b"""{"type": "prompt", "key": "p", "messages": [{"role": "user", "content": "Why?"}]}
{"type": "response", "key": "r", "prompt": "p", "text": "Because."}
{"type": "span", "key": "s", "response": "r", "start": 0, "end": 7, "quote": "because", "sentiment": -1, "by": "x"}
"""


def test_an_import_does_not_bring_back_who_was_erased_while_it_waited(desk, settings, tmp_path):
    settings.DATA_DIR = tmp_path
    tap = {
        "type": "reaction",
        "response": "r",
        "kind": "like",
        "event_at": "2026-11-01T10:00:00Z",
        "by": "key:rp_live_x",
    }
    taps = [{**tap, "key": name, "user": name} for name in ("ines", "omar")]
    upload(desk, LINES + "\n".join(map(json.dumps, taps)).encode())
    job = imports.claim(ImportJob.objects.get().pk)  # it runs: its file is not looked into any more
    erase_user(author=Author.program("x"), project=desk.cast.project, user="ines")
    assert imports.carry_out(job).state == "done"
    assert [row.external_user for row in Reaction.objects.all()] == ["omar"]
    assert Erasure.objects.count() == 2


def test_an_uploaded_file_is_imported_by_a_worker_and_reported(desk, settings):
    answer = upload(desk, LINES)
    job = ImportJob.objects.get()
    assert answer.headers["Location"].endswith(f"/import/{job.pk}/")
    waiting = desk.cast.client(desk.cast.dev).get(answer.headers["Location"], headers={"HX-Request": "true"})
    assert b"Waiting for a worker" in waiting.content
    assert b"hx-trigger" in waiting.content
    assert b"<html" not in waiting.content
    import_file(str(job.pk))
    job.refresh_from_db()
    assert (job.state, job.error) == ("done", "")
    done = desk.cast.client(desk.cast.dev).get(answer.headers["Location"]).content.decode()
    assert "The text at 0-7 is &#x27;Because&#x27;, not &#x27;because&#x27;." in done
    assert "done, with refusals" in done
    assert "hx-trigger" not in done
    assert not (settings.DATA_DIR / job.path).exists()


def test_a_try_keeps_nothing(desk):
    upload(desk, LINES, dry_run="on")
    job = ImportJob.objects.get()
    import_file(str(job.pk))
    job.refresh_from_db()
    assert job.report["taken"] == {"prompt": 1, "response": 1}
    assert desk.cast.project.audit_events.filter(action="prompts.added").count() == 1  # the desk's own


def test_an_empty_upload_is_refused_in_words(desk):
    refused = upload(desk, b"")
    assert refused.status_code == 422
    assert b"The submitted file is empty." in refused.content


def test_an_import_whose_worker_died_is_taken_up_again_and_the_third_death_ends_it(desk):
    upload(desk, LINES)
    for attempt in (1, 2, 3):
        ImportJob.objects.update(state="running", attempt=attempt, lease_expires_at="2020-01-01T00:00:00Z")
        sweep()
        job = ImportJob.objects.get()
        assert job.state == ("queued" if attempt < 3 else "failed")
    assert "died 3 times" in job.error
    url = f"/p/{desk.cast.project.slug}/import/{job.pk}/"
    assert b"Try again" in desk.cast.client(desk.cast.dev).get(url).content
    desk.cast.client(desk.cast.dev).post(url + "again/")
    import_file(str(job.pk))
    job.refresh_from_db()
    assert job.state == "done"


def test_only_those_who_may_import_see_the_page(desk):
    for person, status in [(desk.cast.ada, 200), (desk.cast.dev, 200), (desk.cast.ben, 403), (desk.cast.zoe, 404)]:
        assert page(desk, person, "import/").status_code == status


def test_answers_of_which_nothing_is_said_come_to_the_annotators(desk):
    """A first project: import, and there is something to label and to compare."""
    twice = LINES + b'{"type": "response", "key": "r2", "prompt": "p", "text": "Why not?"}'
    upload(desk, twice, ask="on")
    job = ImportJob.objects.get()
    import_file(str(job.pk))
    job.refresh_from_db()
    assert job.report["asked"] == {"spans": 2, "pairs": 1}
    url = f"/p/{desk.cast.project.slug}/import/{job.pk}/"
    assert b"asked about 2 answers and 1 pair." in desk.cast.client(desk.cast.dev).get(url).content


def test_an_admin_sends_what_waits_for_nobody_to_the_annotators(desk):
    url = f"/p/{desk.cast.project.slug}/ask/"
    assert f'hx-get="{url}"' in page(desk, desk.cast.ada).content.decode()
    assert url not in page(desk, desk.cast.mia).content.decode()
    assert b"2 answers here wait for nobody" in page(desk, desk.cast.ada, "ask/").content
    answer = desk.cast.client(desk.cast.ada).post(url, follow=True)
    assert b"2 answers and 1 pairs were added to the work." in answer.content
    assert b"wait for nobody" not in page(desk, desk.cast.ada, "ask/").content
    assert set(Task.objects.values_list("kind", "state")) == {("spans", "open"), ("pair", "open")}


def test_a_fault_of_ours_ends_the_import_and_says_so(desk, monkeypatch):
    upload(desk, LINES)
    job = ImportJob.objects.get()

    def stumble(self):
        raise ZeroDivisionError

    monkeypatch.setattr(RedpenJSONL, "prepare", stumble)
    import_file(str(job.pk))
    job.refresh_from_db()
    assert job.state == "failed"
    assert "fault of ours" in job.error
