"""text2grad pays tokens for what was marked on them; its gradient is about these tokens and about no others."""

import json

import pytest
import torch

from tests.recipes.practice import QUICK, adapter_of, practise, told_after
from tests.recipes.test_grpo import stop_at
from training import engine
from training.engine.heads import ScoreHead
from training.engine.policy import Lora, Policy
from training.engine.tokens import Span
from training.recipes import marking, text2grad, valuing
from training.recipes.answers import Answers
from training.recipes.asking import Ask
from training.recipes.context import Cancelled, Events, RecipeError, RunContext
from training.recipes.marking import Marking
from training.recipes.registry import get

NAN = float("nan")
SHORT = {"prompts": 12, "samples": 4, "epochs": 2, "lr": 6e-3, "missing_stop": 0.0, "beta": 0.01, "critic": "head"}
SHORT |= {"critic_lr": 1e-2, "watch_answers": 0}


def likes_hi(ask, text):
    """The first two letters are good where they greet, and bad where they do not."""
    return Marking((Span(0, min(2, len(text)), 1.0 if text.startswith("Hi") else -1.0),), annotators=1)


@pytest.fixture
def run_of(tmp_path, base, snapshot, monkeypatch):
    def practised(place="run", read=likes_hi, **config):
        monkeypatch.setitem(marking.READERS, "taste", lambda argument: read)
        wanted = {**SHORT, "reader": "taste", **config}
        return practise(tmp_path / place, "text2grad", base, snapshot, monkeypatch, check=None, **wanted)

    return practised


# --- the whole recipe, in short


def test_what_is_marked_good_becomes_likelier_and_every_figure_is_told(run_of):
    run = run_of(kl_target=6.0)
    delta = run.figures("delta/mean")
    assert delta[-1] > delta[0] + 0.1
    shares = [run.figures(f"delta/{name}")[0] for name in ("positive", "zero", "negative")]
    assert sum(shares) == pytest.approx(1.0)
    assert run.figures("rewarded_tokens")[0] == pytest.approx(shares[0] + shares[2])
    assert run.figures("kl/answer")[0] == 0.0
    assert run.figures("kl/answer")[-1] > 0
    assert run.figures("unparsed") == run.figures("skipped/ratio") == [0.0] * QUICK["steps"]
    watched = {"beta", "value/loss", "value/clipped", "clipped/low", "clipped/high", "ratio", "grad_norm"}
    assert watched <= set(run.of("metrics")[1]["values"])
    assert {file.name for file in run.artifact.iterdir()} >= {"adapter_model.safetensors", "value_head.safetensors"}
    assert len(run.of("response")) == QUICK["new_answers"]


def test_a_sample_is_a_heat_map_of_what_was_marked_and_of_what_became_of_it(run_of):
    sample = run_of(steps=1).of("sample")[0]["data"]
    assert {"text", "question", "reward", "tokens", "maps", "critique"} <= set(sample)
    delta, advantage = sample["tokens"], sample["maps"]["advantage"]
    assert [one[:2] for one in delta] == [one[:2] for one in advantage]
    assert delta[0][2] == (1.0 if sample["text"].startswith("Hi") else -1.0)
    assert {value for _, _, value in delta} <= {-1.0, 0.0, 1.0}
    assert "".join(sample["text"][start:end] for start, end, _ in delta) == sample["text"]


def test_a_run_that_goes_on_is_the_unbroken_one_bit_for_bit(tmp_path, base, snapshot, monkeypatch, run_of):
    settings = {"steps": 3, "prompts": 4, "samples": 2, "kl_target": 0.01, "kl_horizon": 20, "held_out": 0}
    whole = run_of("whole", **settings)
    assert len(set(whole.figures("beta"))) == 3
    broken = tmp_path / "broken"
    broken.mkdir()
    context = RunContext(
        directory=broken, events=Events(broken / "events.jsonl"), base_model=base, snapshot=snapshot, checkpoint_steps=1
    )
    stop_at(context, step=2)
    with pytest.raises(Cancelled):
        get("text2grad").train(
            context, get("text2grad").config({**QUICK, **SHORT, **settings, "reader": "taste", "new_answers": 0})
        )
    second = run_of("second", resume_from=[broken], **settings)
    assert told_after(second, 0) == told_after(whole, 2)
    mine, theirs = adapter_of(second), adapter_of(whole)
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_without_anybody_who_marks_it_refuses_before_it_loads_anything(tmp_path, base, snapshot):
    context = RunContext(
        directory=tmp_path, events=Events(tmp_path / "events.jsonl"), base_model=tmp_path / "none", snapshot=snapshot
    )
    with pytest.raises(RecipeError, match="Nothing marks the answers"):
        get("text2grad").train(context, get("text2grad").config({}))


