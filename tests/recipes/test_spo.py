"""spo plays its answers against each other: what wins becomes likelier, and it says how it stands."""

import json
import math
import random

import pytest
import torch

from tests.recipes.practice import QUICK, adapter_of, judge_by, practise, starts_with_hi, told_after
from tests.recipes.test_grpo import stop_at
from training import engine
from training.engine.policy import Lora, Policy
from training.recipes import raters, spo
from training.recipes.answers import Answers, Gap, with_advantages
from training.recipes.asking import Ask
from training.recipes.context import Cancelled, Events, RecipeError, RunContext
from training.recipes.raters import Chance, Match, Rater, rater_of
from training.recipes.registry import get
from training.recipes.spo import meetings, win_rates
from training.recipes.standings import circles_of
from training.worlds import games
from training.worlds.cycles import CIRCLE, LADDER


def sample_of(text, finished=True):
    return engine.rollouts.Sample(prompt=0, seed=0, ids=[1], logprobs=[0.0], text=text, finished=finished)


def rates_of(p, samples, comparisons=0, seed=0):
    """Win rates of one group whose chances are the matrix p, with None for a pair that cannot be read."""
    edges = meetings(samples, comparisons, random.Random(seed))
    return win_rates(samples, [edges], [p[i][j] for i, j in edges])[0]


def antisymmetric(samples, seed=0):
    chance = random.Random(seed)
    p = [[0.5] * samples for _ in range(samples)]
    for i in range(samples):
        for j in range(i):
            p[i][j] = chance.random()
            p[j][i] = 1 - p[i][j]
    return p


# --- the card's units


@pytest.mark.parametrize("samples", [2, 5, 8])
def test_win_rates_of_a_group_sum_to_half_its_size(samples):
    for seed in range(5):
        assert rates_of(antisymmetric(samples, seed), samples).sum().item() == pytest.approx(samples / 2, abs=1e-12)


@pytest.mark.parametrize(("samples", "comparisons"), [(8, 3), (8, 1), (6, 5), (7, 4), (5, 2)])
def test_in_a_regular_subset_everybody_meets_as_many_others(samples, comparisons):
    for seed in range(5):
        edges = meetings(samples, comparisons, random.Random(seed))
        met = [sum(i in pair for pair in edges) for i in range(samples)]
        assert met == [comparisons] * samples
        rates = rates_of(antisymmetric(samples, seed), samples, comparisons, seed)
        assert rates.sum().item() == pytest.approx(samples / 2, abs=1e-12)


def test_the_ranking_by_win_rate_is_the_true_one_where_there_is_one():
    order = [3, 0, 5, 1, 4, 2]
    p = [[1 / (1 + math.exp(-(order[i] - order[j]))) for j in range(6)] for i in range(6)]
    assert rates_of(p, 6).argsort().tolist() == torch.tensor(order).argsort().tolist()


def test_the_order_of_answers_changes_no_win_rate():
    p = antisymmetric(6)
    turned = [5, 3, 0, 1, 4, 2]
    other = [[p[i][j] for j in turned] for i in turned]
    assert rates_of(other, 6).tolist() == pytest.approx(rates_of(p, 6)[turned].tolist())


def test_an_unreadable_pair_is_a_tie_and_an_answer_that_is_hardly_readable_has_no_rate():
    p = antisymmetric(4)
    p[0][1] = None
    rates = rates_of(p, 4)
    assert rates.sum().item() == pytest.approx(2.0)
    p[0][2] = None
    rates = rates_of(p, 4)
    assert rates[0].isnan()
    assert not rates[1:].isnan().any()


