"""The pages of training: what a person reads and what the buttons do."""

import re

import pytest
from django.utils.html import escape

from annotation.models import Response
from tests.training.factories import make_label, make_model, make_prompt, make_response, mark
from training.actions.runs import Launch, cancel_run, launch_run
from training.actions.snapshots import write_snapshot
from training.models import Run
from training.recipes import registry
from training.runs import events, lease

STYLE = re.compile(r"\sstyle=|<style|\son[a-z]+=\"|<script(?![^>]*src=)")


def page(cast, path, person=None, status=200):
    answer = cast.client(person or cast.ada).get(f"/p/lantern/{path}")
    assert answer.status_code == status, answer.content.decode()[:2000]
    html = answer.content.decode()
    assert not STYLE.search(html), STYLE.search(html)
    return html


def launch(cast, **fields):
    run, _ = launch_run(
        project=cast.project, author=cast.ada, launch=Launch(recipe="span_reward_model", base_model="tiny", **fields)
    )
    return run


def test_the_train_page_shows_each_recipe_with_its_data(marked):
    html = page(marked, "train/")
    assert "Span reward model" in html
    assert "6 reviewed answers" in html
    assert "none yet" in html  # raft needs a reward model


def test_the_form_is_made_of_the_options_with_both_presets(marked):
    laptop, paper = (registry.get("span_reward_model").presets[name]["epochs"] for name in ("laptop", "paper"))
    assert laptop != paper
    html = page(marked, "train/span_reward_model/?preset=laptop")
    assert f'name="option-epochs" id="option-epochs" value="{laptop}"' in html
    assert f'paper: <span class="number">{paper}</span>' in html
    assert "How often every answer is read." in html
    assert "1 to 50" in html
    assert "Invented fact" in html
    assert 'value="0.0003"' in html
    other = page(marked, "train/span_reward_model/?preset=paper")
    assert 'value="0.00001"' in other
    assert f'laptop: <span class="number">{laptop}</span>' in other


@pytest.mark.parametrize("name", registry.RECIPES)
def test_every_recipe_has_a_form_with_its_data_and_its_options(marked, name):
    recipe = registry.get(name)
    html = page(marked, f"train/{name}/")
    assert recipe.title in html
    for option in recipe.Config.model_fields:
        assert f'name="option-{option}"' in html
    for kind in recipe.inputs:
        assert f"input-{kind}" in html or "Train one first" in html
    assert page(marked, f"train/{name}/data/").count("<tr>") > len(recipe.consumes)  # a row for each, and the head


def test_an_empty_project_says_what_to_do_first(cast):
    html = page(cast, "train/span_reward_model/")
    assert "Nothing to learn from yet" in html
    assert 'href="/p/lantern/label/"' in html
    html = page(cast, "train/raft/")
    assert "No prompts yet" in html
    assert "Train one first" in html
    assert "Nothing has been trained yet" in page(cast, "runs/")
    assert "No models yet" in page(cast, "models/")


def posted(html):
    """The fields of the launch form as a browser would send them."""
    form = html[html.index('id="launch"') :]
    data = dict(re.findall(r'<input type="(?:hidden|text|number)"[^>]*? name="([^"]+)"[^>]*? value="([^"]*)"', form))
    data |= dict.fromkeys(re.findall(r'<input type="checkbox" name="(option-[^"]+)"[^>]* checked>', form), "on")
    for name, options in re.findall(r'<select name="([^"]+)".*?>(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'<option(?: value="([^"]*)")? selected>([^<]*)', options)
        first = re.search(r'<option(?: value="([^"]*)")?>([^<]*)', options)
        data[name] = next(one for one in (chosen or first).groups() if one is not None)
    return {**data, "origins": ["human", "program", "model"]}


def test_the_form_as_it_opens_starts_a_run_once(marked, settings):
    settings.BASE_MODEL = "tiny"
    data = posted(page(marked, "train/span_reward_model/"))
    client = marked.client(marked.ada)
    for _ in range(2):  # a double click
        answer = client.post("/p/lantern/train/span_reward_model/", data)
        assert (answer.status_code, answer["Location"]) == (302, "/p/lantern/runs/1/")
    run = Run.objects.get()
    assert (run.preset, run.base_model.name) == ("laptop", "tiny")
    assert run.config.items() >= registry.get("span_reward_model").presets["laptop"].items()
    assert run.snapshot.query["origins"] == []


