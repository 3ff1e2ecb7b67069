"""The pages and endpoints of comparisons: what a person reads, what the buttons do, and the same over HTTP."""

import json
import re

import pytest

from tests.training.factories import make_model
from training.actions.comparisons import cancel_comparison, start_comparison
from training.models import Comparison, ModelVersion, Run
from training.queries import comparisons as queries

STYLE = re.compile(r"\sstyle=|<style|\son[a-z]+=\"|<script(?![^>]*src=)")
OPTIONS = {"recipes": ["text2grad"], "seeds": [0, 1], "checker": "support", "base_model": "tiny"}


def page(cast, path, person=None, status=200):
    answer = cast.client(person or cast.ada).get(f"/p/lantern/{path}")
    assert answer.status_code == status, answer.content.decode()[:2000]
    html = answer.content.decode()
    assert not STYLE.search(html), STYLE.search(html)
    return html


def api(cast, path, person=None, *, method="get", body=None, **headers):
    options = {"data": json.dumps(body), "content_type": "application/json"} if body is not None else {}
    client = cast.client(person or cast.ada)
    return getattr(client, method)(f"/api/v1/projects/lantern/{path}", headers=headers or None, **options)


def start(cast, **options):
    return start_comparison(project=cast.project, author=cast.ada, options={**OPTIONS, **options}, name="first")[0]


@pytest.fixture
def finished(marked, settings, tmp_path):
    """Every run has ended well; evaluations say what they found."""
    settings.DATA_DIR = tmp_path
    comparison = start(marked)
    for trial in queries.trials_of(comparison):
        kind = {"judge": "span_reward_model", "policy": "policy", "evaluation": "evaluation"}[trial.part]
        worth = 0.4 if trial.seed is None else 0.6 + 0.1 * trial.seed
        figures = {"truth/quality": worth} if kind == "evaluation" else {}
        model = make_model(marked.project, kind=kind, name=trial.place, path=f"models/{trial.pk}", metrics=figures)
        folder = tmp_path / model.path
        folder.mkdir(parents=True)
        line = {"prompt_id": "p", "text": "x", "worth": worth, "tokens": 1}
        (folder / "answers.jsonl").write_text(json.dumps(line) + "\n")
        run = Run.objects.filter(pk=trial.run_id)
        if trial.run.state == "waiting":
            run.update(state="queued")
        run.update(state="running", attempt=1, lease_expires_at="2100-01-01T00:00:00Z", started_at=trial.run.created_at)
        run.update(state="succeeded", produced=model, lease_expires_at=None, ended_at=trial.run.created_at)
    return comparison, marked


def test_an_empty_list_says_what_a_comparison_is_and_offers_one(marked):
    html = page(marked, "comparisons/")
    assert "Nothing has been compared yet" in html
    assert 'href="/p/lantern/comparisons/new/"' in html
    assert "comparisons/new/" not in page(marked, "comparisons/", marked.vic)
    page(marked, "comparisons/new/", marked.vic, status=403)


def test_the_form_starts_a_comparison_once_and_shows_what_is_wrong(marked):
    html = page(marked, "comparisons/new/")
    key = re.search(r'name="key" value="([^"]+)"', html)[1]
    client = marked.client(marked.ada)
    body = {"recipes": ["text2grad"], "seeds": "2", "base_model": "tiny", "checker": "support", "key": key}
    body |= {"test_prompts": "4", "test_samples": "2", "settings": "support", "name": "ours"}
    wrong = client.post("/p/lantern/comparisons/new/", {**body, "recipes": [], "seeds": "0"})
    assert wrong.status_code == 422
    assert "Choose at least one recipe." in wrong.content.decode()
    assert "This is a whole number from 1 to 10." in wrong.content.decode()
    refused = client.post("/p/lantern/comparisons/new/", {**body, "recipes": ["dpo"]})
    assert refused.status_code == 422
    assert "There are no compared pairs" in refused.content.decode()
    for _ in range(2):
        made = client.post("/p/lantern/comparisons/new/", body)
        assert (made.status_code, made["Location"]) == (302, "/p/lantern/comparisons/1/")
    comparison = Comparison.objects.get()
    assert (comparison.options["seeds"], comparison.options["settings"]) == ([0, 1], "support")