def test_exact_self_play_goes_round_the_winner_and_its_average_comes_near():
    average, last = games.hedge(CIRCLE, rounds=1000, rate=0.1)
    assert average[:3] == pytest.approx([0.2839, 0.1328, 0.5744], abs=1e-4)
    assert average[3:].sum() < 0.01
    found = games.exploitability(CIRCLE, average)
    assert found == pytest.approx(0.0108, abs=1e-4)
    assert found < math.log(6) / (0.1 * 1000) + 0.05
    assert games.exploitability(CIRCLE, last) == pytest.approx(0.233, abs=5e-4)
    winner = [2 / 7, 1 / 7, 4 / 7, 0, 0, 0]
    assert (CIRCLE @ winner).max() == pytest.approx(0.0, abs=1e-12)


# --- raters


def test_a_rater_says_the_same_whichever_answer_stands_first_and_asks_once():
    calls = []

    def source(matches):
        calls.extend(matches)
        return [Chance(0.8) for _ in matches]

    rater = Rater(source, "test")
    ask = Ask("p", [], [], [])
    one, other = sample_of("one"), sample_of("two")
    there, back, again, itself = rater(
        [Match(ask, *pair) for pair in ((one, other), (other, one), (one, other), (one, one))]
    )
    assert (there, back, again, itself) == (0.8, pytest.approx(0.2), 0.8, 0.5)
    assert len(calls) == 1
    assert rater.figures()["comparisons"] == 4


def test_an_answer_that_was_cut_off_or_has_no_words_loses_log_odds(tmp_path):
    rater = Rater(lambda matches: [Chance(0.5) if m.second.text.strip() else None for m in matches], "test")
    rater.shaping = lambda sample: (not sample.finished) * math.log(3) + (not sample.text.strip()) * math.log(9)
    ask = Ask("p", [], [], [])
    cut, whole, empty = sample_of("b", False), sample_of("c"), sample_of("")
    assert rater([Match(ask, cut, whole), Match(ask, whole, cut)]) == [pytest.approx(0.25), pytest.approx(0.75)]
    assert rater([Match(ask, whole, empty)]) == [pytest.approx(0.9)]


@pytest.fixture
def context(tmp_path, base):
    def made(**given):
        return RunContext(directory=tmp_path, events=Events(tmp_path / "events.jsonl"), base_model=base, **given)

    return made


def test_one_rater_is_needed_and_no_second_one(context):
    given = {"judge": None, "beside": None, "shaping": {"missing_stop": 0.0, "empty": 0.0}}
    with pytest.raises(RecipeError, match="Nothing compares"):
        rater_of(context(), checker="", **given)
    with pytest.raises(RecipeError, match="would say which"):
        rater_of(context(models={"reward_model": "x"}), checker="cycles", **given)
    with pytest.raises(RecipeError, match="Two models"):
        rater_of(context(models={"reward_model": "x", "preference_model": "y"}), checker="", **given)


def test_a_reward_model_as_rater_is_warned_about(context, tmp_path):
    class Judge:
        def __call__(self, asks, samples):
            self.total = torch.tensor([float(len(one.text)) for one in samples])
            return self

    run = context(models={"reward_model": "x"})
    shaping = {"missing_stop": 0.0, "empty": 0.0}
    rater = rater_of(run, checker="", judge=Judge, beside=None, shaping=shaping)
    ask = Ask("p", [], [], [])
    assert rater([Match(ask, sample_of("abc"), sample_of("a"))]) == [pytest.approx(1 / (1 + math.exp(-2)))]
    (said,) = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert (said["level"], said["text"]) == ("warning", raters.SCALAR)


def test_a_worlds_crowd_compares():
    from training.worlds.registry import world

    known = world("cycles")
    prompt = known.prompts(1)[0]
    ask = Ask(prompt.id, list(prompt.messages), [], [])
    a, b, c = (sample_of(known.word(prompt, role)) for role in range(3))
    found = Rater(raters.by_program("cycles"), "cycles")(
        [Match(ask, a, b), Match(ask, c, a), Match(ask, a, sample_of("x"))]
    )
    assert found == [pytest.approx(0.9), pytest.approx(0.6), 1.0]
    strange = Ask("q", [{"role": "user", "content": "of no world"}], [], [])
    assert Rater(raters.by_program("cycles"), "cycles")([Match(strange, a, b)]) == [None]


