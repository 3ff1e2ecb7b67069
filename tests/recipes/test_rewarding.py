"""What an answer is worth: every judge of a run, weighed and told apart; no verdict is not zero."""

import json
import math
import shutil

import pytest
import torch

from training import engine
from training.engine.heads import ScoreHead
from training.engine.policy import Policy
from training.engine.rollouts import Sample
from training.recipes.asking import Ask
from training.recipes.context import Events, RecipeError, RunContext
from training.recipes.rewarding import Judge, by_program, on_tokens, places_of, weights_of


@pytest.fixture(scope="module")
def policy(base):
    return Policy.load(base, seed=0)


@pytest.fixture
def run(tmp_path, base):
    def given(**models):
        return RunContext(
            directory=tmp_path, events=Events(tmp_path / "events.jsonl"), base_model=base, models=models, seed=5
        )

    return given


def answered(policy, *texts, question="How long is the warranty?", finished=True):
    messages = [{"role": "user", "content": question}]
    ask = Ask("p", messages, [], engine.scoring.prompt_ids(policy.tokenizer, messages, [], passage_tokens=0))
    samples = []
    for text in texts:
        ids = policy.tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = [*ids, policy.tokenizer.eos_token_id] if finished else ids
        samples.append(Sample(0, 0, ids, [-0.5] * len(ids), text, finished))
    return [ask] * len(samples), samples


@pytest.fixture(scope="module")
def reward_model(tmp_path_factory, base, policy):
    """A reward model that has learned nothing but has opinions."""
    folder = tmp_path_factory.mktemp("reward-model")
    head = ScoreHead(policy.model.get_input_embeddings().weight.shape[1])
    torch.manual_seed(0)
    with torch.no_grad():
        head.linear.weight.normal_()
    head.save(folder / "head.safetensors")
    card = {"kind": "reward_model", "base": str(base), "reading": {"passage_tokens": 0, "max_tokens": 256}}
    (folder / "redpen.json").write_text(json.dumps(card))
    return folder


def test_a_reward_model_reads_the_very_tokens_that_were_sampled(run, policy, reward_model):
    asked, samples = answered(policy, "Two years.", "Ask Ann, please.")
    verdict = Judge.of(run(reward_model=reward_model))(asked, samples)
    scorer = engine.reward_scoring.RewardScorer.load(reward_model)
    for ask, one, reward in zip(asked, samples, verdict.total.tolist(), strict=True):
        pack = engine.packs.lay_out(
            [engine.packs.Row("r", [*ask.ids, *one.ids], [False] * (len(ask.ids) + len(one.ids)))]
        )
        with torch.no_grad():
            score = engine.heads.row_scores(scorer.policy.model, scorer.head, pack)[0, 0].item()
        assert reward == pytest.approx(score, abs=1e-4)
    assert verdict.total[0] != verdict.total[1]


def test_judges_are_weighed_and_told_apart(run, policy, reward_model, monkeypatch):
    monkeypatch.setattr(
        "training.recipes.rewarding.CHECKERS", {"long": lambda argument: lambda ask, text: float(len(text))}
    )
    asked, samples = answered(policy, "Two years.", "Ask Ann.")
    one = Judge.of(run(reward_model=reward_model))(asked, samples)
    both = Judge.of(run(reward_model=reward_model), checker="long", weights="reward_model=0.5, checker = -2")(
        asked, samples
    )
    assert set(both.parts) == {"reward_model", "checker"}
    assert both.parts["checker"].tolist() == [-20.0, -16.0]
    torch.testing.assert_close(both.total, 0.5 * one.total + both.parts["checker"])


# --- the unit of a mix is said


@pytest.fixture
def lengths(monkeypatch):
    """A program that likes length, and one that counts marks."""
    programs = {
        "long": lambda argument: lambda ask, text: float(len(text)),
        "marks": lambda argument: lambda ask, text: None if "?" in text else float(text.count(".")),
    }
    monkeypatch.setattr("training.recipes.rewarding.CHECKERS", programs)


