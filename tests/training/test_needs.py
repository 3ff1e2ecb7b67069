"""A recipe may need one of several kinds of model: the form offers them all, and any one of them starts a run."""

import re
from dataclasses import replace

import pytest

from tests.training.factories import make_base, make_model, make_prompt
from tests.training.test_launch import refused
from tests.training.test_pages import page, posted
from training.actions.runs import Launch, launch_run
from training.models import Run
from training.recipes import registry
from training.recipes.base import in_words
from training.runs import events, lease

NEED = "reward_model|span_reward_model"


@pytest.fixture
def judged(cast, monkeypatch):
    """A project with a prompt, and a recipe that needs a judge of either kind."""
    recipe = replace(registry.get("raft"), name="judged", title="Judged", needs=(NEED,), takes=("policy",))
    monkeypatch.setitem(registry.RECIPES, "judged", recipe)
    make_base()
    make_prompt(cast.project)
    return cast


def start(cast, **inputs):
    launch = Launch(recipe="judged", base_model="tiny", inputs={kind: model.pk for kind, model in inputs.items()})
    return launch_run(project=cast.project, author=cast.ada, launch=launch)[0]


def test_a_need_is_met_by_any_of_its_kinds_and_said_with_an_or(judged):
    recipe = registry.get("judged")
    assert recipe.inputs == ("reward_model", "span_reward_model", "policy", "watch")
    assert recipe.unmet(["policy"]) == [NEED]
    assert recipe.unmet(["span_reward_model"]) == recipe.unmet(["reward_model"]) == []
    assert in_words(NEED) == "reward model or span reward model"
    assert recipe.card()["needs"] == [NEED]


@pytest.mark.parametrize("kind", ["reward_model", "span_reward_model"])
def test_a_model_of_either_kind_starts_a_run(judged, kind):
    model = make_model(judged.project, kind=kind)
    run = start(judged, **{kind: model})
    assert {one.kind: one.model_version for one in run.inputs.all()} == {kind: model}


def test_without_either_nothing_starts_and_both_are_named(judged):
    problems = refused(judged, Launch(recipe="judged", base_model="tiny"))
    assert set(problems) == {"/inputs/reward_model"}
    assert "needs a reward model or span reward model" in problems["/inputs/reward_model"]["message"]
    assert "none yet" in problems["/inputs/reward_model"]["message"]
    make_model(judged.project)
    problems = refused(judged, Launch(recipe="judged", base_model="tiny"))
    assert "Choose one" in problems["/inputs/reward_model"]["message"]


def test_a_model_handed_over_as_another_kind_is_refused(judged):
    spans = make_model(judged.project)
    launch = Launch(recipe="judged", base_model="tiny", inputs={"reward_model": spans.pk})
    assert refused(judged, launch)["/inputs/reward_model"]["code"] == "input.kind"


def test_the_form_offers_models_of_either_kind_in_one_field(judged, settings):
    settings.BASE_MODEL = "tiny"
    html = page(judged, "train/")
    assert "a reward model or span reward model" in html
    assert "Train one first" in page(judged, "train/judged/")
    spans = make_model(judged.project, name="marks")
    pairs = make_model(judged.project, kind="reward_model", name="pairs")
    html = page(judged, "train/judged/")
    offered = re.search(r'<select name="input-reward_model-or-span_reward_model".*?</select>', html, re.DOTALL).group()
    assert f'value="{spans.pk}"' in offered
    assert f'value="{pairs.pk}"' in offered
    assert "(span reward model, " in offered
    for model in (spans, pairs):
        data = {**posted(html), "input-reward_model-or-span_reward_model": str(model.pk)}
        data["key"] = str(model.pk)
        assert judged.client(judged.ada).post("/p/lantern/train/judged/", data).status_code == 302
    kinds = {one.kind: one.model_version for run in Run.objects.all() for one in run.inputs.all()}
    assert kinds == {"reward_model": pairs, "span_reward_model": spans}


def test_a_sample_shows_reward_advantage_and_whether_the_answer_was_cut_off(judged):
    start(judged, span_reward_model=make_model(judged.project))
    answers = [
        {"text": "Two years.", "reward": 0.25, "advantage": 1.5},
        {"text": "Ten years, and", "reward": None, "advantage": 0.0, "cut_off": True},
    ]
    told = {"type": "sample", "seq": 0, "at": 1.0, "step": 1, "data": {"question": "How long?", "answers": answers}}
    events.store(lease.claim("test"), [told])
    html = re.sub(r"<[^>]+>", "", page(judged, "runs/1/"))
    assert "reward 0.25 advantage 1.5" in html
    assert "advantage 0 cut off" in html