def test_the_cycle_report_tells_a_circle_from_a_ladder():
    circle, ladder = (circles_of(((1 + matrix) / 2).tolist()) for matrix in (CIRCLE, LADDER))
    assert circle["circles"] == pytest.approx(1 / 20)  # of A, B, C alone
    assert ladder["circles"] == 0.0
    assert circle["curl"] > 5 * ladder["curl"]
    assert circle["residual"] > 0.03 > ladder["residual"]
    assert circles_of([[0.5]]) == {"circles": 0.0, "curl": 0.0, "residual": 0.0}


# --- the step


@pytest.fixture
def run_of(tmp_path, base, snapshot, monkeypatch):
    def practised(place="run", **config):
        config = {"beta": 0.01, **config}
        return practise(tmp_path / place, "spo", base, snapshot, monkeypatch, **config)

    return practised


def test_what_wins_becomes_likelier_and_it_says_how_it_stands(run_of):
    run = run_of(every=2, held_out_answers=2)
    assert run.figures("reward") == pytest.approx([0.5] * 5)  # against itself it wins half
    assert run.figures("win/reference")[-1] > 0.6
    assert run.figures("kl/reference")[-1] > 0
    assert run.figures("comparisons")[0] == 6 * 28
    card = json.loads((run.artifact / "redpen.json").read_text())
    assert card["ships"] == "last"
    assert {"win/reference", "exploitability", "cycle/looks_circles"} <= set(card["metrics"])
    whole = json.loads((run.artifact / "cycles.json").read_text())
    assert whole["looks"] == ["step 0", "step 2", "step 4", "step 5"]
    wins = torch.tensor(whole["wins"])
    torch.testing.assert_close(wins + wins.T, torch.ones_like(wins), atol=2e-4, rtol=0)
    assert wins[-1, 0].item() == pytest.approx(run.figures("win/reference")[-1], abs=1e-4)


def test_ties_change_nothing(run_of, base):
    run = run_of(check=lambda ask, text: 1.0, beta=0.0, empty=0.0, steps=1, held_out=0, new_answers=0)
    fresh = Policy.load(base, lora=Lora(rank=8), seed=0).state_dict()
    saved = adapter_of(run)
    assert all(torch.equal(saved[name.replace(".default", "")], value) for name, value in fresh.items())
    assert run.figures("rater/certainty") == [0.0]


@pytest.mark.parametrize("ship", ["average", "mixture"])
def test_what_is_shipped_may_be_an_average_or_a_mixture(run_of, ship):
    run = run_of(ship=ship, every=2, steps=4)
    card = json.loads((run.artifact / "redpen.json").read_text())
    if ship == "mixture":
        assert card["mixture"] == ["mixture/step-2", "mixture/step-4"]
        assert all((run.artifact / place / "adapter_model.safetensors").exists() for place in card["mixture"])
        return
    whole = json.loads((run.artifact / "cycles.json").read_text())
    assert whole["looks"][-1] == "average"
    last = run_of("last", every=2, steps=4)
    assert not all(torch.equal(value, adapter_of(last)[name]) for name, value in adapter_of(run).items())


def test_a_run_that_was_stopped_and_taken_up_again_is_the_unbroken_one_bit_for_bit(
    tmp_path, base, snapshot, monkeypatch, run_of
):
    settings = {
        "steps": 4,
        "prompts": 3,
        "samples": 4,
        "comparisons": 3,
        "labels": "drawn",
        "every": 1,
        "ship": "average",
    }
    whole = run_of("whole", **settings)
    config = get("spo").config({**QUICK, **settings, "beta": 0.01, "checker": judge_by(monkeypatch, starts_with_hi)})
    broken = tmp_path / "broken"
    broken.mkdir()
    context = RunContext(
        directory=broken, events=Events(broken / "events.jsonl"), base_model=base, snapshot=snapshot, checkpoint_steps=1
    )
    stop_at(context, step=2)
    with pytest.raises(Cancelled):
        get("spo").train(context, config)
    second = run_of("second", resume_from=[broken], **settings)
    assert second.of("resumed")[0]["step"] == 2
    assert told_after(second, 2) == told_after(whole, 2)
    assert all(torch.equal(value, adapter_of(second)[name]) for name, value in adapter_of(whole).items())
    assert (second.artifact / "cycles.json").read_text() == (whole.artifact / "cycles.json").read_text()