def test_what_is_wrong_stands_beside_its_field_and_nothing_typed_is_lost(marked):
    settings = {"option-epochs": "0", "option-lr": "quick", "base_model": "none", "seed": "-4", "name": "mine"}
    data = {**posted(page(marked, "train/span_reward_model/")), **settings}
    answer = marked.client(marked.ada).post("/p/lantern/train/span_reward_model/", data)
    html = answer.content.decode()
    assert answer.status_code == 422
    assert 'id="option-epochs-error">This is at least 1.' in html
    assert 'id="option-lr-error">This is a number.' in html
    assert 'value="quick"' in html
    assert 'value="mine"' in html
    assert "There is no base model" in html
    assert "The seed is a whole number" in html
    assert not Run.objects.exists()


def test_the_filters_choose_whose_marks_count(marked):
    response = make_response(make_prompt(marked.project), "one")
    mark(response, "one", label=make_label(marked.project))  # by a simulated person
    html = page(marked, "train/span_reward_model/data/?origins=human")
    assert '<td class="number">6</td>' in html
    html = page(marked, "train/span_reward_model/data/?origins=program")
    assert '<td class="number">1</td></tr>' in html
    data = {**posted(page(marked, "train/span_reward_model/")), "base_model": "tiny", "origins": ["human"]}
    marked.client(marked.ada).post("/p/lantern/train/span_reward_model/", data)
    assert Run.objects.get().snapshot.query["origins"] == ["human"]


def test_a_run_is_watched_as_it_goes(marked):
    run = launch(marked, name="first")
    html = page(marked, "runs/1/")
    assert "Waiting for a worker" in html
    assert 'hx-trigger="every 2s"' in html
    hold = lease.claim("w")
    told = [{"type": "metrics", "seq": 0, "at": 1.0, "step": 1, "total": 4, "values": {"loss": 0.5}}]
    told += [{"type": "log", "seq": 1, "at": 2.0, "level": "warning", "text": "3 rows <left> out"}]
    told += [{"type": "sample", "seq": 2, "at": 3.0, "step": 1, "data": SCORED}]
    told += [{"type": "sample", "seq": 3, "at": 3.0, "step": 1, "data": RANKED}]
    events.store(hold, told)
    html = page(marked, "runs/1/status/?seen=old")
    assert "Step 1 of 4 (25 %)" in html
    key = re.search(r"seen=([^\"]+)", html)[1]
    page(marked, f"runs/1/status/?seen={key}", status=204)
    html = page(marked, "runs/1/samples/?seen=none")
    assert '<span class="heat heat-18" title="-0.9">Ten</span>' in html
    assert "👩‍🔬</span> سنتان" in html
    assert "How long?" in html
    assert "kept" in html
    first = marked.client(marked.vic).get("/p/lantern/runs/1/curve/").json()
    assert first["points"] == [[1, 1, {"loss": 0.5}]]
    assert [(line["level"], line["text"]) for line in first["log"]] == [("warning", "3 rows <left> out")]
    later = marked.client(marked.vic).get(f"/p/lantern/runs/1/curve/?after={first['after']}").json()
    assert (later["points"], later["log"], later["after"], later["ended"]) == ([], [], first["after"], False)
    assert "step 1 of 4" in page(marked, "runs/")
    assert run.number == 1


SCORED = {"answer": "x", "text": "Ten 👩‍🔬 سنتان", "reward": -0.4, "tokens": [[0, 3, -0.9], [4, 7, 0.5], [90, 91, 1]]}
RANKED = {"question": "How long?", "answers": [{"text": "Two years.", "reward": 0.2, "dropped": "", "kept": True}]}


