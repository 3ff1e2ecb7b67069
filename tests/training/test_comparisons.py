"""Comparisons: a graph of runs that goes on whatever happens, and what is told of it."""

import pytest
from django.core.management import CommandError, call_command

from annotation.models import Campaign, Preference, Prompt, Rewrite, SpanCritique
from tests.training.factories import make_base, make_prompt, make_response
from training.actions import chains
from training.actions.comparisons import (
    ComparisonRefused,
    cancel_comparison,
    check_options,
    resume_comparison,
    start_comparison,
)
from training.actions.snapshots import write_snapshot
from training.compare.options import Options, read_subject
from training.compare.people import labelled, world_project
from training.compare.plan import plan
from training.models import Run, Snapshot
from training.models.runs import ENDED
from training.queries import comparisons as queries
from training.recipes import registry
from training.runs import lease, worker
from training.worlds.registry import world

POLICIES = [name for name, recipe in registry.RECIPES.items() if recipe.produces == "policy"]


@pytest.fixture
def compared(committed):
    """A project with what sft and text2grad need, which workers see."""
    for split in ("train", "test"):
        prompt = make_prompt(committed.project, split=split)
        response = make_response(prompt, "Ten years.")
        Rewrite.objects.create(
            project=committed.project,
            response=response,
            better=make_response(prompt, "Two years."),
            author=committed.ben,
            client_key=split,
        )
    return committed


def start(cast, **options):
    given = {"recipes": ["sft", "text2grad"], "seeds": [0, 1], "checker": "support", "base_model": "tiny", **options}
    return start_comparison(project=cast.project, author=cast.ada, options=given)[0]


def states(comparison):
    return {trial.place: trial.run.state for trial in queries.trials_of(comparison)}


def carry_on(times=100):
    """Be the worker."""
    for _ in range(times):
        if not worker.work_once():
            return


# --- what is asked


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize("settings", ["", "words", "support"])
def test_every_recipe_can_be_planned_with_options_that_it_takes(name, settings):
    places = plan(Options(recipes=(name,), seeds=(0, 1), settings=settings, checker="words"))
    for place in places:
        registry.get(place.recipe).config(place.config, preset=None if settings else "laptop")
    kinds = {registry.get(place.recipe).produces for place in places if place.place in places[-2].after}
    recipe = registry.get(name)
    assert not recipe.unmet(kinds)
    assert places[-1].after == (f"{name}/1/policy",)


def test_judges_are_shared_by_the_recipes_of_a_seed():
    places = plan(Options(recipes=("ppo", "grpo"), seeds=(0, 1), checker="words"))
    judges = [place.place for place in places if place.part == "judge"]
    assert judges == ["reward_model/0/judge", "reward_model/1/judge"]
    assert {place.run_seed for place in places if place.part == "evaluation"} == {0}


def test_a_recipe_that_asks_a_program_has_no_judge_and_reads_no_label():
    places = {place.place: place for place in plan(Options(recipes=("nft", "nft:checker=words"), checker="words"))}
    assert places["nft/0/policy"].after == ("reward_model/0/judge",)
    asks = places["nft:checker=words/0/policy"]
    assert (asks.after, asks.kinds, asks.config["checker"]) == ((), ("prompt",), "words")


def test_without_a_program_a_fresh_reward_model_judges_what_is_held_out():
    places = plan(Options(recipes=("grpo",), seeds=(3,)))
    fresh = next(place for place in places if place.place.endswith("fresh judge"))
    learned = next(place for place in places if place.place == "reward_model/3/judge")
    assert fresh.run_seed != learned.run_seed
    assert all(fresh.place in place.after for place in places if place.part == "evaluation")


def test_a_recipe_may_carry_options_of_its_own():
    assert read_subject("grpo:lr=0.01, kl=reward,dynamic=2") == ("grpo", {"lr": 0.01, "kl": "reward", "dynamic": 2})


@pytest.mark.parametrize(
    ("options", "pointer"),
    [
        ({"recipes": []}, "/options/recipes"),
        ({"recipes": ["alchemy"]}, "/options/recipes"),
        ({"recipes": ["reward_model"]}, "/options/recipes"),
        ({"recipes": ["sft", "sft"]}, "/options/recipes"),
        ({"seeds": [1, 1]}, "/options/seeds"),
        ({"colour": 1}, "/options/colour"),
        ({"checker": "atlantis"}, "/options/checker"),
        ({"checker": "words:seed=x"}, "/options/checker"),
        ({"labels": -3}, "/options/labels"),
        ({"campaigns": ["0193f5e4-0000-7000-8000-000000000000"], "seeds": [0, 1]}, "/options"),
    ],
)
def test_what_cannot_be_compared_is_refused_with_its_place(options, pointer):
    with pytest.raises(ComparisonRefused) as refused:
        check_options(options)
    assert [one["pointer"] for one in refused.value.problems] == [pointer]