def test_a_step_that_lost_more_than_half_of_its_answers_learns_nothing(run_of):
    def rarely(ask, text):
        return likes_hi(ask, text) if len(text) % 3 == 0 else None

    run = run_of(read=rarely, steps=2, held_out=0, new_answers=0, fewest=1.0)
    assert run.figures("skipped/unjudged") == [1.0, 1.0]
    assert all(0 < share < 1 for share in run.figures("unparsed"))
    assert run.figures("kl/answer") == [0.0, 0.0]
    some = run_of("some", read=rarely, steps=2, held_out=0, new_answers=0, fewest=0.0)
    assert some.figures("skipped/unjudged") == [0.0, 0.0]
    assert some.figures("kl/answer")[-1] > 0


def test_an_update_whose_ratio_explodes_is_forgotten(run_of):
    run = run_of(steps=2, held_out=0, new_answers=0, lr=0.1, epochs=4, ratio_limit=1.0001, clip=1.0)
    assert run.figures("skipped/ratio")[0] >= 1
    assert any("was skipped" in event["text"] for event in run.of("log"))


def test_a_span_reward_model_marks_and_its_base_is_the_policys(run_of, span_reward_model):
    models = {"span_reward_model": span_reward_model.artifact}
    run = run_of(reader="", models=models, steps=1, score="soft", max_new_tokens=24, prompts=4)
    assert run.figures("delta/mean")[0] != 0
    assert run.figures("rewarded_tokens")[0] > 0.5  # softly, every word has a score


# --- one step, on answers made by hand


PLAIN = {"temperature": 0.8, "max_new_tokens": 6, "gamma": 0.0, "beta": 0.0, "whitening": "none", "reader": "words"}


@pytest.fixture(scope="module")
def pair(base):
    """A policy that has moved from its reference, with a critic that has no opinion yet."""
    policy = Policy.load(base, lora=Lora(rank=4), seed=0)
    policy.model.eval()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in policy.parameters:
            parameter.add_(0.02 * torch.randn_like(parameter))
    head = ScoreHead(policy.model.get_input_embeddings().weight.shape[1], ("value",), bias=True)
    return policy, valuing.Critic(policy, head, own=False)


@pytest.fixture(scope="module")
def answers(pair):
    policy, _ = pair
    asks = []
    for number, question in enumerate(["How long is the warranty?", "Where is the tank?"]):
        messages = [{"role": "user", "content": question}]
        ids = engine.scoring.prompt_ids(policy.tokenizer, messages, [], passage_tokens=0)
        asks.append(Ask(f"p{number}", messages, [], ids))
    sampling = engine.rollouts.Sampling(max_tokens=6, temperature=0.8)
    drawn = engine.rollouts.sample(policy, [ask.ids for ask in asks], 1, sampling=sampling, seed=3)
    rewards = torch.zeros(2, 1, dtype=torch.float64)
    return Answers(asks, [[one] for one in drawn], rewards, {"marks": rewards})


def marked_at(answers, places, value=1.0):
    """Only these tokens of each answer are marked."""
    delta = [[value * (at in places) for at in range(len(one.ids))] for one in answers.flat]
    return text2grad.Marked(answers, [Marking()] * len(delta), delta)