def test_a_page_shows_the_graph_with_a_link_to_each_run(marked):
    comparison = start(marked)
    html = page(marked, "comparisons/1/")
    for trial in queries.trials_of(comparison):
        assert f'href="/p/lantern/runs/{trial.run.number}/"' in html
    assert "0 of 7 runs done" in html
    assert "Nothing is measured yet" in html
    assert 'id="cancel-comparison"' in html
    assert 'id="cancel-comparison"' not in page(marked, "comparisons/1/", marked.vic)
    assert "first" in page(marked, "comparisons/")


def test_the_fragment_moves_only_when_something_has_changed(marked):
    comparison = start(marked)
    seen = re.search(r"status/\?seen=([^\"]+)\"", page(marked, "comparisons/1/"))[1]
    client = marked.client(marked.ada)
    assert client.get(f"/p/lantern/comparisons/1/status/?seen={seen}").status_code == 204
    cancel_comparison(comparison=comparison, author=marked.ada)
    after = client.get(f"/p/lantern/comparisons/1/status/?seen={seen}")
    assert after.status_code == 200
    assert "7 cancelled" in after.content.decode()
    assert "hx-get" not in after.content.decode()  # it is over: nothing asks again


def test_cancel_and_resume_are_buttons(marked):
    start(marked)
    client = marked.client(marked.ada)
    assert client.post("/p/lantern/comparisons/1/cancel/").status_code == 302
    assert set(Run.objects.values_list("state", flat=True)) == {"cancelled"}
    assert 'id="resume-comparison"' in page(marked, "comparisons/1/")
    assert client.post("/p/lantern/comparisons/1/cancel/").status_code == 409
    assert client.post("/p/lantern/comparisons/1/resume/").status_code == 302
    assert Run.objects.filter(state__in=["queued", "waiting"]).count() == 7
    assert 'id="cancel-comparison"' in page(marked, "comparisons/1/")


def test_a_finished_one_shows_table_and_plot(finished):
    _, cast = finished
    html = page(cast, "comparisons/1/")
    assert "7 of 7 runs done" in html
    assert "0.650" in html  # the mean of 0.6 and 0.7
    assert "Student" in html
    assert "hx-get" not in html
    plot = cast.client(cast.vic).get("/p/lantern/comparisons/1/plot.svg")
    assert plot["Content-Type"] == "image/svg+xml"
    assert b"text2grad" in plot.content
    assert "before/evaluation" not in page(cast, "models/")  # an evaluation is no model
    assert ModelVersion.objects.filter(kind="evaluation").count() == 3


def test_everything_of_it_is_in_the_api(finished):
    _, cast = finished
    listed = api(cast, "comparisons", cast.vic).json()["comparisons"]
    assert [(one["number"], one["state"], one["runs"]) for one in listed] == [(1, "succeeded", 7)]
    found = api(cast, "comparisons/1", cast.vic).json()
    assert found["report"]["lines"][0]["worth"]["mean"] == pytest.approx(0.65)
    waits = {one["place"]: one["after"] for one in found["trials"]}
    runs = {one["place"]: one["run"] for one in found["trials"]}
    assert waits["text2grad/1/evaluation"] == [runs["text2grad/1/policy"]]
    assert api(cast, "comparisons/1/plot", cast.vic).content.startswith(b"<svg")
    assert api(cast, "comparisons/9").status_code == 404


def test_the_api_starts_cancels_and_resumes(marked):
    body = {"options": OPTIONS, "name": "by a program"}
    made = api(marked, "comparisons", method="post", body=body, **{"Idempotency-Key": "one"})
    assert (made.status_code, made.json()["state"], made.json()["runs"]) == (201, "queued", 7)
    again = api(marked, "comparisons", method="post", body=body, **{"Idempotency-Key": "one"})
    assert (again.status_code, again.json()["id"]) == (200, made.json()["id"])
    bad = api(marked, "comparisons", method="post", body={"options": {"recipes": ["alchemy"]}})
    assert (bad.status_code, bad.json()["problems"][0]["pointer"]) == (422, "/options/recipes")
    assert api(marked, "comparisons/1/cancel", method="post").json()["state"] == "cancelled"
    assert api(marked, "comparisons/1/cancel", method="post").status_code == 409
    assert api(marked, "comparisons/1/resume", method="post").json()["counts"]["queued"] == 3
    assert api(marked, "comparisons/1/resume", marked.vic, method="post").status_code == 403