def test_nothing_is_started_where_one_run_is_refused(compared):
    with pytest.raises(ComparisonRefused) as refused:
        start(compared, recipes=["sft", "text2grad:samples=0"])
    assert refused.value.problems[0]["pointer"] == "/config/samples"
    assert "text2grad:samples=0/0/policy" in refused.value.problems[0]["message"]
    assert not Run.objects.exists()
    assert not Snapshot.objects.exists()


# --- how it goes


def test_a_comparison_goes_from_its_graph_to_a_table(compared, stand_in):
    comparison = start(compared)
    assert comparison.trials.count() == 1 + 2 * (1 + 2 * 2)  # before; for each seed a judge and two recipes' two runs
    assert states(comparison)["text2grad/0/policy"] == "waiting"
    carry_on()
    assert set(states(comparison).values()) == {"succeeded"}
    text2grad = Run.objects.get(trials__place="text2grad/1/policy")
    assert text2grad.inputs.get().model_version.run == Run.objects.get(trials__place="span_reward_model/1/judge")
    report = queries.report(comparison)
    lines = {line.subject: line for line in report.lines}
    assert report.before == 0.4
    assert (lines["sft"].worth.mean, lines["sft"].acts.mean, lines["sft"].cpu_seconds.mean) == (0.7, 2, 2.0)
    assert (lines["text2grad"].acts.mean, lines["text2grad"].cpu_seconds.mean) == (
        6,
        4.0,
    )  # five marks and a clean answer
    assert lines["text2grad"].win_rate.mean == 1.0
    assert lines["text2grad"].tokens.mean == 100


def test_one_that_was_cancelled_is_resumed_from_where_it_stood(compared, stand_in):
    comparison = start(compared)
    carry_on(times=4)
    done = {place for place, state in states(comparison).items() if state == "succeeded"}
    assert done
    cancel_comparison(comparison=comparison, author=compared.ada)
    assert set(states(comparison).values()) == {"succeeded", "cancelled"}
    assert queries.progress_of(comparison, queries.trials_of(comparison))["state"] == "cancelled"
    kept = {trial.place: trial.run_id for trial in queries.trials_of(comparison) if trial.place in done}
    _, launched = resume_comparison(comparison=comparison, author=compared.ada)
    assert launched == comparison.trials.count() - len(done)
    carry_on()
    assert set(states(comparison).values()) == {"succeeded"}
    assert {trial.place: trial.run_id for trial in queries.trials_of(comparison) if trial.place in done} == kept
    assert resume_comparison(comparison=comparison, author=compared.ada)[1] == 0


def test_a_run_that_failed_takes_only_its_followers_with_it(compared, stand_in):
    comparison = start(compared, seeds=[0])
    judge = Run.objects.get(trials__place="span_reward_model/0/judge")
    Run.objects.filter(pk=judge.pk).update(due_at="2000-01-01T00:00:00Z")
    hold = lease.claim("w")
    assert hold.run_id == judge.pk
    lease.fail(hold, code="x", message="It broke.", action="Mend it.")
    chains.move_on()
    found = states(comparison)
    assert (found["text2grad/0/policy"], found["text2grad/0/evaluation"]) == ("failed", "failed")
    carry_on()
    assert states(comparison)["sft/0/evaluation"] == "succeeded"
    progress = queries.progress_of(comparison, queries.trials_of(comparison))
    assert (progress["state"], progress["over"]) == ("failed", True)
    assert [line.subject for line in queries.report(comparison).lines] == ["sft"]
    resume_comparison(comparison=comparison, author=compared.ada)
    carry_on()
    assert set(states(comparison).values()) == {"succeeded"}


# --- worlds as projects