def losses_of(pair, answers, marked, **changes):
    """The loss of each trained token alone, as a function of its logits: their gradients, [N, V], and r_t's tokens."""
    policy, critic = pair
    config = text2grad.Config(**{**PLAIN, **changes})
    (units,), _ = text2grad.experience(config, policy, critic, marked, beta=config.beta)
    (pack,) = engine.packs.micro_batches(units, tokens=config.budget)
    states = engine.logprobs.hidden_states(policy.model, pack, at=pack.before).detach()
    logits = engine.logprobs.logits_of(policy.model)(states).detach().requires_grad_()
    now = (logits / config.temperature).log_softmax(-1).gather(-1, pack.token_ids[:, None])[:, 0]
    loss = engine.objectives.ppo(now, pack.flat("old"), pack.flat("advantages"), clip_low=0.2, clip_high=0.2)
    loss.total.backward()
    return logits.grad, pack


@pytest.mark.parametrize("value", [1.0, -1.0])
@pytest.mark.parametrize("places", [{0}, {2}, {1, 4}])
def test_rewards_land_on_marked_tokens_and_only_there(pair, answers, places, value):
    """The gradient of the policy loss by each token's logits is exactly 0 wherever nothing was marked."""
    slopes, pack = losses_of(pair, answers, marked_at(answers, places, value))
    columns = pack.ragged.columns.tolist()
    for column, slope, token in zip(columns, slopes, pack.token_ids.tolist(), strict=True):
        if column in places:
            assert value * slope[token] < 0  # praise raises the token's own logit, blame lowers it
        else:
            assert slope.abs().max() == 0.0
    assert len(columns) > len(places)


def test_looking_ahead_credits_the_tokens_before_a_mark_and_never_those_after_it(pair, answers):
    slopes, pack = losses_of(pair, answers, marked_at(answers, {2}), gamma=1.0, lam=0.95)
    for column, slope in zip(pack.ragged.columns.tolist(), slopes, strict=True):
        assert (slope.abs().max() > 0) == (column <= 2)


def test_the_prompt_is_never_trained(pair, answers):
    _, pack = losses_of(pair, answers, marked_at(answers, {0}))
    for row, ask in zip(pack.rows, answers.asks, strict=True):
        assert not any(row.trained[: len(ask.ids)])
        assert len(row.of_tokens["advantages"]) == len(row.ids) - len(ask.ids)


def test_whitening_praises_what_nobody_marked_and_scaling_does_not(pair, answers):
    blamed = marked_at(answers, {1}, -1.0)
    for how, unmarked in (("full", 1), ("scale", 0)):
        _, pack = losses_of(pair, answers, blamed, whitening=how)
        found = pack.flat("advantages")[pack.ragged.columns == 0]
        assert all((value > 0) == bool(unmarked) for value in found.tolist())
        assert all(value < 0 for value in pack.flat("advantages")[pack.ragged.columns == 1].tolist())


def test_the_controls_pay_the_same_sum_at_the_end_and_another_answers_marks(pair, answers):
    policy, _ = pair
    delta = [[1.0, -1.0, 1.0, *[0.0] * (len(answers.flat[0].ids) - 3)], [0.0] * len(answers.flat[1].ids)]
    marked = text2grad.Marked(answers, [Marking(), Marking()], delta)
    rows = [row for unit in answers.units(9999) for row in unit]
    lengths = [sum(row.trained) for row in rows]
    ragged = engine.ragged.Ragged.of_lengths(lengths)

    def paid(**options):
        flat = text2grad.paid(text2grad.Config(**PLAIN, **options), marked, rows, ragged)
        return [part.tolist() for part in flat.split(lengths)]

    assert paid() == delta
    assert paid(pay="end") == [[*[0.0] * (lengths[0] - 1), 1.0], [0.0] * lengths[1]]
    assert paid(pay="shuffled")[0] == [0.0] * lengths[0]
    assert paid(pay="shuffled")[1][:3] == [1.0, -1.0, 1.0]
    assert paid(weights="marks=0.5")[0][:3] == [0.5, -0.5, 0.5]
    faded = paid(damping=1)[0]
    assert faded[0] > -faded[1] > faded[2] > 0