def test_the_gradient_is_that_of_the_equation(base):
    policy = Policy.load(base, lora=Lora(rank=4), seed=0)
    messages = [{"role": "user", "content": "How long is the warranty?"}]
    ask = Ask("p", messages, [], engine.scoring.prompt_ids(policy.tokenizer, messages, [], passage_tokens=0))
    sampling = engine.rollouts.Sampling(max_tokens=6, temperature=0.9)
    group = engine.rollouts.sample(policy, [ask.ids], 3, sampling=sampling, seed=1)
    rates = win_rates(3, [meetings(3, 0, None)], [0.9, 0.3, 0.6])
    assert rates.tolist()[0] == pytest.approx([0.6, 0.35, 0.55])
    answers = Answers([ask], [group], rates, {"win_rate": rates})
    config = spo.Config(temperature=0.9, beta=0.0)

    _, advantages = spo.credited(config, policy, answers)
    units = with_advantages(answers.units(config.budget), advantages)
    (pack,) = engine.packs.micro_batches(units, tokens=config.budget)
    loss = spo.loss_of(config, policy, pack, Gap(), 1.0)
    (loss.total / loss.count).backward()
    mine = torch.cat([parameter.grad.flatten() for parameter in policy.parameters])

    for parameter in policy.parameters:
        parameter.grad = None
    expected = 0.0
    for place, one in enumerate(group):
        ids = torch.tensor([ask.ids + one.ids])
        logits = policy.model(ids).logits[0, len(ask.ids) - 1 : -1] / 0.9
        logprob = logits.log_softmax(-1).gather(-1, torch.tensor(one.ids)[:, None]).mean()
        expected = expected - (rates[0, place].item() - 0.5) * logprob / 3
    expected.backward()
    theirs = torch.cat([parameter.grad.flatten() for parameter in policy.parameters])
    torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-6)
    assert theirs.abs().max() > 1e-3


def test_the_kl_in_the_reward_is_compared_with_the_groups_mean(base):
    policy = Policy.load(base, lora=Lora(rank=4), seed=0)
    rates = torch.tensor([[0.6, 0.4, math.nan]], dtype=torch.float64)
    messages = [{"role": "user", "content": "How long is the warranty?"}]
    ask = Ask("p", messages, [], engine.scoring.prompt_ids(policy.tokenizer, messages, [], passage_tokens=0))
    sampling = engine.rollouts.Sampling(max_tokens=4)
    group = engine.rollouts.sample(policy, [ask.ids], 3, sampling=sampling, seed=1)
    answers = Answers([ask], [group], rates, {"win_rate": rates})
    paid, advantages = spo.credited(spo.Config(beta=0.1, kl="reward"), policy, answers)
    assert "kl" in paid.parts
    assert advantages.tolist()[0] == pytest.approx([0.1, -0.1, 0.0])  # nothing learned yet: the KL is 0
    config = spo.Config(beta=0.1, kl="loss")
    assert spo.credited(config, policy, answers)[1].tolist()[0] == pytest.approx([0.1, -0.1, 0.0])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"samples": 1}, "nobody to play against"),
        ({"samples": 4, "comparisons": 4}, "at most 3"),
        ({"samples": 5, "comparisons": 3}, "must be even"),
        ({"truth": "nowhere"}, "no such checker"),
    ],
)
def test_what_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        spo.Config(**options)