@pytest.mark.parametrize("spec", ["words", "support", "digits", "cycles"])
def test_the_people_of_a_world_do_just_so_many_acts_of_each_kind(cast, spec):
    project = world_project(spec, cast.ada)
    first, second = (labelled(project, spec, seed=seed, acts=12) for seed in (0, 1))
    assert labelled(project, spec, seed=0, acts=12) == first
    assert Campaign.objects.filter(project=project, name__startswith="12 acts").count() == 2
    assert Preference.objects.filter(project=project).count() == 24
    assert SpanCritique.objects.filter(project=project).count() <= 24
    make_base()
    recipes = ["dpo"] if spec == "cycles" else ["sft", "dpo"]  # in circles there is nothing to mend
    options = {"recipes": recipes, "seeds": [0, 1], "checker": spec, "campaigns": [first.pk, second.pk]}
    comparison, _ = start_comparison(project=project, author=cast.ada, options=options)
    for place, acts in {f"{recipe}/{seed}/policy": 12 for recipe in recipes for seed in (0, 1)}.items():
        snapshot = write_snapshot(Run.objects.get(trials__comparison=comparison, trials__place=place).snapshot)
        assert queries.acts_in(snapshot) == acts
    prompt = Prompt.objects.filter(project=project).first()
    assert world(spec).prompt_from(prompt.messages, prompt.context) is not None


def test_marks_and_clean_answers_are_counted_as_acts(cast):
    project = world_project("words", cast.ada)
    campaign = labelled(project, "words", seed=0, acts=15)
    make_base()
    options = {"recipes": ["text2grad"], "seeds": [0], "checker": "words", "campaigns": [campaign.pk]}
    comparison, _ = start_comparison(project=project, author=cast.ada, options=options)
    judge = Run.objects.get(trials__comparison=comparison, trials__place="span_reward_model/0/judge")
    assert queries.acts_in(write_snapshot(judge.snapshot)) == 15


# --- the command


def test_the_command_runs_it_all_and_writes_the_table(compared, stand_in, monkeypatch, tmp_path, capsys):
    from contextlib import contextmanager

    from training.compare import machine

    @contextmanager
    def is_up(say):
        yield True

    @contextmanager
    def no_workers(count):
        carry_on()
        yield []

    monkeypatch.setattr(machine, "servers", is_up)
    monkeypatch.setattr(machine, "workers", no_workers)
    where = {"project": compared.project.slug, "owner": compared.ada.email}
    call_command("compare", recipes="sft", checker="support", base="tiny", seeds="2", out=tmp_path, **where)
    said = capsys.readouterr()
    assert "| sft | 0.700 (0.700 to 0.700) |" in said.out
    assert "5 of 5 runs done" in said.err
    assert {path.name for path in tmp_path.iterdir()} == {"table.md", "plot.svg", "report.json"}
    call_command("compare", list=True, **where)
    assert "succeeded  5 of 5" in capsys.readouterr().out
    assert set(Run.objects.values_list("state", flat=True)) <= set(ENDED)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"world": "atlantis"}, "--world: There is no world “atlantis”; there are words, digits, cycles, support."),
        ({"world": "words:zzz"}, "--world: The world words has no option “zzz”"),
        ({"world": "digits:seed=x"}, "--world: The world digits takes a whole number for “seed”, not “x”."),
        ({"people": "praises=abc"}, "--people: praises is a number from 0 to 1, not “abc”."),
        ({"people": "noise=2"}, "--people: noise is a number from 0 to 1, not 2."),
        ({"people": "foo=1"}, "--people: there is no parameter “foo”; there are skill, noise,"),
        ({"labels": -3}, "/options/labels: "),
        ({"recipes": "alchemy"}, "/options/recipes: There is no recipe “alchemy” that makes a policy; there are "),
        ({"recipes": "grpo:lr=-1"}, "/config/lr: grpo:lr=-1/0/policy: "),
        ({"seeds": "x"}, "--seeds is a number"),
    ],
)
def test_the_command_says_what_is_wrong_before_anybody_has_worked(compared, monkeypatch, options, said):
    from contextlib import nullcontext

    from training.compare import machine

    monkeypatch.setattr(machine, "servers", lambda say: nullcontext(True))
    monkeypatch.setattr(machine, "world_base", lambda world, say: "tiny")
    given = {"world": "words", "labels": 20, "owner": compared.ada.email, **options}
    with pytest.raises(CommandError) as refused:
        call_command("compare", **given)
    assert str(refused.value).startswith(said)
    assert str(refused.value).count("alchemy") <= 1
    assert "\n" not in str(refused.value)
    assert not Campaign.objects.filter(name__contains="acts of each kind").exists()