def test_the_exact_kl_is_the_sum_over_the_whole_vocabulary(pair, answers):
    policy, critic = pair
    config = text2grad.Config(**{**PLAIN, "beta": 0.3})
    (units,), told = text2grad.experience(config, policy, critic, marked_at(answers, set()), beta=0.3)
    (pack,) = engine.packs.micro_batches(units, tokens=config.budget)
    with torch.no_grad():
        ours = engine.logprobs.logits_of(policy.model)(
            engine.logprobs.hidden_states(policy.model, pack, at=pack.before)
        )
        with policy.as_reference() as reference:
            theirs = engine.logprobs.logits_of(reference)(
                engine.logprobs.hidden_states(reference, pack, at=pack.before)
            )
    p, q = ((one / 0.8).log_softmax(-1) for one in (ours, theirs))
    expected = (p.exp() * (p - q)).sum(-1)
    assert expected.min() > 0
    assert pack.flat("advantages").tolist() == pytest.approx((-0.3 * expected).tolist(), rel=1e-4)
    assert told["kl/answer"] == pytest.approx(expected.sum().item() / 2, rel=1e-4)


# --- the human round


def human_rows(folder, policy, *, change=0.0, keep=lambda row: True):
    """Answers of this policy with a mark on their first word, as a snapshot's rows."""
    folder.mkdir()
    messages = [{"role": "user", "content": "How long is the warranty?"}]
    ids = engine.scoring.prompt_ids(policy.tokenizer, messages, [], passage_tokens=0)
    sampling = engine.rollouts.Sampling(max_tokens=6, temperature=1.0)
    rows = []
    for number, one in enumerate(engine.rollouts.sample(policy, [ids], 8, sampling=sampling, seed=5)):
        span = {"start": 0, "end": 2, "sentiment": -1, "severity": 2, "author": "Ben", "critique": "too curt"}
        rows.append(
            {
                "split": "train",
                "kind": "response",
                "prompt_id": "p",
                "messages": messages,
                "context": [],
                "response_id": f"r{number}",
                "text": one.text,
                "token_ids": one.ids,
                "token_logprobs": [value + change for value in one.logprobs],
                "spans": [span] if number % 2 else [],
                "reviewed": number != 0,
                "reviewers": ["Ben"],
            }
        )
    lines = "".join(json.dumps(row) + "\n" for row in rows if keep(row))
    (folder / "rows.jsonl").write_text(lines)
    return folder


@pytest.fixture(scope="module")
def writer(base):
    return Policy.open(base, None)


def test_people_train_the_policy_on_its_own_answers(tmp_path, run_of, writer, monkeypatch, base):
    rows = human_rows(tmp_path / "rows", writer)
    config = {**SHORT, "feedback": "people", "prompts": 4, "samples": 1, "steps": None, "held_out": 0}
    run = practise(tmp_path / "run", "text2grad", base, rows, monkeypatch, check=None, **config)
    assert any("People have marked 7 of the policy's own answers" in event["text"] for event in run.of("log"))
    assert len(run.figures("delta/mean")) == 2  # seven answers, four at a time, each once
    assert run.figures("delta/negative")[0] > 0
    assert run.figures("delta/positive") == [0.0, 0.0]
    assert run.figures("gap/p95")[0] < 1e-4
    assert "too curt" in {event["data"]["critique"] for event in run.of("sample")}


def test_answers_of_another_model_are_refused(tmp_path, writer, monkeypatch, base):
    config = {**SHORT, "feedback": "people", "held_out": 0}
    for change, survives in ((0.09, True), (-0.11, False)):
        rows = human_rows(tmp_path / f"rows {change}", writer, change=change)
        if survives:
            practise(tmp_path / f"run {change}", "text2grad", base, rows, monkeypatch, check=None, **config)
            continue
        with pytest.raises(RecipeError, match="moved by more than 0.1") as refusal:
            practise(tmp_path / f"run {change}", "text2grad", base, rows, monkeypatch, check=None, **config)
        assert "7:" in refusal.value.message


def test_peoples_answers_come_before_those_that_a_model_marks(tmp_path, writer, monkeypatch, base):
    monkeypatch.setitem(marking.READERS, "taste", lambda argument: likes_hi)
    rows = human_rows(tmp_path / "rows", writer)
    config = {**SHORT, "feedback": "both", "reader": "taste", "steps": 2, "prompts": 4, "samples": 2, "held_out": 0}
    run = practise(tmp_path / "run", "text2grad", base, rows, monkeypatch, check=None, **config)
    assert len(run.figures("delta/mean")) == 3
    assert run.figures("delta/zero")[0] > run.figures("delta/zero")[1]