def test_a_run_says_how_long_it_will_still_take_by_its_steps_alone(marked):
    run = launch(marked)
    hold = lease.claim("test")
    told = [{"type": "log", "seq": 0, "at": 1000.0, "level": "info", "text": "Unpacking, which takes a while."}]
    for step in (1, 2, 3):
        metrics = {"type": "metrics", "seq": step, "at": 2000.0 + 30 * step, "step": step, "total": 9, "values": {}}
        told.append(metrics)
    events.store(hold, told[:2])
    assert "left" not in re.sub("left out", "", page(marked, "runs/1/status/"))
    events.store(hold, told[2:])
    assert "about 3 min 00 s left" in page(marked, "runs/1/status/")
    cancel_run(run=run, author=marked.ada)
    assert "about 3 min" not in page(marked, "runs/1/status/")


def test_a_failed_run_says_why_in_words_and_offers_to_try_again(marked):
    launch(marked)
    hold = lease.claim("w")
    lease.fail(hold, code="data.too_long", message="9 of 10 answers are too long.", action="Raise max_tokens.")
    html = page(marked, "runs/1/")
    assert "9 of 10 answers are too long." in html
    assert "Raise max_tokens." in html
    assert "data.too_long" in html
    assert "Try again" in html
    assert "every 2s" not in html
    client = marked.client(marked.ada)
    for _ in range(2):
        answer = client.post("/p/lantern/runs/1/again/", {"key": f"again-{Run.objects.get(number=1).pk}"})
        assert answer["Location"] == "/p/lantern/runs/2/"
    assert Run.objects.count() == 2
    assert 'href="/p/lantern/runs/1/"' in page(marked, "runs/2/")
    assert "Try again" not in page(marked, "runs/1/", marked.vic)
    assert "9 of 10" in page(marked, "runs/")


def test_cancel_is_a_button_for_admins(marked):
    launch(marked)
    assert "Cancel" in page(marked, "runs/1/")
    assert "Cancel" not in page(marked, "runs/1/", marked.mia)
    assert marked.client(marked.mia).post("/p/lantern/runs/1/cancel/").status_code == 403
    assert marked.client(marked.ada).post("/p/lantern/runs/1/cancel/").status_code == 302
    assert Run.objects.get().state == "cancelled"


def test_a_snapshot_page_names_the_records_of_its_rows(marked):
    run = launch(marked)
    write_snapshot(run.snapshot)
    html = page(marked, f"snapshots/{run.snapshot_id}/")
    assert run.snapshot.content_hash in html
    assert "Ten years, you fool." in html
    assert "from 1 record" in html
    page(marked, f"snapshots/{marked.project.pk}/", status=404)


def test_a_model_page_shows_figures_lineage_and_the_heat_map_form(marked):
    judge = make_model(marked.project, metrics={"auroc_bad": 0.8123})
    html = page(marked, f"models/{judge.pk}/")
    assert "0.812" in html
    assert f'data-url="/api/v1/projects/lantern/models/{judge.pk}/score"' in html
    assert escape("Ten years, you fool. Ask Ann.") in html
    assert html.count('class="heat heat-') == 21
    assert "Put into production" in html
    looked = page(marked, f"models/{judge.pk}/", marked.vic)
    assert "heat-map" not in looked
    assert "Put into production" not in looked
    answer = marked.client(marked.ada).post(f"/p/lantern/models/{judge.pk}/stage/", {"stage": "production"})
    assert answer.status_code == 302
    judge.refresh_from_db()
    assert judge.stage == "production"
    assert "judge v1" in page(marked, "models/")


def test_a_policy_shows_what_it_wrote(marked):
    policy = make_model(marked.project, kind="policy", name="raft")
    prompt = Response.objects.filter(project=marked.project).first().prompt
    make_response(prompt, "A brand new answer", model_version=policy.pk)
    html = page(marked, f"models/{policy.pk}/")
    assert "A brand new answer" in html
    assert "heat-map" not in html


def test_lists_page_by_key(marked):
    for _ in range(32):
        cancel_run(run=launch(marked), author=marked.ada)
    html = page(marked, "runs/")
    assert "Run 32" in html
    assert ">Run 1<" not in html
    following = re.search(r'href="/p/lantern/(runs/\?after=[^"]+)"', html)[1]
    assert ">Run 1<" in page(marked, following)