def said(context):
    events = [json.loads(line) for line in (context.directory / "events.jsonl").read_text().splitlines()]
    return [event["text"] for event in events if event["type"] == "log"]


def test_judges_are_standardised_over_the_batch_where_they_have_a_verdict(run, policy, lengths):
    asked, samples = answered(policy, "Two. Years.", "Ask Ann.", "Who?", "You")
    context = run()
    judge = Judge.of(context, checker="marks", normalise="batch", weights="checker=3")
    verdict = judge(asked, samples)
    there = verdict.parts["checker"][[0, 1, 3]]
    assert there.mean().item() == pytest.approx(0)
    assert there.tolist() == pytest.approx([3, 0, -3])
    assert verdict.total[2].isnan()
    assert verdict.raw["checker"].tolist()[:2] == [2.0, 1.0]  # what it said is kept as it was said
    assert said(context) == ["The reward is 3 x checker, standardised over the answers judged together."]
    plain = judge.for_measuring(asked, samples)
    assert plain.parts["checker"].tolist()[:2] == [6.0, 3.0]  # two evaluations can be compared


def test_a_batch_in_which_all_are_worth_the_same_is_worth_0(run, policy, lengths):
    asked, samples = answered(policy, "Ann.", "Bob.")
    assert Judge.of(run(), checker="long", normalise="batch")(asked, samples).total.tolist() == [0.0, 0.0]


def test_the_mean_and_deviation_of_an_artifact_are_its_own_and_a_program_has_none(
    run, policy, reward_model, tmp_path, lengths
):
    asked, samples = answered(policy, "Two years.", "Ask Ann, please.")
    plain = Judge.of(run(reward_model=reward_model))(asked, samples).total
    context = run(reward_model=with_scores(reward_model, tmp_path / "known", {"mean": 2.0, "std": 0.5}))
    frozen = Judge.of(context, checker="long", weights="checker=0.1", normalise="artifact")(asked, samples)
    torch.testing.assert_close(frozen.parts["reward_model"], (plain - 2.0) / 0.5)
    assert frozen.parts["checker"].tolist() == pytest.approx([1.0, 1.6])
    torch.testing.assert_close(frozen.total, frozen.parts["reward_model"] + frozen.parts["checker"])
    assert said(context)[-1] == (
        "The reward is 1 x (reward_model - 2) / 0.5, the mean and deviation that its artifact holds + 0.1 x checker as "
        "it is, since a program has no artifact."
    )


@pytest.mark.parametrize("scores", [None, {"mean": 1.0, "std": 0.0}])
def test_an_artifact_that_does_not_know_its_own_spread_is_refused(run, reward_model, tmp_path, scores):
    folder = with_scores(reward_model, tmp_path / "unknown", scores)
    with pytest.raises(RecipeError, match="does not say what mean and deviation"):
        Judge.of(run(reward_model=folder), normalise="artifact")


def with_scores(reward_model, folder, scores):
    shutil.copytree(reward_model, folder)
    card = json.loads((folder / "redpen.json").read_text())
    (folder / "redpen.json").write_text(json.dumps({**card, "scores": scores}))
    return folder


def test_where_one_judge_has_no_verdict_the_answer_has_none(run, policy, monkeypatch):
    monkeypatch.setattr(
        "training.recipes.rewarding.CHECKERS", {"some": lambda argument: lambda ask, text: None if "?" in text else 1.0}
    )
    asked, samples = answered(policy, "Two years.", "Who?")
    total = Judge.of(run(), checker="some", missing_stop=1.0)(asked, samples).total
    assert total[0] == 1.0
    assert math.isnan(total[1])


def test_shaping_is_a_part_like_any_other(run, policy, monkeypatch):
    monkeypatch.setattr("training.recipes.rewarding.CHECKERS", {"one": lambda argument: lambda ask, text: 1.0})
    asked, samples = answered(policy, "Two years.", " ")
    _, cut = answered(policy, "Two", finished=False)
    longest = len(samples[0].ids)
    judge = Judge.of(run(), checker="one", missing_stop=0.5, empty=0.25, overlong=2, longest=longest)
    verdict = judge([*asked, asked[0]], [*samples, *cut])
    assert verdict.parts["missing_stop"].tolist() == [0.0, 0.0, -0.5]
    assert verdict.parts["empty"].tolist() == [0.0, -0.25, 0.0]
    assert verdict.parts["overlong"].tolist()[0] == -1.0
    assert verdict.parts["overlong"].tolist()[2] == 0.0
    assert verdict.total.tolist()[0] == 0.0


def test_the_demo_worlds_program_tells_the_true_quality_and_is_silent_about_other_worlds(policy, world):
    import random

    chance = random.Random(0)
    judge = by_program("support")
    for prompt in world.prompts(5, seed=3):
        ask = Ask(prompt.id, prompt.messages, prompt.context, [])
        text = world.answer(prompt, chance).text
        (worth,) = judge([ask], [Sample(0, 0, [], [], text, True)])
        assert worth == pytest.approx(world.true_quality(prompt, text))
    asked, samples = answered(policy, "Paris.", question="What is the capital of France?")
    assert judge(asked, samples) == [None]


def test_what_cannot_judge_is_refused_with_a_reason(run):
    with pytest.raises(RecipeError, match="Nothing judges"):
        Judge.of(run())
    with pytest.raises(RecipeError, match="no checker 'nobody'"):
        by_program("nobody")
    with pytest.raises(RecipeError, match="weights names reward_model"):
        Judge.of(run(), checker="support", weights="reward_model=2")
    with pytest.raises(ValueError, match="not a judge and its weight"):
        weights_of("reward_model: 2")


# --- where it was earned


def scored(*values):
    """Tokens of three characters each."""
    return [{"start": 3 * k, "end": 3 * k + 3, "score": value} for k, value in enumerate(values)]


@pytest.mark.parametrize("reduction", ["mean", "phrases"])
def test_what_was_earned_along_the_answer_adds_up_to_its_one_number(reduction):
    import random

    chance = random.Random(1)
    for _ in range(50):
        scores = scored(*(chance.choice([0.0, 0.05, -0.4, -0.9, 0.3, 0.8]) for _ in range(chance.randrange(12))))
        total = sum(worth for _, worth in places_of(scores, reduction))
        assert total == pytest.approx(engine.scoring.reward(scores, reduction=reduction))


def test_a_phrase_is_paid_at_its_end_with_its_strongest_token():
    assert places_of(scored(0.2, -0.5, -0.9, 0.0, 0.0, 0.7), "phrases") == [(3, 0.2), (9, -0.9), (18, 0.7)]
    assert places_of(scored(0.05, 0.0), "phrases") == places_of([], "phrases") == []


def test_it_is_paid_to_the_sampled_token_that_wrote_its_last_character(policy):
    _, (sample,) = answered(policy, "Two years, said 👩‍🔬 Zoë. Ask Ann!")
    text = sample.text
    for phrase in ("Two", "years", "👩‍🔬", "Zoë", "Ann!"):
        end = text.index(phrase) + len(phrase)
        found = on_tokens(policy.tokenizer, sample, [(end, 1.5)])
        (paid,) = [place for place, worth in enumerate(found) if worth]
        before, after = (policy.tokenizer.decode(sample.ids[: paid + more]) for more in (0, 1))
        assert len(before) < end <= len(after)
    assert on_tokens(policy.tokenizer, sample, [(10_000, 1.0)])[-1] == 1.0
    assert sum(on_tokens(policy.tokenizer, sample, [(3, 1.0), (3, 0.5)])) == 1.5
